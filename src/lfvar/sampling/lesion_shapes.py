"""Lesion masks drawn from a few numbers: size, place, elongation, asymmetry, irregularity of the border.

The outline is a curve r(φ) around a point: an ellipse times the exponential of two sums of waves. A few slow waves with
phases that no axis mirrors make it asymmetric; many fast ones make its border irregular. Pixels are then taken in the
order of their distance from the point relative to the outline, until the area is reached: exact at every resolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_STREAM = 0x73686170
"""Keeps draws apart from other uses of the same seed."""
_POINTS = 720
_ASYMMETRY = 0.16
"""Root mean square of the slow waves (in log radius) at asymmetry 1."""
_IRREGULARITY = 0.1
"""The same of the fast waves at irregularity 1."""
_FAST = np.arange(6, 29)
_MARGIN = 0.02
"""Least distance from the image's edge, by its side, as far as the lesion fits."""


@dataclass(frozen=True)
class LesionShape:
    """What a drawn lesion looks like. Lengths are shares of the image's side."""

    relative_area: float
    """Area by that of the image, in (0, 1): `clinical_relative_area`."""
    centre_x: float = 0.5
    """Wanted centroid from the left edge: `clinical_centroid_x`. The lesion is moved where it would leave the image."""
    centre_y: float = 0.5
    """From the top edge."""
    elongation: float = 1.2
    """Longer by shorter axis, 1 or more."""
    orientation: float = 0.0
    """Of the longer axis, in radians from the horizontal, clockwise as seen."""
    asymmetry: float = 0.2
    """0: mirrored at both axes; 1: like nothing of the kind."""
    irregularity: float = 0.2
    """0: a smooth border; 1: notched all around."""

    def __post_init__(self) -> None:
        if not 0 < self.relative_area < 1:
            raise ValueError(f"relative_area is a share in (0, 1), got {self.relative_area}")
        for name in ("centre_x", "centre_y", "asymmetry", "irregularity"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} lies in [0, 1], got {getattr(self, name)}")
        if self.elongation < 1:
            raise ValueError(f"elongation is at least 1, got {self.elongation}")


def draw_shape(shape: LesionShape, size: int, seed: int) -> NDArray[np.bool_]:
    """Draw a lesion's mask: one connected piece, True = lesion.

    The seed decides where bulges and notches lie, and nothing else: two shapes with one seed differ as their numbers
    say, at any resolution. A lesion too large for the image at its elongation is cut by the image's edges, and has its
    area all the same.

    Args:
        shape: What it looks like.
        size: Side of the mask in pixels.
        seed: 0 or more.

    Returns:
        bool (size, size), of round(relative_area · size²) pixels (at least 1).
    """
    angle = np.linspace(0, 2 * np.pi, _POINTS, endpoint=False)
    radius_pixels = math.sqrt(shape.relative_area / math.pi) * size
    log_radius = _log_radius(shape, angle, radius_pixels, np.random.default_rng([_STREAM, seed]))
    turned = angle + shape.orientation
    outline = np.exp(log_radius)[:, None] * np.stack([np.cos(turned), np.sin(turned)], axis=1)
    area, centroid = _area_and_centroid(outline)
    scale = math.sqrt(shape.relative_area / area)
    around = (outline - centroid) * scale  # the outline around its centroid, in shares of the side
    centre = _place(np.array([shape.centre_x, shape.centre_y]), around)
    origin = (centre - centroid * scale) * size
    wanted = max(1, round(shape.relative_area * size * size))
    return _take_nearest(_relative_distance(origin, log_radius, shape.orientation, size), wanted)


def _log_radius(
    shape: LesionShape, angle: NDArray[np.float64], radius_pixels: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    stretch = math.sqrt(shape.elongation)
    ellipse = -0.5 * np.log((np.cos(angle) / stretch) ** 2 + (np.sin(angle) * stretch) ** 2)
    slow, fast = _slow_waves(angle, rng), _fast_waves(angle, rng, radius_pixels)
    return np.asarray(ellipse + shape.asymmetry * _ASYMMETRY * slow + shape.irregularity * _IRREGULARITY * fast)


def _slow_waves(angle: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Waves 3 to 5 around the outline, root mean square 1, that neither axis of the ellipse mirrors.

    Mirroring takes φ to -φ and to π - φ. An even wave loses most of itself under both as a sine; an odd one as a sine
    under the first and as a cosine under the second, so a phase half-way breaks both alike. (A wave of 2 would turn the
    ellipse, a wave of 1 move it.)
    """
    amplitude = rng.uniform(0.7, 1.3, 3) * (1.0, 0.7, 0.5)
    half_way = rng.integers(0, 4, 3) * (np.pi / 2) + np.pi / 4
    half_way[1] = rng.integers(0, 2) * np.pi + np.pi / 2
    phase = half_way + rng.uniform(-0.25, 0.25, 3)
    waves = amplitude[:, None] * np.cos(np.array([3, 4, 5])[:, None] * angle + phase[:, None])
    return np.asarray(waves.sum(axis=0) / math.sqrt(0.5 * float((amplitude**2).sum())))


def _fast_waves(angle: NDArray[np.float64], rng: np.random.Generator, radius_pixels: float) -> NDArray[np.float64]:
    """Waves 6 to 28, weaker as they get finer; without those that the resolution cannot show (4 pixels a wave)."""
    amplitude = rng.rayleigh(1.0, _FAST.size) * _FAST**-0.7
    phase = rng.uniform(0, 2 * np.pi, _FAST.size)
    total = math.sqrt(0.5 * float((amplitude**2).sum()))
    shown = np.where(max(_FAST[0], math.pi * radius_pixels / 2) >= _FAST, amplitude, 0)
    return np.asarray(shown @ np.cos(_FAST[:, None] * angle + phase[:, None]) / total)


def _area_and_centroid(points: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    following = np.roll(points, -1, axis=0)
    cross = points[:, 0] * following[:, 1] - following[:, 0] * points[:, 1]
    area = 0.5 * float(cross.sum())
    return area, ((points + following) * cross[:, None]).sum(axis=0) / (6 * area)


def _place(centre: NDArray[np.float64], around: NDArray[np.float64]) -> NDArray[np.float64]:
    """The centre, moved as little as needed for the outline to lie inside the image; in the middle where it cannot."""
    lowest, highest = _MARGIN - around.min(axis=0), 1 - _MARGIN - around.max(axis=0)
    middle = (lowest + highest) / 2
    return np.clip(centre, np.minimum(lowest, middle), np.maximum(highest, middle))


def _relative_distance(
    origin: NDArray[np.float64], log_radius: NDArray[np.float64], orientation: float, size: int
) -> NDArray[np.float64]:
    """Each pixel centre's distance from the origin by the outline's in that direction; in an arbitrary unit."""
    pixel = np.arange(size) + 0.5
    dx, dy = pixel[None, :] - origin[0], pixel[:, None] - origin[1]
    place = (np.arctan2(dy, dx) - orientation) % (2 * np.pi) * (_POINTS / (2 * np.pi))
    closed = np.append(log_radius, log_radius[0])
    return np.asarray(np.hypot(dx, dy) / np.exp(np.interp(place, np.arange(_POINTS + 1), closed)))


def _take_nearest(distance_HW: NDArray[np.float64], wanted: int) -> NDArray[np.bool_]:
    """The smallest set {distance ≤ t} whose piece around the nearest pixel has the wanted area; that piece.

    Sets for growing t are nested, and so are those pieces: bisection finds t. Ties and joining pieces may bring pixels
    too many; the farthest whose loss leaves one piece are taken back.
    """
    order = np.argsort(distance_HW, axis=None, kind="stable")
    low, high = wanted, order.size
    while low < high:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if int(_piece(order, middle, distance_HW.shape).sum()) >= wanted else (middle + 1, high)
        )
    mask_HW = _piece(order, low, distance_HW.shape)
    for index in order[:low][::-1]:
        if int(mask_HW.sum()) <= wanted:
            break
        if mask_HW.flat[index]:
            mask_HW.flat[index] = False
            if not _is_connected(mask_HW):
                mask_HW.flat[index] = True
    return mask_HW


def _piece(order: NDArray[np.intp], count: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The first `count` pixels of an order, as far as they hang together with the first."""
    mask = np.zeros(shape, np.uint8)
    mask.flat[order[:count]] = 1
    _, pieces = cv2.connectedComponents(mask, connectivity=4)
    return np.asarray(pieces == pieces.flat[order[0]])


def _is_connected(mask_HW: NDArray[np.bool_]) -> bool:
    return int(cv2.connectedComponents(mask_HW.astype(np.uint8), connectivity=4)[0]) == 2
