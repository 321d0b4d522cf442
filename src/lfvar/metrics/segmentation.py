"""How well found masks cover true ones."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat


def overlap(found_B1HW: Tensor, mask_B1HW: Tensor) -> dict[str, Tensor]:
    """Dice 2|A∩B| / (|A| + |B|) and IoU |A∩B| / |A∪B| of each image; 1 where both masks are empty.

    Args:
        found_B1HW: Boolean or {0, 1}.
        mask_B1HW: Boolean or {0, 1}.

    Returns:
        `dice` and `iou`, float32 (B,) in [0, 1].
    """
    a_BN, b_BN = found_B1HW.bool().flatten(1), mask_B1HW.bool().flatten(1)
    both_B, sum_B = (a_BN & b_BN).sum(1), a_BN.sum(1) + b_BN.sum(1)
    empty_B = sum_B == 0
    dice_B = torch.where(empty_B, 1.0, 2 * both_B / sum_B.clamp_min(1))
    iou_B = torch.where(empty_B, 1.0, both_B / (sum_B - both_B).clamp_min(1))
    return {"dice": dice_B, "iou": iou_B}


class MaskOverlap(Metric):
    """Mean and median over images of `overlap`, the same for every batch size and number of processes."""

    full_state_update = False
    NAMES = ("dice", "iou")
    dice: list[Tensor]
    iou: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in self.NAMES:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, found_B1HW: Tensor, mask_B1HW: Tensor) -> None:
        """Add a batch; arguments as in `overlap`."""
        for name, values_B in overlap(found_B1HW, mask_B1HW).items():
            getattr(self, name).append(values_B)

    def compute(self) -> dict[str, Tensor]:
        """`dice`, `dice_median`, `iou`, `iou_median`, in [0, 1]."""
        result = {}
        for name in self.NAMES:
            values_N = dim_zero_cat(getattr(self, name)).sort().values  # sorted: sums do not depend on the order
            result[name] = values_N.mean()
            result[f"{name}_median"] = values_N.quantile(0.5)
        return result
