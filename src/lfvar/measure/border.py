"""How irregular the border is: B of the ABCD rule."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from lfvar.measure.lesion import Lesion
from lfvar.measure.settings import MeasurementError


def measure_border(lesion: Lesion, sigma: float) -> dict[str, float]:
    """Measure the border's length and its distance from the centroid.

    border_compactness: perimeter² / (4π area), from 1 (disc) up; Golston, Stoecker, Moss & Dhillon, "Automatic
    detection of irregular borders in melanoma and other skin tumors" (Comput Med Imaging Graph 16:199, 1992) call it
    the irregularity index. Counting pixel edges overestimates a slanted border by up to 41 %; here perimeter and area
    are those of the half-way level of the mask after Gaussian smoothing: a disc gives 1.01 at every size. Smoothing is
    fixed in pixels, so compare images of one size only.

    border_radial_variation: Standard deviation / mean of the border's distance from the centroid, weighted by length;
    0 for a disc. It grows with elongation as well as with irregularity. After Kjoelen et al., "Performance of AI
    methods in detecting melanoma" (IEEE Eng Med Biol 14:411, 1995).

    An edge of the image that cuts the lesion counts as border. All pieces and holes count together.

    Args:
        lesion: What to measure.
        sigma: Of the Gaussian, in pixels.

    Raises:
        MeasurementError: When nothing is left of the lesion after smoothing.
    """
    starts, ends = trace_border(lesion.mask_hw, sigma)
    if len(starts) == 0:
        raise MeasurementError("the lesion is too thin for its border to be followed")
    centroid = np.array(lesion.moments[:2])
    starts, ends = starts - centroid, ends - centroid
    lengths = np.hypot(*(ends - starts).T)
    perimeter = float(lengths.sum())
    area = 0.5 * float((starts[:, 0] * ends[:, 1] - starts[:, 1] * ends[:, 0]).sum())
    radius = np.hypot(*(0.5 * (starts + ends)).T)
    mean = float((lengths * radius).sum()) / perimeter
    variance = float((lengths * (radius - mean) ** 2).sum()) / perimeter
    return {
        "clinical_border_compactness": perimeter**2 / (4 * math.pi * area),  # never below 1: both are of one polygon
        "clinical_border_radial_variation": math.sqrt(variance) / mean,
    }


def trace_border(mask_hw: NDArray[np.bool_], sigma: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Follow the level 0.5 of the smoothed mask by marching squares.

    Returns:
        Where the segments start and where they end, as x, y (N, 2) each; clockwise around the lesion as seen.
    """
    reach = math.ceil(4 * sigma)
    pad = reach + 2
    blurred = cv2.GaussianBlur(np.pad(mask_hw.astype(np.float64), pad), (2 * reach + 1, 2 * reach + 1), sigma)
    smooth = np.asarray(blurred, np.float64)
    inside = smooth >= 0.5
    corners = (inside[:-1, :-1], inside[:-1, 1:], inside[1:, 1:], inside[1:, :-1])
    code = np.zeros(corners[0].shape, np.uint8)
    for bit, corner in zip((3, 2, 1, 0), corners, strict=True):
        code |= corner.astype(np.uint8) << bit
    y, x = np.nonzero((code > 0) & (code < 15))
    kind = code[y, x]
    values = np.stack([smooth[y, x], smooth[y, x + 1], smooth[y + 1, x + 1], smooth[y + 1, x]])
    joined = values.mean(axis=0) >= 0.5
    cuts = _cut_sides(values) + np.stack([x, y], axis=1)
    starts, ends = [], []
    for case, segments in _SEGMENTS.items():
        chosen = kind == case if case in _PLAIN else (kind == case % 16) & (joined == (case >= 16))
        for segment in segments:
            starts.append(cuts[_SIDES.index(segment[0]), chosen])
            ends.append(cuts[_SIDES.index(segment[1]), chosen])
    return np.concatenate(starts) - pad, np.concatenate(ends) - pad


_SIDES = "TRBL"
_SEGMENTS = {
    **{8: ("TL",), 4: ("RT",), 2: ("BR",), 1: ("LB",), 12: ("RL",), 3: ("LR",), 9: ("TB",), 6: ("BT",)},
    **{7: ("LT",), 11: ("TR",), 13: ("RB",), 14: ("BL",)},
    **{10: ("TL", "BR"), 26: ("TR", "BL"), 5: ("RT", "LB"), 21: ("LT", "RB")},
}
"""From which side of a cell to which, by the corners inside: top left 8, top right 4, bottom right 2, bottom left 1.

Where two opposite corners are inside, the middle decides; + 16 when it is inside, too.
"""
_PLAIN = frozenset(_SEGMENTS) - {10, 26, 5, 21}


def _cut_sides(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the level cuts the four sides of each cell, (4, N, 2) as x, y from its top left corner.

    Args:
        values: At the corners, clockwise from the top left, (4, N). Sides that are not cut give nonsense.
    """
    following = np.roll(values, -1, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (0.5 - values) / (following - values)
    zero, one = np.zeros_like(share[0]), np.ones_like(share[0])
    return np.stack(
        [
            np.stack([share[0], zero], axis=1),
            np.stack([one, share[1]], axis=1),
            np.stack([1 - share[2], one], axis=1),
            np.stack([zero, 1 - share[3]], axis=1),
        ]
    )
