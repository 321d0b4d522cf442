"""Structural similarity (Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity").

The Gaussian window is applied as a matrix product along each axis, like every resize here (`lfvar.nn.resize`): several
times faster on a CPU than a convolution of one channel, and the same on every device.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

C1 = 0.01**2
"""(K₁ L)² with K₁ = 0.01 and a data range L of 1."""
C2 = 0.03**2
"""(K₂ L)² with K₂ = 0.03."""


def ssim_map(a_BCHW: Tensor, b_BCHW: Tensor, *, sigma: float = 1.5) -> Tensor:
    """SSIM at every position (eq. 13), the borders mirrored.

    Args:
        a_BCHW: Values in [0, 1]; channels are compared one by one.
        b_BCHW: The same shape.
        sigma: Standard deviation of the window in pixels; it reaches int(3.5 σ + 0.5) pixels to each side (11 × 11
            for 1.5, 9 × 9 for 1).

    Returns:
        float32 BCHW, at most 1, which only equal patches reach.

    Raises:
        ValueError: When an image is smaller than the window's reach.
    """
    a_BCHW, b_BCHW = a_BCHW.float(), b_BCHW.float()
    # Variances do not change with a constant, but E[x²] - E[x]² loses digits when the mean is large beside the spread.
    centre_BC11 = b_BCHW.detach().mean(dim=(-2, -1), keepdim=True)
    a_BCHW, b_BCHW = a_BCHW - centre_BC11, b_BCHW - centre_BC11
    power_BCHW = a_BCHW.square() + b_BCHW.square()  # only the sum of the variances is needed
    stacked = torch.stack([a_BCHW, b_BCHW, power_BCHW, a_BCHW * b_BCHW])
    mean_a, mean_b, power, product = _blur(stacked, sigma).unbind()
    means = mean_a * mean_b
    squares = mean_a.square() + mean_b.square()
    contrast = (2 * (product - means) + C2) / ((power - squares).clamp_min(0) + C2)
    mean_a, mean_b = mean_a + centre_BC11, mean_b + centre_BC11
    luminance = (2 * mean_a * mean_b + C1) / (mean_a.square() + mean_b.square() + C1)
    return luminance * contrast


def window_reach(sigma: float) -> int:
    """Pixels that the window reaches to each side."""
    return int(3.5 * sigma + 0.5)


def _blur(x: Tensor, sigma: float) -> Tensor:
    reach = window_reach(sigma)
    if min(x.shape[-2:]) <= reach:
        raise ValueError(f"the SSIM window reaches {reach} pixels to each side, got an image of {tuple(x.shape[-2:])}")
    rows, columns = (_window_matrix(size, sigma).to(x) for size in x.shape[-2:])
    return rows @ x @ columns.T


@lru_cache(maxsize=64)
def _window_matrix(size: int, sigma: float) -> Tensor:
    """Row i holds the window around pixel i; what falls outside counts for its mirror image (no border twice)."""
    with torch.inference_mode(False), torch.no_grad():
        reach = window_reach(sigma)
        offsets = torch.arange(-reach, reach + 1)
        window = torch.exp(-0.5 * (offsets.double() / sigma).square())
        window = window / window.sum()
        position = (torch.arange(size)[:, None] + offsets).abs()
        position = torch.where(position >= size, 2 * (size - 1) - position, position)
        matrix = torch.zeros(size, size, dtype=torch.float64)
        return matrix.scatter_add_(1, position, window.expand(size, -1).contiguous()).float()
