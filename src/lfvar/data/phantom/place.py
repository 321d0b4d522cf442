"""Where each pixel lies in a lesion's own frame, so that everything inside the lesion turns and moves with it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lfvar.data.phantom.factors import PhantomFactors
from lfvar.data.phantom.noise import Cells, Field, Streams, cellular, fractal, sample_field

_LOCAL = 96  # side of a noise field
_REACH = 2.2  # lesion radii that it covers in each direction


class Place(NamedTuple):
    """Coordinates of the pixels of a window around the lesion, whose centre is (0, 0)."""

    u: Field
    """Along the long axis, by image side."""
    v: Field
    """Across it."""
    radius: float
    """Of the disc with the lesion's area, by image side."""
    streams: Streams

    @classmethod
    def locate(cls, factors: PhantomFactors, side: int, window: tuple[slice, slice], streams: Streams) -> Place:
        """Find the place of the pixels in `window` (rows, columns) of an image of `side` pixels."""
        x = (np.arange(window[1].start, window[1].stop) + 0.5) / side - factors.centre_x
        y = (np.arange(window[0].start, window[0].stop) + 0.5) / side - factors.centre_y
        x_grid, y_grid = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
        cos, sin = np.float32(np.cos(factors.orientation)), np.float32(np.sin(factors.orientation))
        return cls(x_grid * cos + y_grid * sin, y_grid * cos - x_grid * sin, factors.diameter / 2, streams)

    def noise(self, name: str, *octaves: tuple[float, float]) -> Field:
        """The smooth noise called `name`; octaves are (cells per lesion radius, weight)."""
        field = fractal(
            self.streams(name), _LOCAL, [(max(2, round(2 * _REACH * cells)), weight) for cells, weight in octaves]
        )
        scale = np.float32(1 / self.radius)
        return sample_field(field, self.u * scale, self.v * scale, _REACH)

    def cells(self, name: str, spacing: float, warp: Field, jitter: float = 0.8) -> Cells:
        """The cells called `name`, `spacing` (by image side) apart, displaced by `warp` spacings."""
        scale = np.float32(1 / spacing)
        return cellular(self.streams(name), self.u * scale + warp, self.v * scale - warp, jitter)

    def distance(self, u: float = 0.0, v: float = 0.0) -> Field:
        """Squared distance from (u, v), all in lesion radii."""
        scale = np.float32(1 / self.radius)
        return np.square(self.u * scale - np.float32(u)) + np.square(self.v * scale - np.float32(v))
