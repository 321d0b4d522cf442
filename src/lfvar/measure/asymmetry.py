"""How unlike the lesion's halves are, in shape and in colour: A of the ABCD rule."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lfvar.measure.lesion import Lesion
from lfvar.measure.settings import MeasurementError

_SAMPLES = 128
"""Along each axis; enough for 0.5 % of the area, and the cost stays the same at every image size."""


def measure_shape_asymmetry(lesion: Lesion) -> dict[str, float]:
    """Fold the lesion at each of its two principal axes and measure what is not covered.

    asymmetry_shape_min, asymmetry_shape_max: |lesion without its mirror image| / |lesion|, at the better and the worse
    axis; 0 (symmetric) to 1. After Stoecker, Li & Moss, "Automatic detection of asymmetry in skin tumors" (Comput Med
    Imaging Graph 16:191, 1992); the ABCD rule scores the two axes (Nachbar et al., J Am Acad Dermatol 30:551, 1994).

    A lesion without principal axes (disc, square) is folded at the axes of the image.
    """
    inside = _sample(lesion.mask_hw[..., None].astype(np.float64), *_upright_grid(lesion))[..., 0]
    total = float(inside.sum())
    folds = [0.5 * float(np.abs(inside - np.flip(inside, axis)).sum()) / total for axis in (0, 1)]
    return {"clinical_asymmetry_shape_min": min(folds), "clinical_asymmetry_shape_max": max(folds)}


def measure_colour_asymmetry(lesion: Lesion) -> dict[str, float]:
    """Fold the lesion at each of its two principal axes and compare the colours that meet.

    asymmetry_colour_min, asymmetry_colour_max: Mean ΔE*ab (CIE 1976) between mirrored positions that both lie in the
    lesion, at the better and the worse axis; 0 up. The ABCD rule (Nachbar et al. 1994) scores asymmetry of colour
    along with that of shape.

    Raises:
        MeasurementError: When a pixel is not a finite number, or no two positions meet.
    """
    x, y = _upright_grid(lesion)
    inside = _sample(lesion.mask_hw[..., None].astype(np.float64), x, y)[..., 0]
    lab = _sample(lesion.lab, x, y)
    folds = []
    for axis in (0, 1):
        both = inside * np.flip(inside, axis)
        total = float(both.sum())
        if total == 0:
            raise MeasurementError("no position of the lesion has a mirror image in it")
        apart = np.sqrt(((lab - np.flip(lab, axis)) ** 2).sum(axis=-1))
        folds.append(float((both * apart).sum()) / total)
    return {"clinical_asymmetry_colour_min": min(folds), "clinical_asymmetry_colour_max": max(folds)}


def _upright_grid(lesion: Lesion) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions x, y in the cut-out whose rows and columns lie along the principal axes, symmetric to the centroid.

    Folding at an axis is then flipping the grid.
    """
    centre_x, centre_y, xx, xy, yy = lesion.moments
    has_no_axes = math.hypot(xx - yy, 2 * xy) <= 1e-9 * (xx + yy)
    angle = 0.0 if has_no_axes else 0.5 * math.atan2(2 * xy, xx - yy)
    cosine, sine = math.cos(angle), math.sin(angle)
    y, x = np.nonzero(lesion.mask_hw)
    along = np.abs((x - centre_x) * cosine + (y - centre_y) * sine).max() + 1
    across = np.abs((y - centre_y) * cosine - (x - centre_x) * sine).max() + 1
    steps = (np.arange(_SAMPLES) + 0.5) * (2 / _SAMPLES) - 1
    u, v = steps[None, :] * along, steps[:, None] * across
    return centre_x + u * cosine - v * sine, centre_y + u * sine + v * cosine


def _sample(values_hwC: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bilinear values at positions; 0 beyond the edge. In float64: that of cv2 rounds positions to 1/32 pixel."""
    padded = np.pad(values_hwC, ((1, 1), (1, 1), (0, 0)))
    height, width = padded.shape[:2]
    x, y = np.clip(x + 1, 0, width - 1), np.clip(y + 1, 0, height - 1)
    left, top = np.minimum(x.astype(np.int64), width - 2), np.minimum(y.astype(np.int64), height - 2)
    x_share, y_share = (x - left)[..., None], (y - top)[..., None]
    flat = padded.reshape(height * width, -1)
    corner = top * width + left
    upper = flat[corner] * (1 - x_share) + flat[corner + 1] * x_share
    lower = flat[corner + width] * (1 - x_share) + flat[corner + width + 1] * x_share
    return np.asarray(upper * (1 - y_share) + lower * y_share, np.float64)
