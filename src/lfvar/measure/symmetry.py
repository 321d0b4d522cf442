"""What the 8 flips and rotations of the square do to measurements: they move the centroid and nothing else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lfvar.measure.schema import FEATURE_NAMES, SCHEMA

SYMMETRIES: tuple[tuple[int, bool], ...] = tuple((turns, mirrored) for mirrored in (False, True) for turns in range(4))
"""(quarter turns counterclockwise as `np.rot90` turns, mirrored left to right before turning)."""

_X, _Y = FEATURE_NAMES.index("clinical_centroid_x"), FEATURE_NAMES.index("clinical_centroid_y")
assert [feature.name for feature in SCHEMA if not feature.invariant] == [FEATURE_NAMES[_X], FEATURE_NAMES[_Y]]


def move_image(image: NDArray[np.generic], turns: int, mirrored: bool) -> NDArray[np.generic]:
    """Mirror and turn an image (H, W, C) or a mask (H, W)."""
    return np.ascontiguousarray(np.rot90(np.fliplr(image) if mirrored else image, turns))


def move_measurements(values: NDArray[np.float64], turns: int, mirrored: bool) -> NDArray[np.float64]:
    """The measurements (…, M) of the moved image, from those of the image; in natural units, not standardised."""
    moved = values.copy()
    x, y = moved[..., _X].copy(), moved[..., _Y].copy()
    if mirrored:
        x = 1 - x
    for _ in range(turns % 4):
        x, y = y, 1 - x
    moved[..., _X], moved[..., _Y] = x, y
    return moved
