"""A lesion cut out of its image, with what the clinical measurements share: colours, moments, the room around it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lfvar.measure.settings import MeasurementError, MeasureSettings


@dataclass(frozen=True)
class Lesion:
    """The lesion's box and `margin` pixels around it, as far as the image goes.

    Several separate pieces are one lesion. What lies beyond the edge of the image is not lesion.
    """

    image_hwC: NDArray[Any]
    """RGB, 0 to 255."""
    mask_hw: NDArray[np.bool_]
    x0: int
    """Of the cut-out in the image."""
    y0: int
    width: int
    """Of the whole image."""
    height: int

    @classmethod
    def cut(cls, image_HWC: NDArray[Any], mask_HW: NDArray[np.bool_], margin: int) -> Lesion:
        """Cut the lesion out.

        Args:
            image_HWC: RGB, 0 to 255; uint8, or floating point.
            mask_HW: At least one pixel True.
            margin: Pixels around the lesion's box.
        """
        height, width = mask_HW.shape
        rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
        y0, y1 = max(0, int(rows[0]) - margin), min(height, int(rows[-1]) + 1 + margin)
        x0, x1 = max(0, int(columns[0]) - margin), min(width, int(columns[-1]) + 1 + margin)
        return cls(image_HWC[y0:y1, x0:x1], np.ascontiguousarray(mask_HW[y0:y1, x0:x1]), x0, y0, width, height)

    @cached_property
    def area(self) -> int:
        """In pixels."""
        return int(self.mask_hw.sum())

    @cached_property
    def moments(self) -> tuple[float, float, float, float, float]:
        """Centroid x, y in pixels of the cut-out, and central second moments xx, xy, yy per pixel.

        From sums of whole numbers, so that flips and rotations give exactly the mirrored values.
        """
        y, x = (axis.astype(np.int64) for axis in np.nonzero(self.mask_hw))
        n, sx, sy = self.area, int(x.sum()), int(y.sum())
        sxx, sxy, syy = int((x * x).sum()), int((x * y).sum()), int((y * y).sum())
        square = n * n
        return (
            sx / n,
            sy / n,
            (n * sxx - sx * sx) / square,
            (n * sxy - sx * sy) / square,
            (n * syy - sy * sy) / square,
        )

    @cached_property
    def lab(self) -> NDArray[np.float64]:
        """CIELAB of the cut-out (h, w, 3); see `to_lab`.

        Raises:
            MeasurementError: When a pixel is not a finite number.
        """
        if not np.isfinite(self.image_hwC).all():
            raise MeasurementError("the lesion or the skin around it has pixels that are not finite numbers")
        return to_lab(self.image_hwC)

    @cached_property
    def lab_inside(self) -> NDArray[np.float64]:
        """CIELAB of the lesion's pixels, (pixels, 3)."""
        return self.lab[self.mask_hw]


def to_lab(image: NDArray[Any]) -> NDArray[np.float64]:
    """CIELAB (CIE 15:2004, D65, 2°) of sRGB (IEC 61966-2-1) from 0 to 255, (…, 3).

    In float64 by the formula: `cv2.cvtColor` interpolates tables, which differ between its versions.
    """
    linear = _LINEAR[image] if image.dtype == np.uint8 else _linearise(image.astype(np.float64))
    relative = linear @ _XYZ_BY_WHITE.T
    f = np.where(relative > _EPSILON, np.cbrt(relative), relative / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def _linearise(values: NDArray[np.float64]) -> NDArray[np.float64]:
    share = np.clip(values / 255, 0, 1)
    return np.asarray(np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4))


_LINEAR = _linearise(np.arange(256, dtype=np.float64))
_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_XYZ_BY_WHITE = _XYZ / _XYZ.sum(axis=1, keepdims=True)
"""By the white point, so that white is exactly a* = b* = 0."""
_EPSILON = (6 / 29) ** 3


def check_mask(mask_HW: NDArray[np.bool_], settings: MeasureSettings) -> None:
    """Make sure that there is a lesion to measure.

    Raises:
        MeasurementError: When the mask is empty, too small, or a line.
    """
    count = int(mask_HW.sum())
    if count == 0:
        raise MeasurementError("empty mask")
    if count < settings.min_pixels:
        raise MeasurementError(f"mask too small: {count} pixels, fewer than min_pixels={settings.min_pixels}")
    if min(int(mask_HW.any(axis=0).sum()), int(mask_HW.any(axis=1).sum())) < 2:
        raise MeasurementError("mask is a line, one pixel wide")


def equivalent_diameter(area: float) -> float:
    """Diameter of the disc of that area."""
    return math.sqrt(4 * area / math.pi)
