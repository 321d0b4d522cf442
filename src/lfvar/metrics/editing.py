"""How well an edit keeps the skin, and whether its border shows."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_PSNR = 100.0
"""Stands for "identical"."""


def background_psnr(
    image_HWC: NDArray[np.uint8], source_HWC: NDArray[np.uint8], painted_HW: NDArray[np.bool_]
) -> float:
    """Peak signal-to-noise ratio outside what was painted, in dB; `MAX_PSNR` at most.

    Of an image before compositing (`Result.raw_HWC`) it says how well tokens alone keep the skin; after compositing it
    is `MAX_PSNR`.

    Args:
        image_HWC: The edit.
        source_HWC: What it was made from.
        painted_HW: True = allowed to change.

    Returns:
        NaN where nothing lies outside.
    """
    if painted_HW.all():
        return math.nan
    difference = image_HWC[~painted_HW].astype(np.float64) - source_HWC[~painted_HW].astype(np.float64)
    mse = float((difference**2).mean()) / 255**2
    return min(-10 * math.log10(mse), MAX_PSNR) if mse > 0 else MAX_PSNR


def seam_ratio(image_HWC: NDArray[Any], mask_HW: NDArray[np.bool_], reach: int = 3) -> float:
    """Mean step across the border of a mask by the mean step near it.

    A step is the colour distance of two neighbouring pixels (left-right or top-bottom). "Across": one lies inside and
    one outside. "Near": both on one side, and both at most `reach` pixels from the border. 1: the border is like its
    surroundings. Real lesions end somewhere too, so compare with the source's own value at its own mask.

    Args:
        image_HWC: Any range.
        mask_HW: What was painted.
        reach: Pixels.

    Returns:
        NaN where there is no border or nothing near it; infinite where all around the border is flat and it is not.
    """
    image = image_HWC.astype(np.float64)
    near_HW = _distance_to_border(mask_HW) <= reach
    across, beside = [], []
    for axis in (0, 1):
        first, second = (slice(None, -1), slice(1, None))
        here, there = (
            ((first, slice(None)), (second, slice(None)))
            if axis == 0
            else (
                (slice(None), first),
                (slice(None), second),
            )
        )
        step = np.sqrt(((image[here] - image[there]) ** 2).sum(axis=-1))
        crossing = mask_HW[here] != mask_HW[there]
        across.append(step[crossing])
        beside.append(step[~crossing & near_HW[here] & near_HW[there]])
    steps_across, steps_beside = np.concatenate(across), np.concatenate(beside)
    if not steps_across.size or not steps_beside.size:
        return math.nan
    top, bottom = float(steps_across.mean()), float(steps_beside.mean())
    if bottom == 0:
        return 1.0 if top == 0 else math.inf
    return top / bottom


def _distance_to_border(mask_HW: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of each pixel to the nearest pixel of the other side; infinite without a border."""
    if mask_HW.all() or not mask_HW.any():
        return np.full(mask_HW.shape, np.inf)
    sides = [mask_HW.astype(np.uint8), (~mask_HW).astype(np.uint8)]
    inside, outside = (cv2.distanceTransform(side, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for side in sides)
    return np.asarray(inside, np.float64) + np.asarray(outside, np.float64)
