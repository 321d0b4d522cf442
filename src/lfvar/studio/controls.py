"""The knobs of the page: which measurements they turn, and what lesions of a type measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lfvar.measure.profiles import Profiles
from lfvar.measure.schema import FEATURE_NAMES, FROM_MASK, feature
from lfvar.sampling.prompt import Request, resolve

STEPS = 20
"""Ranges come as quantiles at 0, 1/20, …, 1."""


class Knob(NamedTuple):
    """A measurement in words a page has room for."""

    name: str
    title: str
    low: str
    """What a low value looks like."""
    high: str


MAIN: tuple[Knob, ...] = (
    Knob("clinical_colour_lightness", "Lightness", "dark", "pale"),
    Knob("clinical_colour_redness", "Redness", "brown", "red"),
    Knob("clinical_colour_yellowness", "Yellowness", "blue", "yellow"),
    Knob("clinical_colour_variegation", "Colour variegation", "even", "variegated"),
    Knob("clinical_asymmetry_colour_max", "Colour asymmetry", "mirrored", "one-sided"),
    Knob("clinical_contrast_colour", "Contrast with skin", "faint", "conspicuous"),
    Knob("texture_glcm_contrast", "Texture contrast", "smooth", "structured"),
    Knob("histogram_entropy", "Entropy of grey levels", "uniform", "mixed"),
)
"""What a dermatologist can read, of what the mask does not decide."""

OF_MASK: tuple[Knob, ...] = (
    Knob("clinical_relative_area", "Area", "small", "large"),
    Knob("clinical_asymmetry_shape_max", "Asymmetry", "mirrored", "asymmetric"),
    Knob("clinical_border_compactness", "Border irregularity", "smooth", "notched"),
    Knob("shape_elongation", "Roundness", "elongated", "round"),
)
"""What the mask decides: measured, and changed by changing the mask."""

_KNOWN = {knob.name: knob for knob in (*MAIN, *OF_MASK)}


def turnable(names: Sequence[str]) -> list[str]:
    """What sliders can ask of a net with these measurements, main ones first; what the mask decides is not among it."""
    main = [knob.name for knob in MAIN if knob.name in names]
    return main + [name for name in FEATURE_NAMES if name in names and name not in main and name not in FROM_MASK]


def describe_knob(name: str) -> dict[str, Any]:
    """Name, title, unit, meaning, and the words at both ends."""
    knob = _KNOWN.get(name)
    unit = feature(name).unit
    group, _, rest = name.partition("_")
    return {
        "name": name,
        "title": knob.title if knob else f"{group.capitalize()}: {rest.replace('_', ' ')}",
        "low": knob.low if knob else "low",
        "high": knob.high if knob else "high",
        "unit": "" if unit == "1" else unit,
        "meaning": feature(name).description,
        "main": knob is not None,
        "of_mask": name in FROM_MASK,
    }


def ranges(profiles: Profiles | None, label: str | None, names: Sequence[str]) -> dict[str, list[float]]:
    """Quantiles of measurements among lesions of a type, of all types for None; without those nobody has."""
    if profiles is None or (label is not None and label not in profiles.labels):
        return {}
    if label is not None:
        quantiles_QM = np.stack([profiles.quantile(label, step / STEPS).to_numpy() for step in range(STEPS + 1)])
        columns = {name: quantiles_QM[:, profiles.names.index(name)] for name in names if name in profiles.names}
    else:
        there = [name for name in names if name in profiles.names and _somebody_has(profiles, name)]
        rows = [resolve(Request(None, dict.fromkeys(there, s / STEPS)), profiles) for s in range(STEPS + 1)]
        columns = {name: np.array([row[name] for row in rows]) for name in there}
    return {name: column.tolist() for name, column in columns.items() if np.isfinite(column).all()}


def percentile(profiles: Profiles | None, label: str | None, name: str, value: float) -> float | None:
    """How many of a hundred lesions of the type measure less; None without a type or a profile."""
    if profiles is None or label not in profiles.labels or name not in profiles.names:
        return None
    knots_K = profiles.of(str(label)).knots_KM[:, profiles.names.index(name)]
    if not np.isfinite(knots_K).all():
        return None
    below, above = (np.searchsorted(knots_K, value, side) for side in ("left", "right"))
    return float(100 * (below + above) / 2 / len(knots_K))


def profile_table(profiles: Profiles | None, names: Sequence[str]) -> list[dict[str, Any]]:
    """Type profiles to look at: count and five quantiles of each measurement."""
    if profiles is None:
        return []
    return [
        {
            "label": profile.label,
            "count": profile.count,
            "quantiles": {
                name: [float(profile.quantile(p)[profiles.names.index(name)]) for p in (0.05, 0.25, 0.5, 0.75, 0.95)]
                for name in names
                if name in profiles.names and np.isfinite(profile.knots_KM[:, profiles.names.index(name)]).all()
            },
        }
        for profile in profiles.types
    ]


def _somebody_has(profiles: Profiles, name: str) -> bool:
    index = profiles.names.index(name)
    return any(np.isfinite(profile.knots_KM[:, index]).all() for profile in profiles.types)
