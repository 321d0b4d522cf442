"""Resizing of square maps as matrix products: the same on every device, with a deterministic gradient.

`adaptive_avg_pool2d` does not run on Apple GPUs for sizes that do not divide, and neither its gradient nor that of
bicubic interpolation is deterministic on CUDA. Both are linear and separable, so one matrix per pair of sizes does it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def area_resize(x_BCHW: Tensor, side: int) -> Tensor:
    """Mean over the cell of each output position; cells overlap where sizes do not divide (`mode="area"`)."""
    return _apply(x_BCHW, _area_matrix, side)


def bicubic_resize(x_BCHW: Tensor, side: int) -> Tensor:
    """Bicubic interpolation without antialiasing, `align_corners=False`."""
    return _apply(x_BCHW, _bicubic_matrix, side)


def _apply(x_BCHW: Tensor, make: Callable[[int, int], Tensor], side: int) -> Tensor:
    size = x_BCHW.shape[-1]
    if size != x_BCHW.shape[-2]:
        raise ValueError(f"only square maps are resized, got {tuple(x_BCHW.shape[-2:])}")
    if size == side:
        return x_BCHW
    matrix = _placed(make, size, side, x_BCHW.device, x_BCHW.dtype)
    return matrix @ x_BCHW @ matrix.T


@lru_cache(maxsize=256)
def _placed(
    make: Callable[[int, int], Tensor], size: int, side: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    # A copy to a GPU waits for everything launched before it, so it is made once. Never an inference tensor, as below.
    with torch.inference_mode(False), torch.no_grad():
        return make(size, side).to(device, dtype)


@lru_cache(maxsize=256)
def _area_matrix(size: int, side: int) -> Tensor:
    # Kept for ever, so it must not be an inference tensor because a validation happened to ask for it first.
    with torch.inference_mode(False), torch.no_grad():
        matrix = torch.zeros(side, size)
        for i in range(side):
            start, stop = i * size // side, -(-(i + 1) * size // side)
            matrix[i, start:stop] = 1 / (stop - start)
    return matrix


@lru_cache(maxsize=256)
def _bicubic_matrix(size: int, side: int) -> Tensor:
    # Interpolating the unit vectors gives the matrix; the other axis has length 1 and stays.
    with torch.inference_mode(False), torch.no_grad():
        columns = torch.eye(size, dtype=torch.float64)[:, None, :, None]
        resized = F.interpolate(columns, size=(side, 1), mode="bicubic", align_corners=False)
        return resized[:, 0, :, 0].T.float().contiguous()
