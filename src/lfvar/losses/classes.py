"""The loss of a classifier of lesion types."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class ClassLossConfig:
    """Cross-entropy; rare types are looked after by sampling (`data.loader.balanced`), not here."""

    label_smoothing: float = 0.1
    """Share of the target spread over all types (Szegedy et al. 2016, eq. 7): labels of lesions are not certain."""

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), got {self.label_smoothing}")


def class_loss(logits_BC: Tensor, label_B: Tensor, config: ClassLossConfig) -> Tensor:
    """Mean cross-entropy in nats.

    Args:
        logits_BC: float32.
        label_B: int64.
        config: How much of the target is spread.
    """
    return F.cross_entropy(logits_BC, label_B, label_smoothing=config.label_smoothing)
