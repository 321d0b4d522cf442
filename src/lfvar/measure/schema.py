"""What is measured: every feature with its group, unit, range and meaning, in the order of all tables and vectors.

102 radiomics as pyradiomics defines them (the IBSI definitions, with few exceptions; see its documentation) and the
clinical measurements of `lfvar.measure.clinical`. Radiomics are taken on luminance in grey levels from 0 to 255;
texture on luminance cut into bins of `MeasureSettings.bin_width` (25) levels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lfvar.measure.schema_radiomics import RADIOMICS

SCHEMA_VERSION = 1
"""Raised with every change of features, order or meaning."""

Group = Literal["shape", "histogram", "texture", "clinical"]
GROUPS: tuple[Group, ...] = get_args(Group)

Transform = Literal["none", "log"]

LOG_FLOOR = 1e-9
"""Smaller values are raised to it before a logarithm; only degenerate lesions (one grey level) get there."""


@dataclass(frozen=True)
class Feature:
    """One measurement."""

    name: str
    """Begins with its group: `shape_…`, `histogram_…`, `texture_glcm_…`, `clinical_…`."""
    group: Group
    unit: str
    """px, px², grey levels, bins, ΔE, L*, a*, b*; 1 where there is none."""
    range: tuple[float | None, float | None]
    """Lowest and highest possible value, closed; None where there is no limit."""
    transform: Transform
    """What makes it fit for statistics: `log` for positive ones with a heavy tail (see `Feature.forward`)."""
    pyradiomics: str | None
    """`class_Name` there, such as `glcm_JointEntropy`; None when it is not of pyradiomics."""
    description: str
    invariant: bool = True
    """The same, up to rounding, in all 8 flips and rotations of the square (see `lfvar.measure.symmetry`)."""

    def forward(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Apply `transform`; NaN stays NaN."""
        if self.transform == "none":
            return values
        return np.log(np.maximum(values, LOG_FLOOR))

    def inverse(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Undo `forward`."""
        return values if self.transform == "none" else np.exp(values)


def _clinical(
    name: str,
    unit: str,
    low: float | None,
    high: float | None,
    description: str,
    *,
    transform: Transform = "none",
    invariant: bool = True,
) -> Feature:
    return Feature(f"clinical_{name}", "clinical", unit, (low, high), transform, None, description, invariant)


CLINICAL: tuple[Feature, ...] = (
    _clinical(
        "asymmetry_shape_min", "1", 0.0, 1.0, "part of the lesion not covered when folded at its better principal axis"
    ),
    _clinical(
        "asymmetry_shape_max", "1", 0.0, 1.0, "part of the lesion not covered when folded at its worse principal axis"
    ),
    _clinical(
        "asymmetry_colour_min", "ΔE", 0.0, None, "mean colour difference of mirrored positions, better principal axis"
    ),
    _clinical(
        "asymmetry_colour_max", "ΔE", 0.0, None, "mean colour difference of mirrored positions, worse principal axis"
    ),
    _clinical("border_compactness", "1", 1.0, None, "perimeter² / (4π area); 1 for a disc", transform="log"),
    _clinical(
        "border_radial_variation",
        "1",
        0.0,
        None,
        "standard deviation / mean of the border's distance from the centroid; 0 for a disc",
    ),
    _clinical("colour_lightness", "L*", 0.0, 100.0, "mean L* of the lesion"),
    _clinical("colour_redness", "a*", -128.0, 128.0, "mean a* of the lesion"),
    _clinical("colour_yellowness", "b*", -128.0, 128.0, "mean b* of the lesion"),
    _clinical("colour_variegation", "ΔE", 0.0, None, "root mean square ΔE from the lesion's mean colour"),
    _clinical("colour_variegation_chroma", "ΔE", 0.0, None, "the same in a* and b* alone, which shading hardly moves"),
    _clinical("colour_count", "1", 0.0, 6.0, "how many of white, red, light brown, dark brown, blue-grey and black"),
    _clinical("contrast_colour", "ΔE", 0.0, None, "ΔE between the mean colours of the lesion and of the skin around"),
    _clinical("contrast_lightness", "L*", -100.0, 100.0, "mean L* of the skin around minus that of the lesion"),
    _clinical("relative_area", "1", 0.0, 1.0, "area of the lesion by area of the image", transform="log"),
    _clinical(
        "relative_diameter",
        "1",
        0.0,
        math.sqrt(2),
        "largest diameter of the lesion by side of the image",
    ),
    _clinical("centroid_x", "1", 0.0, 1.0, "centroid from the left edge by width of the image", invariant=False),
    _clinical("centroid_y", "1", 0.0, 1.0, "centroid from the top edge by height of the image", invariant=False),
)

SCHEMA: tuple[Feature, ...] = (
    *(
        Feature(
            row.name,
            row.group,
            row.unit,
            (row.low, row.high),
            row.transform,
            row.pyradiomics,
            row.description,
        )
        for row in RADIOMICS
    ),
    *CLINICAL,
)
"""All features, in the order of every table and vector: shape 9, histogram 18, texture 75, clinical 18."""

FEATURE_NAMES: tuple[str, ...] = tuple(feature.name for feature in SCHEMA)

_CLINICAL_FROM_MASK = {
    "clinical_asymmetry_shape_min",
    "clinical_asymmetry_shape_max",
    "clinical_border_compactness",
    "clinical_border_radial_variation",
    "clinical_relative_area",
    "clinical_relative_diameter",
    "clinical_centroid_x",
    "clinical_centroid_y",
}
FROM_MASK: tuple[str, ...] = tuple(
    feature.name for feature in SCHEMA if feature.group == "shape" or feature.name in _CLINICAL_FROM_MASK
)
"""Those that the mask alone decides, whatever the image."""

_BY_NAME = {feature.name: feature for feature in SCHEMA}


def features_of(group: Group) -> tuple[Feature, ...]:
    """The features of one group, in schema order.

    Raises:
        KeyError: When there is no such group.
    """
    if group not in GROUPS:
        raise KeyError(f"no group '{group}': use one of {', '.join(GROUPS)}")
    return tuple(feature for feature in SCHEMA if feature.group == group)


def feature(name: str) -> Feature:
    """The feature of that name.

    Raises:
        KeyError: When there is none.
    """
    return _BY_NAME[name]
