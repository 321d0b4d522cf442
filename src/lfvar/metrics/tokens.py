"""How well the next scale is predicted when all coarser scales are the true ones."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from lfvar.scales import ScaleSchedule


def scale_means(value_BL: Tensor, schedule: ScaleSchedule) -> Tensor:
    """Mean over the tokens of each scale, float32 (K,)."""
    return torch.stack([value_Bl.float().mean() for value_Bl in value_BL.split(schedule.lengths, dim=1)])


class TokenScores(Metric):
    """Cross-entropy and accuracy over all tokens, per scale and inside the lesion, since the last reset.

    Sums and counts are kept, so the result is the mean over tokens whatever the batch size and number of processes.

    Args:
        schedule: Side lengths of the token maps.
    """

    full_state_update = False
    nll_2K: Tensor
    correct_2K: Tensor
    count_2K: Tensor

    def __init__(self, schedule: ScaleSchedule) -> None:
        super().__init__()
        self.schedule = schedule
        shape = (2, len(schedule))  # all tokens, and those of the lesion
        self.add_state("nll_2K", torch.zeros(shape), dist_reduce_fx="sum")
        self.add_state("correct_2K", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("count_2K", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, nll_BL: Tensor, correct_BL: Tensor, inside_BL: Tensor) -> None:
        """Add a batch.

        Args:
            nll_BL: -log p of the right code.
            correct_BL: bool, whether the most likely code is the right one.
            inside_BL: bool, tokens that touch the lesion.
        """
        chosen_2BL = torch.stack([torch.ones_like(inside_BL), inside_BL])
        # Not in place: a state that a validation in inference mode left behind must not be written to outside of it.
        self.nll_2K = self.nll_2K + self._sums(nll_BL.float() * chosen_2BL)
        self.correct_2K = self.correct_2K + self._sums((correct_BL & chosen_2BL).long())
        self.count_2K = self.count_2K + self._sums(chosen_2BL.long())

    def compute(self) -> dict[str, Tensor]:
        """`loss` (nats per token), `accuracy`, `loss_4x4`, `accuracy_4x4` per scale, `loss_inside`, `accuracy_inside`.

        The last two are left out when no token touched a lesion.
        """
        result = {}
        for name, sum_2K in (("loss", self.nll_2K), ("accuracy", self.correct_2K)):
            result[name] = sum_2K[0].sum() / self.count_2K[0].sum()
            for side, mean in zip(self.schedule.patch_nums, sum_2K[0] / self.count_2K[0], strict=True):
                result[f"{name}_{side}x{side}"] = mean
            if self.count_2K[1].any():
                result[f"{name}_inside"] = sum_2K[1].sum() / self.count_2K[1].sum()
        return result

    def _sums(self, value_2BL: Tensor) -> Tensor:
        return torch.stack([value.sum(dim=(1, 2)) for value in value_2BL.split(self.schedule.lengths, dim=2)], dim=1)
