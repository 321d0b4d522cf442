"""Random fields that look the same at every resolution, each from its own stream of random numbers."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Field: TypeAlias = NDArray[np.float32]
"""H W, one value per pixel."""

_TILE = 64  # cells after which a cellular pattern repeats; no image shows as many


class Streams:
    """One random stream per purpose, so that changing one factor leaves all other draws as they were.

    Args:
        entropy: Seed, for example (seed, index).
    """

    def __init__(self, entropy: Sequence[int]) -> None:
        self._entropy = tuple(entropy)

    def __call__(self, name: str) -> np.random.Generator:
        """The stream called `name`, always from its beginning."""
        return np.random.default_rng(np.random.SeedSequence(self._entropy, spawn_key=(zlib.crc32(name.encode()),)))


def fractal(rng: np.random.Generator, side: int, octaves: Sequence[tuple[int, float]]) -> Field:
    """Smooth noise of about unit variance per unit weight.

    Args:
        rng: Source of the noise.
        side: Size of the (square) field in pixels.
        octaves: (cells along one side, weight) per octave.
    """
    total = np.zeros((side, side), np.float32)
    for cells, weight in octaves:
        grid = np.float32(1.3 * weight) * rng.standard_normal((cells, cells), np.float32)
        way = cv2.INTER_CUBIC if cells < side else cv2.INTER_AREA
        cv2.add(total, cv2.resize(grid, (side, side), interpolation=way), dst=total)
    return total


def sample_field(field: Field, x: Field, y: Field, reach: float) -> Field:
    """Read `field`, which spans [-reach, reach] on both axes, at the points (x, y)."""
    side = field.shape[0]
    scale = np.float32(side / (2 * reach))
    middle = np.float32(side / 2 - 0.5)
    read = cv2.remap(field, x * scale + middle, y * scale + middle, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(read, np.float32)


class Cells(NamedTuple):
    """A plane cut into irregular cells, one around each of its jittered lattice points."""

    centre: Field
    """Distance to the cell's point; the lattice constant is 1."""
    wall: Field
    """Distance to the second nearest point minus distance to the nearest: 0 on a wall."""
    chance: tuple[Field, Field]
    """Two uniform random numbers in [0, 1), constant in a cell."""


def cellular(rng: np.random.Generator, x: Field, y: Field, jitter: float = 0.85) -> Cells:
    """Cut the plane into cells (Worley 1996) and read it at the points (x, y), given in lattice constants."""
    tables = rng.random((4, _TILE * _TILE), np.float32)
    offset_x, offset_y = (0.5 + jitter * (tables[:2] - 0.5)).astype(np.float32)
    column, row = np.floor(x), np.floor(y)
    within_x, within_y = x - column, y - row
    column_index, row_index = column.astype(np.int32), row.astype(np.int32)
    first = np.full(x.shape, 9.0, np.float32)
    second = first.copy()
    nearest = np.zeros(x.shape, np.int32)
    for down in (-1, 0, 1):
        row_start = ((row_index + down) & (_TILE - 1)) * _TILE
        for right in (-1, 0, 1):
            cell = row_start + ((column_index + right) & (_TILE - 1))
            step_x = offset_x.take(cell) - within_x + np.float32(right)
            step_y = offset_y.take(cell) - within_y + np.float32(down)
            distance = step_x * step_x + step_y * step_y
            np.copyto(nearest, cell, where=distance < first)
            np.minimum(second, np.maximum(first, distance), out=second)
            np.minimum(first, distance, out=first)
    centre = np.sqrt(first)
    return Cells(centre, np.sqrt(second) - centre, (tables[2].take(nearest), tables[3].take(nearest)))


def ramp(field: Field, low: float | Field, high: float | Field) -> Field:
    """Smooth step from 0 at `low` to 1 at `high` (which may lie below `low`)."""
    t = np.clip((field - low) / (np.asarray(high, np.float32) - np.asarray(low, np.float32)), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)
