"""Vessels of a lesion: branching trees that start at its border and thin out towards its middle."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from lfvar.data.phantom.noise import Field, sample_field
from lfvar.data.phantom.place import Place

MAX_TREES = 12
_LAYER = 384  # side of the drawing, which spans +-_REACH radii
_REACH = 1.7
_STEPS = 22
_FIXED = 16  # sub-pixels per pixel of cv2's fixed-point coordinates, and their bits
_SHIFT = 4


def draw_vessels(strength: float, place: Place) -> Field:
    """Draw the trees as 0 to 1; `strength` decides their number."""
    rng, radius = place.streams("vessels"), place.radius
    layer = np.zeros((_LAYER, _LAYER), np.uint8)
    number = max(1, round(strength * MAX_TREES * min(1.0, radius / 0.2)))
    widest = 0.0105 / radius  # in lesion radii: vessels have one width, whatever the lesion's size
    bearings, wander, forks = (
        rng.uniform(0, 2 * np.pi, MAX_TREES),
        rng.standard_normal((MAX_TREES, 4, _STEPS)),
        rng.random((MAX_TREES, 4, 3)),
    )
    for bearing, turns, fork in zip(bearings[:number], wander, forks, strict=False):
        start = (math.cos(bearing) * (0.75 + 0.3 * fork[0, 0]), math.sin(bearing) * (0.75 + 0.3 * fork[0, 0]))
        heading = bearing + math.pi + 0.6 * (fork[0, 1] - 0.5)
        step = 0.05 * (0.6 + 0.7 * fork[0, 2])
        trunk = _grow(layer, start, heading, step, widest * (0.6 + 0.5 * fork[0, 1]), turns[0])
        for branch in (1, 2, 3):
            knot = int(3 + fork[branch, 0] * (_STEPS - 8))
            x, y, direction, width = trunk[knot]
            aside = (0.5 + 0.6 * fork[branch, 1]) * (1 if fork[branch, 2] < 0.5 else -1)
            _grow(layer, (x, y), direction + aside, step * 0.7, width * 0.75, turns[branch])
    soft = cv2.GaussianBlur(layer, (0, 0), 1.0).astype(np.float32) / np.float32(255)
    scale = np.float32(1 / radius)
    return sample_field(soft, place.u * scale, place.v * scale, _REACH)


def _grow(
    layer: NDArray[np.uint8],
    start: tuple[float, float],
    heading: float,
    step: float,
    width: float,
    turns: NDArray[np.float64],
) -> list[tuple[float, float, float, float]]:
    """Draw one wandering, thinning branch; returns x, y, heading and width along it."""
    headings = heading + np.cumsum(0.27 * turns)
    xs = start[0] + np.cumsum(step * np.cos(headings))
    ys = start[1] + np.cumsum(step * np.sin(headings))
    widths = width * np.linspace(1, 0.25, turns.size)
    scale = _LAYER / (2 * _REACH)
    aside = 0.5 * widths[:, None] * np.stack([-np.sin(headings), np.cos(headings)], axis=1)
    spine = np.stack([xs, ys], axis=1)
    outline = np.concatenate([spine + aside, (spine - aside)[::-1]])
    points = np.round(((outline + _REACH) * scale - 0.5) * _FIXED).astype(np.int32)
    cv2.fillPoly(layer, [points], 255, cv2.LINE_AA, _SHIFT)
    return list(zip(xs.tolist(), ys.tolist(), headings.tolist(), widths.tolist(), strict=True))
