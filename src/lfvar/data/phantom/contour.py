"""The outline of a lesion: a closed curve of stated area, centroid, elongation, asymmetry and irregularity."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from lfvar.data.phantom.factors import PhantomFactors
from lfvar.data.phantom.noise import Streams

NUM_POINTS = 720
MARGIN = 0.02
"""Least distance of the contour from the edge of the frame, by image side."""
_ASYMMETRY_RMS = 0.13
_IRREGULARITY_RMS = 0.07


def draw_contour(factors: PhantomFactors, streams: Streams) -> tuple[NDArray[np.float64], PhantomFactors]:
    """Draw the outline, moved and shrunk as little as needed to lie inside the frame.

    Returns:
        Points (720, 2) as x, y by image side, and the factors with the centre and diameter that were used.
    """
    angle = np.linspace(0, 2 * np.pi, NUM_POINTS, endpoint=False)
    stretch = math.sqrt(factors.elongation)
    log_radius = -0.5 * np.log((np.cos(angle) / stretch) ** 2 + (np.sin(angle) * stretch) ** 2)
    log_radius += factors.asymmetry * _ASYMMETRY_RMS * _bulges(angle, streams("bulges"))
    log_radius += factors.irregularity * _IRREGULARITY_RMS * _notches(angle, streams("notches"))
    turned = angle + factors.orientation
    points = np.exp(log_radius)[:, None] * np.stack([np.cos(turned), np.sin(turned)], axis=1)

    area, centroid = _area_and_centroid(points)
    points = (points - centroid) / math.sqrt(4 * area / math.pi)  # equivalent diameter 1, centroid at 0
    room = 1 - 2 * MARGIN
    diameter = min(factors.diameter, room / float(np.ptp(points, axis=0).max()))
    points = points * diameter
    lowest, highest = MARGIN - points.min(axis=0), 1 - MARGIN - points.max(axis=0)
    centre = np.clip([factors.centre_x, factors.centre_y], lowest, np.maximum(lowest, highest))
    used = replace(factors, diameter=diameter, centre_x=float(centre[0]), centre_y=float(centre[1]))
    return points + centre, used


def fill_contour(points: NDArray[np.float64], side: int) -> NDArray[np.bool_]:
    """Pixels whose larger part lies inside the contour, on a square of `side` pixels; one connected piece."""
    fine = max(1, math.ceil(512 / side))
    drawn = np.zeros((side * fine, side * fine), np.uint8)
    fixed_point = np.round((points * side * fine - 0.5) * 256).astype(np.int32)
    cv2.fillPoly(drawn, [fixed_point], 255, lineType=cv2.LINE_8, shift=8)
    mask = np.asarray(cv2.resize(drawn, (side, side), interpolation=cv2.INTER_AREA) >= 128)
    num_pieces, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if num_pieces > 2:  # a neck thinner than a pixel
        mask = pieces == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return mask


def _bulges(angle: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Harmonics 3 to 5 of unit RMS, with phases for which neither axis of the ellipse is an axis of symmetry."""
    amplitude = rng.uniform(0.6, 1.4, 3) * (1.0, 0.55, 0.4)
    quarter = rng.integers(0, 4, 3) * (np.pi / 2) + np.pi / 4 + rng.uniform(-0.35, 0.35, 3)
    quarter[1] = rng.integers(0, 2) * np.pi + np.pi / 2  # even harmonics: only the sine breaks both symmetries
    waves = amplitude[:, None] * np.cos(np.array([3, 4, 5])[:, None] * angle + quarter[:, None])
    return np.asarray(waves.sum(axis=0) / math.sqrt(0.5 * float((amplitude**2).sum())))


def _notches(angle: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Harmonics 6 to 28 of unit RMS, weaker as they get finer."""
    harmonics = np.arange(6, 29)
    amplitude = rng.rayleigh(1.0, harmonics.size) * harmonics**-0.7
    phase = rng.uniform(0, 2 * np.pi, harmonics.size)
    waves = amplitude[:, None] * np.cos(harmonics[:, None] * angle + phase[:, None])
    return np.asarray(waves.sum(axis=0) / math.sqrt(0.5 * float((amplitude**2).sum())))


def _area_and_centroid(points: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    following = np.roll(points, -1, axis=0)
    cross = points[:, 0] * following[:, 1] - following[:, 0] * points[:, 1]
    area = 0.5 * float(cross.sum())
    return area, ((points + following) * cross[:, None]).sum(axis=0) / (6 * area)
