"""How far a reconstruction is from its image, pixel by pixel."""

from __future__ import annotations

from torch import Tensor

from lfvar.losses.focus import weighted_mean


def pixel_l1(recon_BCHW: Tensor, image_BCHW: Tensor, weight_B1HW: Tensor | None = None) -> Tensor:
    """Mean absolute difference, each position with its weight (`focus_weight`; None: all 1)."""
    return weighted_mean((recon_BCHW.float() - image_BCHW).abs(), weight_B1HW)


def pixel_l2(recon_BCHW: Tensor, image_BCHW: Tensor, weight_B1HW: Tensor | None = None) -> Tensor:
    """Mean squared difference, each position with its weight (`focus_weight`; None: all 1)."""
    return weighted_mean((recon_BCHW.float() - image_BCHW).square(), weight_B1HW)
