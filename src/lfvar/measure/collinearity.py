"""Measurements that say the same thing: a correlation report, and a pruned set where each group keeps one.

The pipeline of the LF-VAR paper drops features whose correlation with another one exceeds 0.95. Here each dropped
feature names the kept one that stands for it, which the usual pass over the upper triangle of the matrix does not give:
there a feature can be dropped because of one that was itself dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lfvar.errors import ConfigError

CorrelationMethod = Literal["spearman", "pearson"]


@dataclass(frozen=True)
class CollinearityConfig:
    """When two measurements count as one."""

    method: CorrelationMethod = "spearman"
    """`spearman` is blind to the schema's logarithms, `pearson` is not."""
    threshold: float = 0.95
    """The absolute correlation from which, exclusively, one of two is dropped."""
    min_rows: int = 20
    """Pairs with fewer common rows have no correlation."""

    def __post_init__(self) -> None:
        if self.method not in get_args(CorrelationMethod):
            raise ConfigError(f"collinearity method is '{self.method}'", cure="use spearman or pearson")
        if not 0 < self.threshold < 1:
            raise ConfigError(f"collinearity threshold is {self.threshold}", cure="use a number between 0 and 1")


@dataclass(frozen=True)
class CollinearityReport:
    """Correlations, and who stands for whom."""

    config: CollinearityConfig
    names: tuple[str, ...]
    correlation_MM: NDArray[np.float64]
    """NaN where undefined (a constant, or too few common rows)."""
    kept: tuple[str, ...]
    """The pruned set, in the order of `names`."""
    stands_for: Mapping[str, str]
    """Dropped feature → the kept one it correlates with most."""
    constant: tuple[str, ...]
    """Features that never vary or are never present: dropped too, and nothing stands for them."""

    def correlation(self, one: str, other: str) -> float:
        """Of two features."""
        return float(self.correlation_MM[self.names.index(one), self.names.index(other)])

    def pairs(self) -> list[tuple[str, str, float]]:
        """All pairs above the threshold, strongest first."""
        found = [
            (self.names[i], self.names[j], float(self.correlation_MM[i, j]))
            for i, j in zip(*np.triu_indices(len(self.names), k=1), strict=True)
            if abs(self.correlation_MM[i, j]) > self.config.threshold
        ]
        return sorted(found, key=lambda pair: (-abs(pair[2]), pair[:2]))

    def to_frame(self) -> pd.DataFrame:
        """One row per dropped feature: dropped, kept, correlation; constant features have no kept one."""
        rows: list[tuple[str, str | None, float]] = [
            (name, kept, self.correlation(name, kept)) for name, kept in self.stands_for.items()
        ]
        rows += [(name, None, float("nan")) for name in self.constant]
        return pd.DataFrame(rows, columns=["dropped", "kept", "correlation"])


def find_collinear(
    table: pd.DataFrame, names: Sequence[str], config: CollinearityConfig | None = None
) -> CollinearityReport:
    """Correlate measurements and prune what is said twice.

    Features are taken in the order of `names`: each is kept unless it correlates with one that was kept before. So the
    order states preferences, and the result depends on nothing else.

    Args:
        table: Rows of the training split; one column per feature, NaN where missing.
        names: Features to look at, preferred ones first.
        config: When two count as one.
    """
    config = config or CollinearityConfig()
    columns = table.loc[:, list(names)].astype(np.float64)
    constant = tuple(name for name in names if columns[name].nunique(dropna=True) < 2)
    correlation_MM = columns.corr(method=config.method, min_periods=config.min_rows).to_numpy(copy=True)
    for name in constant:
        index = list(names).index(name)
        correlation_MM[index, :] = correlation_MM[:, index] = np.nan
    strength_MM = np.nan_to_num(np.abs(correlation_MM), nan=0.0)
    kept: list[int] = []
    stands_for: dict[str, str] = {}
    for index, name in enumerate(names):
        if name in constant:
            continue
        strengths = strength_MM[index, kept]
        if kept and strengths.max() > config.threshold:
            stands_for[name] = names[kept[int(strengths.argmax())]]
        else:
            kept.append(index)
    return CollinearityReport(config, tuple(names), correlation_MM, tuple(names[i] for i in kept), stands_for, constant)
