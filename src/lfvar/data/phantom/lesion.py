"""The lesion: pigment that fades at its border, coarse colours, fine structures, and an exact mean colour."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lfvar.data.phantom.factors import PhantomFactors
from lfvar.data.phantom.noise import Field, Streams, ramp
from lfvar.data.phantom.place import Place
from lfvar.data.phantom.structures import draw_structures

BLACK = np.array([-22, -7, -9], np.float32)
TAN = np.array([16, -2, 7], np.float32)
RED = np.array([2, 13, 2], np.float32)
BLUE_GREY = np.array([-5, -15, -21], np.float32)
SCAR = np.array([20, -6, -5], np.float32)


def paint_lesion(
    lab: NDArray[np.float32],
    factors: PhantomFactors,
    mask: NDArray[np.bool_],
    streams: Streams,
) -> None:
    """Paint the lesion into CIELAB skin (H W 3), in place and inside the mask only.

    The mean colour over the mask changes by exactly (-darkness, redness, warmth) before values are clipped to what a
    screen can show; every pattern only moves colour about.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    inside = mask[window]
    place = Place.locate(factors, mask.shape[0], window, streams)
    cover = _cover(factors, inside, place, mask.shape[0])
    change = _pigment(factors, place) + draw_structures(factors, place, cover)
    change *= cover[..., None]
    wanted = np.array([-factors.darkness, factors.redness, factors.warmth], np.float32)
    # float64: the order in which float32 is summed depends on where memory happens to lie
    missing = wanted - change[inside].mean(axis=0, dtype=np.float64)
    change += cover[..., None] * (missing / cover[inside].mean(dtype=np.float64)).astype(np.float32)
    lab[window] += change
    np.clip(lab[..., 0], 7.0, 97.0, out=lab[..., 0])


def _cover(factors: PhantomFactors, inside: NDArray[np.bool_], place: Place, side: int) -> Field:
    """How much of the lesion shows: 0 at the contour and outside, 1 in the depth; ragged where it fades."""
    framed = cv2.copyMakeBorder(inside.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    depth = cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1] - np.float32(0.5)
    depth = np.maximum(depth, 0) * np.float32(1 / (side * place.radius))
    ragged = place.noise("ragged edge", (2.5, 0.5), (6, 0.35), (14, 0.25))
    return ramp(depth * np.exp(np.float32(0.45) * ragged), 0.0, factors.edge_softness)


def _pigment(factors: PhantomFactors, place: Place) -> NDArray[np.float32]:
    """Coarse colour: natural unevenness, patches of other colours, veil and pale centre."""
    density = place.noise("density", (1.2, 0.5), (3, 0.6), (7, 0.5), (12, 0.4))
    uneven = (-0.2 * max(factors.darkness, 5.0), 0.06 * factors.redness, 0.1 * factors.warmth)
    change = density[..., None] * np.array(uneven, np.float32)

    rng = place.streams("patches")
    lean_u, lean_v = _direction(rng, 0.7 / place.radius)
    octaves = ((0.8, 0.8), (1.9, 0.6), (4.5, 0.3))
    dark = place.noise("dark patches", *octaves) + place.u * np.float32(lean_u) + place.v * np.float32(lean_v)
    black = ramp(dark, 0.15, 1.1)
    red = ramp(place.noise("red patches", *octaves), 0.5, 1.4) * (1 - black)
    patches = black[..., None] * BLACK + ramp(-dark, 0.2, 1.3)[..., None] * TAN + red[..., None] * RED
    change += np.float32(factors.variegation) * patches

    rng = place.streams("veil")
    far = np.float32(2.2) * place.distance(*_direction(rng, rng.uniform(0.15, 0.45)))
    veil = np.float32(factors.veil) * ramp(place.noise("veil haze", (1.2, 0.5), (3, 0.35)) - far, -1.0, 0.1)
    change *= (1 - np.float32(0.6) * veil)[..., None]
    change += veil[..., None] * BLUE_GREY

    far = np.float32(3.6) * place.distance()
    scar = ramp(place.noise("scar", (1.5, 0.35), (4, 0.3)) - far, -1.3, 0.1)
    return np.asarray(change + np.float32(factors.pallor) * scar[..., None] * SCAR, np.float32)


def _direction(rng: np.random.Generator, length: float) -> tuple[float, float]:
    angle = rng.uniform(0, 2 * np.pi)
    return float(length * np.cos(angle)), float(length * np.sin(angle))
