"""What lesions of a type measure, and whole measurement vectors drawn from it.

A profile gives the mean, quantiles and covariance of a type. The sampler is a Gaussian copula with empirical marginals:
a draw stays within the observed range of each feature, keeps rank correlations, and lacks features as often, and
together with the same others, as lesions of that type do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from lfvar.data.files import replace_file
from lfvar.errors import ArtefactError, ConfigError
from lfvar.measure.copula import correlate, make_positive, normal_scores, shrink, square_root
from lfvar.measure.schema import feature

FORMAT_VERSION = 1
"""Raised with every change of what `write` stores or means."""
PROFILES_FILE = "profiles.parquet"
NUM_KNOTS = 257
"""Quantiles that describe a marginal, at equal distances in probability."""

_STREAM = 0x70726F66
"""Keeps draws apart from other uses of the same seed."""
_HEADER_KEY = b"lfvar"
_AGAIN = "fit the profiles again from the measurement table (lfvar.measure.profiles.Profiles.fit)"


@dataclass(frozen=True)
class TypeProfile:
    """One lesion type. Rows and columns are features; NaN where no lesion of the type has the feature."""

    label: str
    count: int
    """Lesions it was fitted on."""
    mean_M: NDArray[np.float64]
    covariance_MM: NDArray[np.float64]
    """Over the rows that have both."""
    knots_KM: NDArray[np.float64]
    """Quantiles from the lowest to the highest value."""
    correlation_MM: NDArray[np.float64]
    """Of the copula: positive definite, shrunk towards the correlations common to all types."""
    shrinkage: float
    """How far: 0 not at all, 1 all the way."""
    patterns_PM: NDArray[np.bool_]
    """Combinations of present features that occurred."""
    pattern_counts_P: NDArray[np.float64]

    @cached_property
    def root(self) -> NDArray[np.float64]:
        """Turns independent normal numbers into correlated ones."""
        return square_root(self.correlation_MM)

    def quantile(self, probability: float) -> NDArray[np.float64]:
        """Each feature's quantile."""
        return self._marginals(np.full(len(self.mean_M), probability))

    def draw(self, rng: np.random.Generator, given: Mapping[int, float]) -> NDArray[np.float64]:
        """One vector, NaN where missing.

        Args:
            rng: Always takes the same number of draws.
            given: Features with a known value, by index; the others are drawn as they are where these are so.
        """
        noise_M, chance = rng.standard_normal(len(self.mean_M)), rng.random()
        z_M = self.root @ noise_M
        known = list(given)
        if known:
            # Matheron's rule: a free draw moved by the regression on what it missed has the conditional distribution.
            z_M = z_M + self._regress(known, self._scores(given) - z_M[known])
        values_M = self._marginals(ndtr(z_M))
        pattern = int(np.searchsorted(np.cumsum(self.pattern_counts_P) / self.pattern_counts_P.sum(), chance, "right"))
        values_M[~self.patterns_PM[pattern]] = np.nan
        for index, value in given.items():
            values_M[index] = value
        return values_M

    def expect(self, given: Mapping[int, float]) -> NDArray[np.float64]:
        """The middle of what `draw` draws: each feature's conditional median, NaN where most lesions miss it.

        Args:
            given: As of `draw`.
        """
        z_M = np.zeros(len(self.mean_M))
        if given:
            z_M = self._regress(list(given), self._scores(given))
        values_M = self._marginals(ndtr(z_M))
        values_M[self.pattern_counts_P @ self.patterns_PM < self.pattern_counts_P.sum() / 2] = np.nan
        for index, value in given.items():
            values_M[index] = value
        return values_M

    def score(self, index: int, value: float) -> float:
        """The normal quantile of a value among its type; beyond the observed range, that of its end."""
        knots = self.knots_KM[:, index]
        if np.isnan(knots).any():
            return 0.0
        left = np.searchsorted(knots, value, "left") / len(knots)
        right = np.searchsorted(knots, value, "right") / len(knots)
        margin = 0.5 / max(self.count, 1)
        return float(ndtri(np.clip((left + right) / 2, margin, 1 - margin)))

    def _scores(self, given: Mapping[int, float]) -> NDArray[np.float64]:
        return np.array([self.score(index, value) for index, value in given.items()])

    def _regress(self, known: list[int], z_K: NDArray[np.float64]) -> NDArray[np.float64]:
        """What normal scores of known features say of all, in the Gaussian copula."""
        inner_KK = self.correlation_MM[np.ix_(known, known)]
        return np.asarray(self.correlation_MM[:, known] @ np.linalg.lstsq(inner_KK, z_K, rcond=1e-6)[0])

    def _marginals(self, probability_M: NDArray[np.float64]) -> NDArray[np.float64]:
        position = probability_M * (len(self.knots_KM) - 1)
        below = np.clip(position.astype(np.int64), 0, len(self.knots_KM) - 2)
        columns = np.arange(self.knots_KM.shape[1])
        low, high = self.knots_KM[below, columns], self.knots_KM[below + 1, columns]
        return np.asarray(np.where(low == high, low, low + (position - below) * (high - low)), dtype=np.float64)


@dataclass(frozen=True)
class Profiles:
    """Profiles of all types of a dataset; make them with `Profiles.fit(rows of the training split, labels, names)`."""

    names: tuple[str, ...]
    types: tuple[TypeProfile, ...]
    integer: tuple[str, ...] = ()
    """Features that are whole numbers, and are drawn as such."""
    made_from: Mapping[str, Any] = field(default_factory=dict)
    """Plain data that name the input: hashes, command."""

    @classmethod
    def fit(
        cls,
        table: pd.DataFrame,
        labels: Sequence[str],
        names: Sequence[str],
        *,
        classes: Sequence[str] | None = None,
        made_from: Mapping[str, Any] | None = None,
    ) -> Profiles:
        """Describe each type.

        Args:
            table: Rows of the training split, one column per feature, NaN where missing.
            labels: Lesion type of each row.
            names: Features to describe.
            classes: Types in their order; None: those that occur, sorted. Types without a row get no profile.
            made_from: Plain data to store.

        Raises:
            ArtefactError: When no row has a measurement.
        """
        values_NM = table.loc[:, list(names)].to_numpy(dtype=np.float64)
        usable = np.isfinite(values_NM).any(axis=1)
        values_NM, label_N = values_NM[usable], np.asarray(labels)[usable]
        if not len(values_NM):
            raise ArtefactError("no row has a measurement to make a profile of", cure=_AGAIN)
        occurring = [label for label in (classes or sorted(set(label_N.tolist()))) if (label_N == label).any()]
        scores = {label: normal_scores(values_NM[label_N == label]) for label in occurring}
        pooled_MM, _ = shrink(*correlate(np.concatenate(list(scores.values()))), np.eye(len(names)))
        types = tuple(_fit_type(label, values_NM[label_N == label], scores[label], pooled_MM) for label in occurring)
        integer = tuple(
            name
            for name, column in zip(names, values_NM.T, strict=True)
            if np.isfinite(column).any() and (np.nan_to_num(column) % 1 == 0).all()
        )
        return cls(tuple(names), types, integer, dict(made_from or {}))

    @property
    def labels(self) -> tuple[str, ...]:
        """Types that have a profile."""
        return tuple(profile.label for profile in self.types)

    def of(self, label: str) -> TypeProfile:
        """The profile of a type.

        Raises:
            ConfigError: When there is none.
        """
        for profile in self.types:
            if profile.label == label:
                return profile
        raise ConfigError(f"no profile of type '{label}'", cure=f"use one of {', '.join(self.labels)}")

    def mean(self, label: str) -> pd.Series[float]:
        """Mean of each feature."""
        return pd.Series(self.of(label).mean_M, index=list(self.names), name=label)

    def typical(self, label: str) -> pd.Series[float]:
        """Mean of each feature, geometric (over the quantiles) for those that the schema takes the logarithm of.

        One degenerate lesion can carry the plain mean of such a feature beyond all others.
        """
        profile = self.of(label)
        values = dict(zip(self.names, profile.mean_M.tolist(), strict=True))
        for name, knots_K in zip(self.names, profile.knots_KM.T, strict=True):
            item = feature(name)
            if item.transform == "log":
                values[name] = float(item.inverse(item.forward(knots_K).mean(keepdims=True))[0])
        return pd.Series(values, name=label)

    def quantile(self, label: str, probability: float) -> pd.Series[float]:
        """Quantile of each feature: what "large" or "dark" means for a type."""
        return pd.Series(self.of(label).quantile(probability), index=list(self.names), name=label)

    def sample(self, label: str, seeds: Sequence[int], given: Mapping[str, float] | None = None) -> pd.DataFrame:
        """Draw whole measurement vectors, one per seed.

        A vector depends on its own seed alone, not on the others or on their order. The same seed draws the same
        position in the distribution of each type, so two types differ by what tells them apart.

        Args:
            label: Lesion type.
            seeds: 0 or more each.
            given: Features whose value is stated; the others are drawn from what goes with it. It is kept as stated, in
                every vector, also beyond the observed range.

        Returns:
            One row per seed, one column per feature, NaN where missing.

        Raises:
            ConfigError: When the type or a given feature is unknown.
        """
        profile, known = self.of(label), self._indices(given or {})
        # One matrix-vector product per draw: one product for all could round differently with their number.
        rows = [profile.draw(np.random.default_rng([_STREAM, seed]), known) for seed in seeds]
        table = pd.DataFrame(np.reshape(rows, (len(rows), len(self.names))), columns=list(self.names))
        whole = [name for name in self.integer if name not in (given or {})]
        table[whole] = table[whole].round()
        return table

    def expected(self, label: str, given: Mapping[str, float] | None = None) -> pd.Series[float]:
        """What usually goes with stated measurements: the middle of what `sample` draws.

        Args:
            label: Lesion type.
            given: As of `sample`.

        Returns:
            Each feature's conditional median, NaN where most lesions of the type miss it.

        Raises:
            ConfigError: As `sample`.
        """
        values = self.of(label).expect(self._indices(given or {}))
        found = pd.Series(values, index=list(self.names), name=label)
        whole = [name for name in self.integer if name not in (given or {})]
        found[whole] = found[whole].round()
        return found

    def _indices(self, given: Mapping[str, float]) -> dict[int, float]:
        unknown = [name for name in given if name not in self.names]
        if unknown:
            raise ConfigError(f"no measurement '{unknown[0]}'", cure="use names of lfvar.measure.schema.FEATURE_NAMES")
        return {self.names.index(name): value for name, value in given.items()}

    def write(self, path: Path) -> None:
        """Write one Parquet file with a row per type, whole or not at all."""
        header = {
            "format_version": FORMAT_VERSION,
            "names": self.names,
            "integer": self.integer,
            "made_from": self.made_from,
        }
        rows = [
            {item.name: _flatten(getattr(profile, item.name)) for item in fields(profile)} for profile in self.types
        ]
        table = pa.Table.from_pylist(rows).replace_schema_metadata({_HEADER_KEY: json.dumps(header, sort_keys=True)})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        replace_file(path, sink.getvalue().to_pybytes())

    @classmethod
    def read(cls, path: Path) -> Profiles:
        """Undo `write`.

        Raises:
            ArtefactError: When the file is missing, damaged, or of another version.
        """
        try:
            table = pq.read_table(path)
            header = json.loads((table.schema.metadata or {})[_HEADER_KEY])
            version = header["format_version"]
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise ArtefactError(f"'{path}' is missing, damaged or no profile file: {error}", cure=_AGAIN) from error
        if version != FORMAT_VERSION:
            raise ArtefactError(f"'{path}' has format {version}; this lfvar reads format {FORMAT_VERSION}", cure=_AGAIN)
        try:
            names = tuple(header["names"])
            types = tuple(_unflatten(row, len(names)) for row in table.to_pylist())
            return cls(names, types, tuple(header["integer"]), header["made_from"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"'{path}' is damaged: {error}", cure=_AGAIN) from error


def _fit_type(
    label: str, values_NM: NDArray[np.float64], scores_NM: NDArray[np.float64], pooled_MM: NDArray[np.float64]
) -> TypeProfile:
    present_NM = np.isfinite(values_NM)
    knots_KM = np.full((NUM_KNOTS, values_NM.shape[1]), np.nan)
    for index, (column, present) in enumerate(zip(values_NM.T, present_NM.T, strict=True)):
        if present.any():
            knots_KM[:, index] = np.quantile(column[present], np.linspace(0, 1, NUM_KNOTS))
    correlation_MM, shrinkage = shrink(*correlate(scores_NM), pooled_MM)
    patterns_PM, counts_P = np.unique(present_NM, axis=0, return_counts=True)
    frame = pd.DataFrame(values_NM)
    return TypeProfile(
        label=label,
        count=len(values_NM),
        mean_M=frame.mean().to_numpy(dtype=np.float64),
        covariance_MM=frame.cov(min_periods=2).to_numpy(dtype=np.float64),
        knots_KM=knots_KM,
        correlation_MM=make_positive(correlation_MM),
        shrinkage=shrinkage,
        patterns_PM=patterns_PM,
        pattern_counts_P=counts_P.astype(np.float64),
    )


def _flatten(value: Any) -> Any:
    return value.ravel().tolist() if isinstance(value, np.ndarray) else value


def _unflatten(row: Mapping[str, Any], num_features: int) -> TypeProfile:
    """Shapes follow from the suffix of a name: M is the number of features, what stands before it is free."""
    arrays = {
        name: np.asarray(values, dtype=bool if name == "patterns_PM" else np.float64).reshape(
            (-1, num_features) if len(name.rpartition("_")[2]) == 2 else -1
        )
        for name, values in row.items()
        if isinstance(values, list)
    }
    profile = TypeProfile(**{**row, **arrays})
    if profile.correlation_MM.shape != (num_features, num_features) or profile.mean_M.shape != (num_features,):
        raise ValueError(f"profile of '{profile.label}' has the wrong size")
    return profile
