"""Skin without a lesion: tone, mottling, furrows, pores, fine vessels, and the hairs above it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lfvar.data.phantom.factors import PhantomFactors
from lfvar.data.phantom.noise import Field, Streams, cellular, fractal, ramp

MAX_HAIRS = 28
MAX_PORES = 120
_LAYER = 512  # side of the canvas that hairs are drawn on, whatever the image's size
_FIXED = 16  # sub-pixels per pixel of cv2's fixed-point coordinates, and their bits
_SHIFT = 4


def paint_skin(factors: PhantomFactors, side: int, streams: Streams) -> NDArray[np.float32]:
    """Paint bare skin as CIELAB, H W 3 (L* 0 to 100)."""
    contrast = np.float32(0.25 + 1.5 * factors.skin_texture)
    axis = (np.arange(side, dtype=np.float32) + np.float32(0.5)) / np.float32(side)
    x, y = np.meshgrid(axis, axis)

    mottle = fractal(streams("mottle"), side, ((5, 0.35), (11, 0.4), (24, 0.5), (50, 0.55)))
    blush = fractal(streams("blush"), side, ((4, 0.3), (9, 0.4), (22, 0.55), (44, 0.6)))
    grain = fractal(streams("grain"), side, ((64, 0.4), (128, 0.6)))
    warp = fractal(streams("warp"), side, ((14, 1.0),))

    # Furrows cut the surface into small polygons; wide and faint on light skin, their floors redder.
    rng = streams("furrows")
    cells_across = np.float32(rng.uniform(34, 46))
    turn = rng.uniform(0, np.pi)
    cos, sin = np.float32(np.cos(turn) * cells_across), np.float32(np.sin(turn) * cells_across)
    bend = warp * np.float32(0.35)
    plates = cellular(rng, x * cos + y * sin + bend, (y * cos - x * sin) * np.float32(0.75) - bend, jitter=0.9)
    furrow = 1 - ramp(plates.wall, 0.02, 0.45)
    furrow *= np.float32(0.55) + np.float32(0.45) * ramp(mottle, -1.2, 0.8)
    relief = plates.chance[0] - np.float32(0.5)

    # Fine superficial vessels: where smooth noise crosses zero, in a few patches.
    ridge = np.abs(fractal(streams("capillaries"), side, ((9, 1.0), (20, 0.5), (44, 0.18))))
    capillary = (1 - ramp(ridge, 0.0, 0.16)) * ramp(blush, 0.1, 1.4)

    lab = np.empty((side, side, 3), np.float32)
    lab[..., 0] = (77 - 40 * factors.skin_tone) + contrast * (
        1.2 * mottle - 0.9 * blush + 0.9 * grain - 2.6 * furrow + 1.6 * relief - 2.0 * capillary
    )
    lab[..., 1] = factors.skin_redness + contrast * (1.1 * blush + 1.5 * furrow + 3.2 * capillary - 0.5 * grain - 0.6)
    lab[..., 2] = factors.skin_warmth + contrast * (0.5 * mottle - 0.3 * blush - 0.4 * furrow + 0.6 * relief)
    _dot_pores(lab, factors.skin_texture, streams("pores"))

    # One side is nearer to the lamp.
    rng = streams("lamp")
    direction = rng.uniform(0, 2 * np.pi)
    tilt = (x - 0.5) * np.float32(np.cos(direction)) + (y - 0.5) * np.float32(np.sin(direction))
    pool = fractal(rng, side, ((3, 0.35),))
    lab[..., 0] += np.float32(14 * factors.shading) * (tilt + np.float32(0.2) * pool)
    return lab


def _dot_pores(lab: NDArray[np.float32], texture: float, rng: np.random.Generator) -> None:
    """Mark hair follicles: small brownish dots with a pale rim."""
    number = round(float(rng.uniform(0.2, 1.0)) * MAX_PORES * texture)
    place = rng.random((MAX_PORES, 2))[:number]
    radius = rng.uniform(0.0025, 0.006, MAX_PORES)[:number]
    shade = rng.uniform(0.3, 1.0, MAX_PORES)[:number]
    fine, coarse = _LAYER // 2, _LAYER // 4
    layer, halo = np.zeros((fine, fine), np.uint8), np.zeros((coarse, coarse), np.uint8)
    for (x, y), size, depth in zip((place * _FIXED).tolist(), (radius * _FIXED).tolist(), shade.tolist(), strict=True):
        cv2.circle(halo, (int(x * coarse), int(y * coarse)), int(2.4 * size * coarse), 255 * depth, -1, 8, _SHIFT)
        cv2.circle(layer, (int(x * fine), int(y * fine)), int(size * fine), 255 * depth, -1, cv2.LINE_AA, _SHIFT)
    dots, rims = _to_unit(layer, lab.shape[0]), _to_unit(halo, lab.shape[0], 1.2)
    lab += rims[..., None] * np.array([2.2, -0.5, 0.8], np.float32)
    lab += dots[..., None] * np.array([-8.0, 1.0, 2.0], np.float32)


def draw_hairs(rgb: NDArray[np.float32], factors: PhantomFactors, streams: Streams) -> None:
    """Lay tapered, curved hairs with their shadows over an image, in place (H W 3, values 0 to 1)."""
    number = round(factors.hairs * MAX_HAIRS)
    if number == 0:
        return
    rng = streams("hairs")
    comb = rng.uniform(0, 2 * np.pi)  # hairs of one place grow roughly one way
    colour = np.array([(0.10, 0.07, 0.06), (0.20, 0.13, 0.09), (0.36, 0.25, 0.16)], np.float32)[rng.integers(0, 3)]
    typical_length, typical_width = rng.uniform(0.4, 1.5), rng.uniform(0.0022, 0.0046)
    layer = np.zeros((_LAYER, _LAYER), np.uint8)
    shadow = np.zeros((_LAYER // 2, _LAYER // 2), np.uint8)
    along = np.linspace(0, 1, 24)[:, None]
    drop = np.array([0.006, 0.009])  # of the shadow
    for root, turns, sizes in zip(rng.random((MAX_HAIRS, 2)), rng.standard_normal((MAX_HAIRS, 3)),
                                  rng.uniform(0.5, 1.3, (MAX_HAIRS, 2)), strict=True):  # fmt: skip
        if number == 0:
            break
        number -= 1
        heading = comb + 0.7 * turns[0]
        length = typical_length * sizes[0]
        forward = np.array([np.cos(heading), np.sin(heading)])
        aside = np.array([-forward[1], forward[0]])
        root = root * 1.3 - 0.15 - 0.3 * length * forward
        knee = root + length * (0.5 * forward + 0.2 * turns[1] * aside)
        tip = root + length * ((0.95 - 0.1 * abs(turns[2])) * forward + 0.2 * (turns[1] + turns[2]) * aside)
        spine = (1 - along) ** 2 * root + 2 * along * (1 - along) * knee + along**2 * tip
        tangent = np.gradient(spine, axis=0)
        normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1) / np.linalg.norm(tangent, axis=1, keepdims=True)
        half = 0.5 * typical_width * sizes[1] * (1 - 0.85 * along**1.5) * np.minimum(1, 0.35 + 8 * along)
        outline = np.concatenate([spine + half * normal, (spine - half * normal)[::-1]])
        cv2.fillPoly(layer, [_fixed(outline, _LAYER)], 255, cv2.LINE_AA, _SHIFT)
        cv2.fillPoly(shadow, [_fixed(outline + drop, _LAYER // 2)], 255, cv2.LINE_AA, _SHIFT)
    side = rgb.shape[0]
    shade = _to_unit(shadow, side, 1.3)[..., None]
    opaque = np.float32(0.88) * _to_unit(layer, side)[..., None]
    rgb *= 1 - np.float32(0.25) * shade
    rgb *= 1 - opaque
    rgb += opaque * colour


def _fixed(points: NDArray[np.float64], side: int) -> NDArray[np.int32]:
    return np.round((points * side - 0.5) * _FIXED).astype(np.int32)


def _to_unit(layer: NDArray[np.uint8], side: int, blur: float = 0.0) -> Field:
    """Blur a drawn layer by `blur` of its own pixels and bring it to the image's size, as 0 to 1."""
    soft = cv2.GaussianBlur(layer, (0, 0), blur) if blur else layer
    way = cv2.INTER_AREA if side < layer.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(soft, (side, side), interpolation=way), np.float32) / np.float32(255)
