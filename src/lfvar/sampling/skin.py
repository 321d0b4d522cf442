"""Skin in the place of a lesion, in pixels: a lesion that a new one leaves bare is covered with what lies around it.

Colour: the membrane of `lfvar.sampling.filling`. Texture: what the skin nearby has beyond its own low-pass, moved here
as a whole, so that it keeps its grain and hairs. Which move shows most skin is found by correlating hole and skin.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lfvar.sampling.filling import SKIN_MARGIN, fill_hole

_BLUR = 0.02
"""σ of the low-pass that parts colour from texture, as a share of the image's width."""
_SMOOTH_SIDE = 512
"""What is smooth is computed at most that large: colours of a photograph of twelve megapixels have no more to say."""
_GRID = 48
"""Moves are searched on a grid of at most that many cells along the longer side."""
_MOVES = 4
"""So many moves at most: what one does not cover, because it shows a lesion or no image, the next one does."""


def cover_with_skin(
    image_HWC: NDArray[np.uint8], hole_HW: NDArray[np.bool_], *, margin: float = SKIN_MARGIN
) -> NDArray[np.uint8]:
    """Put skin over a part of an image. The edge is hard: what would shine through a soft one is the lesion.

    Args:
        image_HWC: Every byte outside the hole comes back.
        hole_HW: True = covered.
        margin: By how much the lesion may reach beyond the hole: skin is looked for further out.

    Returns:
        A new image. Without any skin around the hole it is flat there; where no texture is near, smooth.
    """
    if not hole_HW.any():
        return image_HWC.copy()
    pixels, sigma = round(margin * image_HWC.shape[1]), max(1.0, _BLUR * image_HWC.shape[1])
    around = _surroundings(hole_HW, pixels)
    near_hwC, hole_hw = image_HWC[around], hole_HW[around]
    known_hw = ~_widen(hole_hw, pixels)
    if not known_hw.any():
        known_hw = ~hole_hw
    skin_hwC = _membrane(near_hwC, known_hw) + _moved_texture(near_hwC, hole_hw, known_hw, sigma)
    covered_HWC = image_HWC.copy()
    covered_HWC[around][hole_hw] = np.clip(np.round(skin_hwC[hole_hw]), 0, 255).astype(np.uint8)
    return covered_HWC


def _surroundings(hole_HW: NDArray[np.bool_], margin: int) -> tuple[slice, slice]:
    """The part of an image that skin is taken from: as far around the hole as the hole is wide."""
    rows, columns = (np.flatnonzero(hole_HW.any(axis=axis)) for axis in (1, 0))
    reach = int(max(np.ptp(rows), np.ptp(columns))) + 4 * margin + 8
    (top, bottom), (left, right) = ((int(line[0]) - reach, int(line[-1]) + 1 + reach) for line in (rows, columns))
    return slice(max(top, 0), bottom), slice(max(left, 0), right)


def _widen(hole_HW: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    if hole_HW.all():
        return hole_HW
    distance_HW = cv2.distanceTransform((~hole_HW).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance_HW <= pixels)


def _membrane(image_HWC: NDArray[np.uint8], known_HW: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Colours stretched over what is not known."""
    cell, height, width = _cell(known_HW), *known_HW.shape
    share_hw = _shares(known_HW, cell).astype(np.float32)
    mean_hwC = np.asarray(_sums(image_HWC, known_HW, cell) / np.maximum(share_hw, 1e-6)[..., None], np.float32)
    if not known_HW.any():
        mean_hwC = _sums(image_HWC, np.ones_like(known_HW), cell)
    image_1Chw = torch.from_numpy(np.ascontiguousarray(mean_hwC.transpose(2, 0, 1)))[None]
    solved_hwC = fill_hole(image_1Chw, torch.from_numpy(share_hw == 0)[None, None], margin=0)[0].permute(1, 2, 0)
    return _enlarge(np.ascontiguousarray(solved_hwC.numpy()), cell)[:height, :width]


def _moved_texture(
    image_HWC: NDArray[np.uint8], hole_HW: NDArray[np.bool_], known_HW: NDArray[np.bool_], sigma: float
) -> NDArray[np.float32]:
    """Texture for the hole, (H, W, C); 0 where none was found."""
    texture_HWC = _texture(image_HWC, known_HW, sigma)
    moved_HWC = np.zeros_like(texture_HWC)
    open_HW = hole_HW.copy()
    for _ in range(_MOVES):
        down, right = _best_move(open_HW, known_HW)
        y, x = np.nonzero(open_HW)
        inside = (y + down >= 0) & (y + down < len(known_HW)) & (x + right >= 0) & (x + right < known_HW.shape[1])
        y, x = y[inside], x[inside]
        shows = known_HW[y + down, x + right]
        y, x = y[shows], x[shows]
        moved_HWC[y, x] = texture_HWC[y + down, x + right]
        open_HW[y, x] = False
        if not open_HW.any() or not len(y):
            break
    return moved_HWC


def _texture(image_HWC: NDArray[np.uint8], known_HW: NDArray[np.bool_], sigma: float) -> NDArray[np.float32]:
    """What the known pixels have beyond their low-pass, which looks at known pixels alone; 0 elsewhere."""
    cell, height, width = _cell(known_HW), *known_HW.shape
    blurred_hwC = cv2.GaussianBlur(_sums(image_HWC, known_HW, cell), (0, 0), sigma / cell)
    weight_hw = cv2.GaussianBlur(_shares(known_HW, cell).astype(np.float32), (0, 0), sigma / cell)
    low_hwC = np.asarray(blurred_hwC / np.maximum(weight_hw, 1e-6)[..., None], np.float32)
    low_HWC = _enlarge(low_hwC, cell)[:height, :width]
    return np.where(known_HW[..., None], image_HWC - low_HWC, np.float32(0))


def _cell(known_HW: NDArray[np.bool_]) -> int:
    """Side of the cells that what is smooth is computed in."""
    return math.ceil(max(known_HW.shape) / _SMOOTH_SIDE)


def _sums(image_HWC: NDArray[np.uint8], known_HW: NDArray[np.bool_], cell: int) -> NDArray[np.float32]:
    """Known pixels of each cell, by the cell's area."""
    height, width = known_HW.shape
    known_HWC = np.where(known_HW[..., None], image_HWC, np.uint8(0))
    padded = np.pad(known_HWC, ((0, -height % cell), (0, -width % cell), (0, 0)))
    size = (padded.shape[1] // cell, padded.shape[0] // cell)
    return np.asarray(cv2.resize(padded.astype(np.float32), size, interpolation=cv2.INTER_AREA), np.float32)


def _enlarge(smooth_hwC: NDArray[np.float32], cell: int) -> NDArray[np.float32]:
    if cell == 1:
        return smooth_hwC
    return np.asarray(cv2.resize(smooth_hwC, None, fx=cell, fy=cell, interpolation=cv2.INTER_LINEAR), np.float32)


def _best_move(open_HW: NDArray[np.bool_], known_HW: NDArray[np.bool_]) -> tuple[int, int]:
    """Pixels down and to the right: the move by which the hole shows most known pixels, the shortest of these."""
    cell = math.ceil(max(open_HW.shape) / _GRID)
    hole_hw, known_hw = _shares(open_HW, cell), _shares(known_HW, cell)
    size = [2 * length - 1 for length in hole_hw.shape]
    # The cross-correlation by Fourier transforms: entry (i, j) belongs to a move by i cells down and j to the right,
    # negative ones at the end.
    spectrum = np.fft.rfft2(known_hw, size) * np.conj(np.fft.rfft2(hole_hw, size))
    seen_hw = np.fft.irfft2(spectrum, size)
    down_h, right_w = (np.round(np.fft.fftfreq(length, 1 / length)) for length in size)
    distance_hw = np.hypot(down_h[:, None], right_w[None]) / max(size)
    best = np.unravel_index(np.argmax(seen_hw - 0.01 * hole_hw.sum() * distance_hw), seen_hw.shape)
    return int(down_h[best[0]]) * cell, int(right_w[best[1]]) * cell


def _shares(mask_HW: NDArray[np.bool_], cell: int) -> NDArray[np.float64]:
    """Share of each cell of a grid that a mask covers."""
    height, width = mask_HW.shape
    padded = np.pad(mask_HW, ((0, -height % cell), (0, -width % cell))).astype(np.float64)
    return padded.reshape(padded.shape[0] // cell, cell, -1, cell).mean(axis=(1, 3))
