"""From factors to a picture and its mask, deterministic and alike at every size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lfvar.data.phantom.contour import draw_contour, fill_contour
from lfvar.data.phantom.factors import PhantomFactors
from lfvar.data.phantom.lesion import paint_lesion
from lfvar.data.phantom.noise import Streams, fractal, ramp
from lfvar.data.phantom.skin import draw_hairs, paint_skin
from lfvar.data.records import Pair
from lfvar.errors import ConfigError

MIN_SIZE = 32
MAX_SIZE = 512
VERSION = 1
"""Of the look: raise it when the same factors and seed give other pixels, so that stored phantoms become stale."""
_LESION, _PHOTO = 0, 1


def render(
    factors: PhantomFactors,
    size: int,
    seed: int | Sequence[int],
    *,
    photo: int = 0,
    lesion: bool = True,
) -> Pair:
    """Render one image with its mask.

    Outside the mask the image is the bare skin to the last bit: `lesion=False` gives that healthy twin.

    Args:
        factors: What to show.
        size: Side of the square image in pixels, 32 to 512; the picture is the same at every size.
        seed: Decides everything that factors leave open, for example (seed, index); not negative.
        photo: Another photo of the same lesion: other skin, hairs and noise, same lesion.
        lesion: False leaves the lesion out (the mask stays).

    Returns:
        uint8 RGB, the mask, and the factors in use: a lesion that would leave the frame is moved (and, when too
        large for it, shrunk) until it lies inside.

    Raises:
        ConfigError: When size, seed or photo is out of range.
    """
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ConfigError(f"phantom size={size} is out of range", cure=f"choose {MIN_SIZE} to {MAX_SIZE} pixels")
    entropy = (seed,) if isinstance(seed, int) else tuple(seed)
    if min((*entropy, photo)) < 0:
        raise ConfigError(f"phantom seed={seed}, photo={photo} is negative", cure="choose numbers of 0 or more")
    of_lesion, of_photo = Streams((*entropy, _LESION)), Streams((*entropy, _PHOTO, photo))
    # Small images are drawn larger and averaged, so that fine structures blend instead of flickering.
    enlarged = math.ceil(128 / size)
    canvas = size * enlarged

    outline, factors = draw_contour(factors, of_lesion)
    lab = paint_skin(factors, canvas, of_photo)
    mask = fill_contour(outline, size)
    if lesion:
        paint_lesion(lab, factors, mask.repeat(enlarged, axis=0).repeat(enlarged, axis=1), of_lesion)
    if enlarged > 1:
        lab = np.asarray(cv2.resize(lab, (size, size), interpolation=cv2.INTER_AREA), np.float32)
    rgb: NDArray[np.float32] = np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.float32)
    _darken_corners(rgb, factors.vignette)
    draw_hairs(rgb, factors, of_photo)
    rgb += np.float32(0.006) * fractal(of_photo("sensor"), size, ((128, 1.0),))[..., None]
    image = np.clip(rgb * 255 + 0.5, 0, 255).astype(np.uint8)
    return Pair(image_HWC=image, mask_HW=mask, factors=factors.as_dict())


def _darken_corners(rgb: NDArray[np.float32], strength: float) -> None:
    axis = (np.arange(rgb.shape[0], dtype=np.float32) + np.float32(0.5)) / np.float32(rgb.shape[0]) - np.float32(0.5)
    distance = np.sqrt(axis[:, None] ** 2 + axis[None, :] ** 2)
    rgb *= (1 - np.float32(0.85 * strength) * ramp(distance, 0.38, 0.74))[..., None]
