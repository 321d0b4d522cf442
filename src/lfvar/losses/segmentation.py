"""What a lesion segmenter is trained by: pixels one by one, and the overlap as a whole."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class SegmentationLossConfig:
    """Strengths of the terms."""

    bce: float = 1.0
    """Binary cross-entropy, mean over pixels."""
    dice: float = 1.0
    """1 - soft Dice, mean over images: a small lesion counts as much as a large one."""

    def __post_init__(self) -> None:
        if min(self.bce, self.dice) < 0 or self.bce + self.dice == 0:
            raise ValueError(f"bce and dice must be at least 0 and not both 0, got {self.bce} and {self.dice}")


def segmentation_terms(logits_B1HW: Tensor, mask_B1HW: Tensor, config: SegmentationLossConfig) -> dict[str, Tensor]:
    """The terms whose sum is the loss, each a scalar times its strength; in float32.

    Args:
        logits_B1HW: Log-odds of "lesion".
        mask_B1HW: {0, 1}, 1 = lesion.
        config: Strengths.
    """
    logits_B1HW, mask_B1HW = logits_B1HW.float(), mask_B1HW.float()
    return {
        "bce": config.bce * F.binary_cross_entropy_with_logits(logits_B1HW, mask_B1HW),
        "dice": config.dice * (1 - soft_dice(logits_B1HW.sigmoid(), mask_B1HW)).mean(),
    }


def soft_dice(prob_B1HW: Tensor, mask_B1HW: Tensor, smooth: float = 1.0) -> Tensor:
    """(2 Σ p·m + s) / (Σ p² + Σ m² + s) of each image, (B,) (V-Net: Milletari et al., arXiv 1606.04797).

    Args:
        prob_B1HW: In [0, 1].
        mask_B1HW: {0, 1}.
        smooth: s, in pixels: nothing found where nothing is gives 1.
    """
    both_B = (prob_B1HW * mask_B1HW).sum(dim=(1, 2, 3))
    each_B = (prob_B1HW.square() + mask_B1HW.square()).sum(dim=(1, 2, 3))
    return (2 * both_B + smooth) / (each_B + smooth)
