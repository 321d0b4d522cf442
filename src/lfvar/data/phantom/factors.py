"""What a phantom image is made of: every factor with its meaning, range and unit.

A factor alone decides how the image looks; the lesion type only decides how factors are drawn (`profiles`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Annotated, NamedTuple, get_type_hints

from lfvar.errors import ConfigError


class Range(NamedTuple):
    """Closed range of a factor."""

    low: float
    high: float


Strength = Annotated[float, Range(0.0, 1.0)]
"""0 = absent, 1 = as strong as it gets; no unit."""


@dataclass(frozen=True)
class PhantomFactors:
    """True factors of one image. Lengths are fractions of the image side, colours are CIELAB units, angles radians.

    Raises:
        ConfigError: When a factor is outside its range.
    """

    # Geometry of the lesion.
    diameter: Annotated[float, Range(0.12, 0.85)] = 0.4
    """Diameter of the disc with the area of the mask, by image side."""
    centre_x: Strength = 0.5
    """Centroid of the mask from the left edge, by image side."""
    centre_y: Strength = 0.5
    """Centroid of the mask from the top edge, by image side."""
    elongation: Annotated[float, Range(1.0, 2.5)] = 1.2
    """Long axis by short axis of the underlying ellipse."""
    orientation: Annotated[float, Range(-math.pi, math.pi)] = 0.0
    """Angle of the long axis (and of everything inside the lesion) from the image's x axis, clockwise as seen."""
    asymmetry: Strength = 0.2
    """Coarse one-sided bulges, antisymmetric about both axes: RMS of log radius by 0.13."""
    irregularity: Strength = 0.2
    """Fine notches and bays of the border (harmonics 6 to 28): RMS of log radius by 0.07."""
    edge_softness: Annotated[float, Range(0.02, 0.8)] = 0.25
    """Depth, by lesion radius, over which pigment rises from nothing at the contour to its full value."""

    # Colour of the lesion: mean over the mask, against the skin beneath.
    darkness: Annotated[float, Range(-10.0, 45.0)] = 18.0
    """Fall of L*; negative is paler than the skin."""
    redness: Annotated[float, Range(-10.0, 35.0)] = 8.0
    """Rise of a*."""
    warmth: Annotated[float, Range(-20.0, 25.0)] = 9.0
    """Rise of b*: positive is brown or yellow, negative is purple or blue."""

    # Colour pattern and structures; they move colour inside the lesion and leave its mean where it is.
    variegation: Strength = 0.2
    """Coarse patches of black, red and tan."""
    veil: Strength = 0.0
    """One eccentric blue-grey structureless area (blue-white veil, ovoid nests)."""
    pallor: Strength = 0.0
    """Pale scar-like centre."""
    network: Strength = 0.5
    """Honeycomb of brown lines, mesh 0.024 of the side."""
    globules: Strength = 0.1
    """Round dark-brown clods, spacing 0.036 of the side."""
    milia: Strength = 0.0
    """White-yellow round cysts, spacing 0.055 of the side."""
    follicles: Strength = 0.0
    """Pale follicle openings in a red pseudo-network ("strawberry"), spacing 0.055 of the side."""
    lacunae: Strength = 0.0
    """Red to purple blood-filled clods between pale septa, about four across the lesion."""
    scale: Strength = 0.0
    """White flaky surface keratin."""
    vessels: Strength = 0.0
    """Branching red vessels: up to 12 trees, fewer when the diameter is below 0.4."""

    # The photograph.
    skin_tone: Strength = 0.2
    """Light (L* 77) to dark (L* 37) skin."""
    skin_redness: Annotated[float, Range(4.0, 34.0)] = 16.0
    """Mean a* of the skin."""
    skin_warmth: Annotated[float, Range(-10.0, 26.0)] = 5.0
    """Mean b* of the skin, white balance included."""
    skin_texture: Strength = 0.5
    """Contrast of furrows, mottling and pores."""
    hairs: Strength = 0.2
    """Number of hairs by 28."""
    shading: Strength = 0.3
    """Uneven lighting: 1 is 14 units of L* from one side to the other."""
    vignette: Strength = 0.3
    """Darkening of the corners: 1 takes 85 % of their light."""

    def __post_init__(self) -> None:
        for name, (low, high) in FACTOR_RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(
                    f"phantom factor {name}={value!r} is outside its range",
                    cure=f"choose {name} between {low:g} and {high:g}",
                )

    def as_dict(self) -> dict[str, float]:
        """All factors by name, as plain floats."""
        return {item.name: float(getattr(self, item.name)) for item in fields(self)}


FACTOR_RANGES: dict[str, Range] = {
    name: hint.__metadata__[0] for name, hint in get_type_hints(PhantomFactors, include_extras=True).items()
}
"""The range of every factor, in the order of the dataclass."""
