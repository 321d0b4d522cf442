"""Measurements as a network sees them: comparable scales, clipped, with a mask of what is present.

Fitted on the training split only, and stored with every checkpoint as plain data, so that a model is always given
measurements on the scale that it was trained with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from lfvar.errors import ArtefactError, ConfigError
from lfvar.measure.schema import LOG_FLOOR, SCHEMA, Feature

FORMAT_VERSION = 1
"""Raised with every change of what `to_dict` holds or means."""

Method = Literal["zscore", "quantile"]

_ROUNDING = 1e-9
"""A spread smaller than this part of the values is rounding: the feature is constant."""
_MEASURE = "measure again with this version of lfvar: python -m lfvar.prepare data=…"
_REFIT = "train again, or use the version of lfvar that made it"


@dataclass(frozen=True)
class StandardiserConfig:
    """How measurements are brought to one scale."""

    method: Method = "zscore"
    """`zscore`: logarithm where the schema asks for it, minus the mean, by the standard deviation. `quantile`: the
    normal quantile of the rank, whatever the distribution; beyond the range seen in training all values are one."""
    clip: float = 4.0
    """Standardised values end at ± this."""
    num_quantiles: int = 256
    """Knots that describe a distribution (`quantile`)."""

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ConfigError(f"standardiser method is '{self.method}'", cure="use zscore or quantile")
        if not 0 < self.clip < math.inf:
            raise ConfigError(f"standardiser clip is {self.clip}", cure="use a positive number, such as 4")
        if self.num_quantiles < 2:
            raise ConfigError(f"standardiser num_quantiles is {self.num_quantiles}", cure="use 2 or more")


@dataclass(frozen=True)
class FittedFeature:
    """One feature's scale; numbers after its transform, except `low` and `high`."""

    name: str
    transform: str
    """`none` or `log`, as the schema had it when this was fitted."""
    low: float | None
    """Lowest possible value, for `inverse`."""
    high: float | None
    count: int
    """Training rows that have it; with 0 it counts as missing everywhere, since a model could learn nothing of it."""
    centre: float
    scale: float
    """0: constant in training. It stands at 0 whatever its value, and comes back as that constant."""
    knots: tuple[float, ...]
    """Quantiles at equal distances in probability (`quantile`); empty otherwise."""

    def standardise(self, values: NDArray[np.float64], clip: float) -> NDArray[np.float64]:
        """Values in the feature's unit to [-clip, clip]; NaN stays NaN."""
        if self.scale == 0:
            return np.where(np.isnan(values), np.nan, 0.0)
        moved = np.log(np.maximum(values, LOG_FLOOR)) if self.transform == "log" else values
        if self.knots:
            # The middle of the ranks that share the value: ties of a discrete feature come back as what they were.
            knots, ranks = np.asarray(self.knots), self._ranks()
            left = np.interp(moved, knots, ranks)
            right = -np.interp(-moved, -knots[::-1], -ranks[::-1])
            moved = ndtri((left + right) / 2)
        else:
            moved = (moved - self.centre) / self.scale
        return np.asarray(np.clip(moved, -clip, clip), dtype=np.float64)

    def restore(self, standardised: NDArray[np.float64]) -> NDArray[np.float64]:
        """Undo `standardise`, up to clipping; within the possible range of the feature."""
        if self.count == 0:
            return np.full_like(standardised, np.nan)
        if self.scale == 0:
            moved = np.full_like(standardised, self.centre)
        elif self.knots:
            moved = np.interp(ndtr(standardised), self._ranks(), np.asarray(self.knots))
        else:
            moved = standardised * self.scale + self.centre
        values = np.exp(moved) if self.transform == "log" else moved
        values = np.clip(values, -np.inf if self.low is None else self.low, np.inf if self.high is None else self.high)
        return np.where(np.isnan(standardised), np.nan, values)

    def _ranks(self) -> NDArray[np.float64]:
        """Probabilities of the knots: the smallest of n values is at 1/(2n), not at 0, whose quantile is infinite."""
        margin = 0.5 / self.count
        return np.linspace(margin, 1 - margin, len(self.knots))


@dataclass(frozen=True)
class Standardiser:
    """Fitted scales of some features; make it with `Standardiser.fit(table of the training rows)`."""

    config: StandardiserConfig
    features: tuple[FittedFeature, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The features, in the order of the columns of `transform`."""
        return tuple(feature.name for feature in self.features)

    @classmethod
    def fit(
        cls,
        table: pd.DataFrame,
        features: Sequence[Feature] = SCHEMA,
        config: StandardiserConfig | None = None,
    ) -> Standardiser:
        """Learn the scales.

        Args:
            table: Rows of the TRAINING split only, one column per feature, NaN where missing.
            features: What to standardise; others in the table are left out.
            config: How.

        Raises:
            ArtefactError: When the table lacks a feature, or all rows lack all of them.
        """
        config = config or StandardiserConfig()
        columns = _columns(table, [feature.name for feature in features])
        fitted = tuple(_fit(feature, column, config) for feature, column in zip(features, columns.T, strict=True))
        if not any(feature.count for feature in fitted):
            raise ArtefactError(f"none of {len(table)} training rows has any measurement", cure=_MEASURE)
        return cls(config, fitted)

    def transform(self, table: pd.DataFrame) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Standardise rows.

        Args:
            table: One column per feature of `names`; NaN where missing. Other columns are ignored.

        Returns:
            Values float32 (N, M) in [-clip, clip], 0 where missing, and what is present (N, M).

        Raises:
            ArtefactError: When the table lacks a feature.
        """
        raw = _columns(table, self.names)
        values = np.zeros(raw.shape, dtype=np.float64)
        present = np.isfinite(raw) & np.array([feature.count > 0 for feature in self.features])
        for index, feature in enumerate(self.features):
            rows = present[:, index]
            values[rows, index] = feature.standardise(raw[rows, index], self.config.clip)
        return values.astype(np.float32), present

    def inverse(self, values: NDArray[np.floating], present: NDArray[np.bool_] | None = None) -> pd.DataFrame:
        """Standardised values (N, M) as a table in the features' units, NaN where not present.

        Raises:
            ValueError: When the number of columns is not that of `names`.
        """
        raw = np.array(values, dtype=np.float64)
        if raw.ndim != 2 or raw.shape[1] != len(self.features):
            raise ValueError(f"values have shape {raw.shape}, expected (N, {len(self.features)})")
        if present is not None:
            raw[~present] = np.nan
        restored = [feature.restore(raw[:, index]) for index, feature in enumerate(self.features)]
        return pd.DataFrame(np.stack(restored, axis=1), columns=list(self.names))

    def require_names(self, names: Sequence[str]) -> None:
        """Make sure that this belongs to what someone else calls its measurements, in the same order.

        Raises:
            ArtefactError: When names differ; it says which.
        """
        if tuple(names) != self.names:
            raise ArtefactError(
                f"the standardiser has other features: {_describe_difference(self.names, names)}", cure=_REFIT
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data (strings, numbers, lists), safe for JSON and for `torch.load(weights_only=True)`."""
        features = [{**asdict(feature), "knots": list(feature.knots)} for feature in self.features]
        return {"format_version": FORMAT_VERSION, "config": asdict(self.config), "features": features}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Standardiser:
        """Undo `to_dict`.

        Raises:
            ArtefactError: When the data are of another version, or damaged.
        """
        version = data.get("format_version")
        if version != FORMAT_VERSION:
            raise ArtefactError(
                f"stored standardiser has format {version}; this lfvar reads format {FORMAT_VERSION}", cure=_REFIT
            )
        try:
            features = tuple(
                FittedFeature(**{**feature, "knots": tuple(feature["knots"])}) for feature in data["features"]
            )
            return cls(StandardiserConfig(**data["config"]), features)
        except (KeyError, TypeError) as error:
            raise ArtefactError(f"stored standardiser is damaged: {error}", cure=_REFIT) from error


def _columns(table: pd.DataFrame, names: Sequence[str]) -> NDArray[np.float64]:
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise ArtefactError(
            f"the measurement table lacks {len(missing)} of {len(names)} features: {_shorten(missing)}", cure=_MEASURE
        )
    return table.loc[:, list(names)].to_numpy(dtype=np.float64)


def _fit(feature: Feature, column: NDArray[np.float64], config: StandardiserConfig) -> FittedFeature:
    values = feature.forward(column[np.isfinite(column)])
    centre, scale = _centre_and_scale(values, config.clip)
    knots: tuple[float, ...] = ()
    if config.method == "quantile" and scale > 0:
        probabilities = np.linspace(0, 1, min(config.num_quantiles, max(2, len(values))))
        knots = tuple(float(knot) for knot in np.quantile(values, probabilities))
    low, high = feature.range
    return FittedFeature(feature.name, feature.transform, low, high, len(values), centre, scale, knots)


def _centre_and_scale(values: NDArray[np.float64], clip: float) -> tuple[float, float]:
    """Mean and standard deviation without the values that clipping would cut off anyway.

    One degenerate lesion (the logarithm of almost nothing) would otherwise double the scale of all others.
    """
    if len(values) == 0:
        return 0.0, 0.0
    kept = values
    for _ in range(3):
        centre, scale = float(kept.mean()), float(kept.std())
        near = values[np.abs(values - centre) <= clip * scale]
        if len(near) == len(kept) or np.ptp(near) == 0:
            break
        kept = near
    if scale <= _ROUNDING * max(abs(centre), float(np.abs(values).max())):
        return float(np.median(values)), 0.0
    return centre, scale


def _describe_difference(ours: Sequence[str], theirs: Sequence[str]) -> str:
    lacking = [name for name in theirs if name not in ours]
    surplus = [name for name in ours if name not in theirs]
    if not lacking and not surplus:
        return "the same ones in another order"
    phrases = [f"it lacks {_shorten(lacking)}"] if lacking else []
    phrases += [f"it has {_shorten(surplus)} besides"] if surplus else []
    return "; ".join(phrases)


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
