"""Lesion focus as spatial weights (DESIGN §1, "Lesion focus"): the same budget of attention, moved into the lesion."""

from __future__ import annotations

from torch import Tensor

from lfvar.nn.resize import area_resize


def focus_weight(mask_B1HW: Tensor, strength: float) -> Tensor:
    """Per-position weight 1 + λ·m, normalised to mean 1 per image.

    With λ = 0 every weight is 1 and a weighted mean is the plain mean. With large λ the mean runs over the lesion
    alone, whatever its size.

    Args:
        mask_B1HW: Lesion mask in [0, 1]; fractions are allowed (a pooled mask).
        strength: λ >= 0.

    Returns:
        float32, shape of the mask, mean 1 per image.
    """
    weight_B1HW = 1 + strength * mask_B1HW.float()
    return weight_B1HW / weight_B1HW.mean(dim=(-2, -1), keepdim=True)


def pool_mask(mask_B1HW: Tensor, side: int) -> Tensor:
    """Fraction of each cell that is lesion, on a side × side map; no lesion is too small to leave a trace."""
    return area_resize(mask_B1HW.float(), side)


def weighted_mean(value_BCHW: Tensor, weight_B1HW: Tensor | None) -> Tensor:
    """Mean over all elements, each position counted with its weight (mean 1 per image; None: all 1)."""
    if weight_B1HW is None:
        return value_BCHW.mean()
    return (value_BCHW * weight_B1HW).mean()
