"""Measurement vectors: what a sample is asked for, from its source, a profile, or what goes with a changed value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import ndtr

from lfvar.errors import ConfigError
from lfvar.measure.profiles import Profiles
from lfvar.measure.schema import FROM_MASK

Base = Literal["source", "mean", "expected", "sampled", "none"]
"""Where measurements come from that are not stated."""
Vector = dict[str, float]


@dataclass(frozen=True)
class Vectors:
    """Makes measurement vectors in natural units."""

    names: tuple[str, ...]
    """What the net takes."""
    profiles: Profiles | None

    def base(
        self, kind: Base, label: str | None, *, measured: Mapping[str, float], seed: int, given: Mapping[str, float]
    ) -> Vector:
        """What is asked before anything is stated on top; never what only a mask decides.

        Args:
            kind: source, mean, expected, sampled or none.
            label: The asked type.
            measured: Of the source (`source`).
            seed: Of the draw (`sampled`).
            given: What `expected` and `sampled` ones must go with: measurements of the mask, and stated ones.

        Raises:
            ConfigError: When a profile is needed and there is none.
        """
        if kind == "none":
            found: Mapping[str, float] = {}
        elif kind == "source":
            found = measured
        else:
            profiles, label = self.require_profiles(f"ask.measurements={kind}"), self.require_label(label, kind)
            if kind == "mean":
                found = _plain(profiles.typical(label))
            else:
                known = {name: value for name, value in given.items() if name in profiles.names}
                if kind == "expected":
                    found = _plain(profiles.expected(label, known))
                else:
                    found = _plain(profiles.sample(label, [seed], known).iloc[0])
        return {name: float(found[name]) for name in self.names if math.isfinite(found.get(name, math.nan))}

    def follow(self, vector: Mapping[str, float], label: str, feature: str, value: float) -> Vector:
        """Move one measurement, and the others as far as they are tied to it among lesions of the type.

        In the Gaussian copula of the profile: z_i + (r_is / r_ss) (z_s' - z_s), back through each feature's quantiles.

        Args:
            vector: Before.
            label: Type.
            feature: What moves; it must be in the vector or in the profile.
            value: Where to.
        """
        profile = self.require_profiles("sweep.others=follow").of(label)
        index = {name: column for column, name in enumerate(self.require_profiles("").names)}
        start = vector.get(feature, float(profile.quantile(0.5)[index[feature]]))
        step = profile.score(index[feature], value) - profile.score(index[feature], start)
        moved: Vector = {}
        for name, before in vector.items():
            column = index[name]
            tie = profile.correlation_MM[column, index[feature]]
            knots = profile.knots_KM[:, column]
            if name in FROM_MASK or not np.isfinite(knots).all():
                moved[name] = before
                continue
            score = profile.score(column, before)
            quantile = np.interp(ndtr([score, score + tie * step]), np.linspace(0, 1, len(knots)), knots)
            moved[name] = before + float(quantile[1] - quantile[0])  # a value beyond the profile keeps its distance
        moved[feature] = value
        return moved

    def quantile(self, label: str | None, feature: str, probability: float) -> float:
        """A quantile of a feature among lesions of a type.

        Raises:
            ConfigError: When there is no profile, or no lesion of the type has the feature.
        """
        profiles = self.require_profiles(f"a quantile of {feature}")
        value = float(profiles.quantile(self.require_label(label, feature), probability).get(feature, math.nan))
        if not math.isfinite(value):
            raise ConfigError(f"no lesion of type {label} has a '{feature}'", cure="name another measurement")
        return value

    def draw_shape_targets(
        self, label: str | None, seed: int, stated: Mapping[str, float], wanted: Sequence[str]
    ) -> Vector:
        """What a lesion of a type measures that has what is stated; of every type where none is asked for."""
        if self.profiles is None:
            return dict(stated)
        labels = self.profiles.labels
        label = label if label in labels else labels[seed % len(labels)]
        known = {name: value for name, value in stated.items() if name in self.profiles.names}
        drawn = self.profiles.sample(label, [seed], known).iloc[0]
        return {name: float(drawn[name]) for name in wanted if math.isfinite(drawn.get(name, math.nan))} | dict(stated)

    def require_profiles(self, what: str) -> Profiles:
        """The profiles.

        Raises:
            ConfigError: When there are none.
        """
        if self.profiles is None:
            raise ConfigError(
                f"{what} needs profiles of the lesion types, and the prepared data have none",
                cure="measure the images (python -m lfvar.prepare without ~measure), or give profiles=FOLDER",
            )
        return self.profiles

    def require_label(self, label: str | None, what: str) -> str:
        """The type.

        Raises:
            ConfigError: When none is asked for.
        """
        if label is None:
            raise ConfigError(f"{what} is of a type, and none is asked for", cure="name a lesion type")
        return label


def _plain(values: pd.Series[float]) -> Vector:
    return {str(name): float(value) for name, value in values.items()}
