"""The structures dermoscopy looks for: where each one is, and how it changes CIELAB at full strength."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lfvar.data.phantom.factors import PhantomFactors
from lfvar.data.phantom.noise import Field, ramp
from lfvar.data.phantom.place import Place
from lfvar.data.phantom.vessels import draw_vessels

Layer: TypeAlias = tuple[Field, tuple[float, float, float]]
"""A shape (0 to 1) and the change of L*, a*, b* where it is 1."""


def draw_structures(factors: PhantomFactors, place: Place, cover: Field) -> NDArray[np.float32]:
    """Sum of all structures that are present, each by its strength: change of CIELAB, H W 3."""
    change = np.zeros((*place.u.shape, 3), np.float32)
    warp = place.noise("lattice warp", (6 * place.radius, 0.3))
    for name, draw in STRUCTURES.items():
        strength = np.float32(getattr(factors, name))
        if strength > 0:
            for shape, colour in draw(place, warp):
                change += (strength * shape)[..., None] * np.array(colour, np.float32)
    if factors.vessels > 0:
        tree = draw_vessels(factors.vessels, place)
        # Vessels lie above the pigment: undo the fading that the caller applies, except at the very border.
        tree = tree * np.float32(0.5 + 0.5 * factors.vessels) / np.maximum(cover, np.float32(0.35))
        change += tree[..., None] * np.array((-11, 17, 3), np.float32)
    return change


def _network(place: Place, warp: Field) -> Iterator[Layer]:
    cells = place.cells("network", 0.024, warp, jitter=0.7)
    uneven = place.noise("network extent", (1.6, 0.6), (4, 0.5))
    width = np.float32(0.24) * np.exp(np.float32(0.4) * uneven)
    lines = np.exp(-np.square(cells.wall / width))
    towards_rim = np.float32(0.45) + np.float32(0.55) * ramp(np.sqrt(place.distance()), 0.1, 0.7)
    yield (lines - np.float32(0.35)) * ramp(uneven, -1.1, 0.8) * towards_rim, (-22, 3, 1)


def _globules(place: Place, warp: Field) -> Iterator[Layer]:
    cells = place.cells("globules", 0.036, warp)
    size = np.float32(0.2) + np.float32(0.28) * cells.chance[0]
    clods = (1 - ramp(cells.centre, size * 0.6, size * 1.15)) * (cells.chance[1] < 0.8)
    yield clods * ramp(place.noise("globules extent", (1.4, 0.8)), -1.0, 0.7), (-24, 1, -2)


def _milia(place: Place, warp: Field) -> Iterator[Layer]:
    cells = place.cells("milia", 0.055, warp)
    size = np.float32(0.1) + np.float32(0.2) * cells.chance[0]
    yield (1 - ramp(cells.centre, size * 0.4, size * 1.2)) * (cells.chance[1] < 0.6), (30, -6, 4)


def _follicles(place: Place, warp: Field) -> Iterator[Layer]:
    cells = place.cells("follicles", 0.055, warp)
    size = np.float32(0.22) + np.float32(0.18) * cells.chance[0]
    yield 1 - ramp(cells.centre, size * 0.6, size * 1.3), (11, -9, 7)
    yield 1 - ramp(cells.wall, 0.0, 0.7), (-4, 5, 1)


def _lacunae(place: Place, warp: Field) -> Iterator[Layer]:
    cells = place.cells("lacunae", 0.42 * place.radius, warp)
    size = np.float32(0.4) + np.float32(0.3) * cells.chance[1]
    lagoon = ramp(cells.wall, -0.15, 0.5) * (1 - ramp(cells.centre, size * 0.6, size * 1.5))
    yield 1 - lagoon, (8, -5, 3)
    yield lagoon * cells.chance[0], (-15, -2, -6)
    yield lagoon * cells.chance[1], (-2, 9, -6)


def _scale(place: Place, warp: Field) -> Iterator[Layer]:
    patch = ramp(place.noise("scale extent", (1.5, 0.8), (3, 0.4)), -0.4, 1.0)
    flakes = place.cells("scale", 0.02, warp, jitter=0.95)
    crust = ramp(flakes.chance[0] + np.float32(0.5) * patch, 0.95, 1.25) * ramp(flakes.wall, 0.0, 0.3)
    yield crust * patch, (26, -11, -5)


STRUCTURES: Mapping[str, Callable[[Place, Field], Iterator[Layer]]] = {
    "network": _network,
    "globules": _globules,
    "milia": _milia,
    "follicles": _follicles,
    "lacunae": _lacunae,
    "scale": _scale,
}
"""By the name of the factor that gives their strength."""
