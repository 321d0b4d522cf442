"""How much of the codebook each scale really uses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from lfvar.scales import ScaleSchedule


class CodebookUsage(Metric):
    """Usage and perplexity per scale and over all scales, over everything seen since the last reset.

    A scale of p_k² tokens makes B·p_k² look-ups, hundreds of times fewer at 1×1 than at 16×16. Holding every scale to
    the finest one's count, as VAR's training code and its copies do, caps what the coarse scales can report and reads
    as collapse. Here each scale is measured against its own look-ups:

    - usage: codes looked up at least once, divided by the most that could have been, min(V, look-ups of that scale);
    - perplexity: exp of the entropy of the code distribution at that scale, in codes (1 … V).

    Args:
        schedule: The tokenizer's scales.
        vocab_size: V.
    """

    full_state_update = False
    counts_KV: Tensor

    def __init__(self, schedule: ScaleSchedule, vocab_size: int) -> None:
        super().__init__()
        self.schedule = schedule
        self.vocab_size = vocab_size
        self.add_state("counts_KV", torch.zeros(len(schedule), vocab_size, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, ids: Sequence[Tensor]) -> None:
        """Count token ids: K tensors (B, p_k²), coarse to fine."""
        # Not in place: a state that a validation in inference mode left behind must not be written to outside of it.
        seen = [torch.bincount(ids_Bl.flatten(), minlength=self.vocab_size) for ids_Bl in ids]
        self.counts_KV = self.counts_KV + torch.stack(seen)

    def compute(self) -> dict[str, Tensor]:
        """`usage_4x4` and `perplexity_4x4` per scale, `usage_all` and `perplexity_all` over the scales together."""
        names = [f"{side}x{side}" for side in self.schedule.patch_nums] + ["all"]
        rows = [*self.counts_KV, self.counts_KV.sum(0)]
        result = {}
        for name, counts_V in zip(names, rows, strict=True):
            lookups = counts_V.sum()
            attainable = lookups.clamp(min=1, max=self.vocab_size)
            share_V = counts_V.float() / lookups.clamp_min(1)
            result[f"usage_{name}"] = (counts_V > 0).sum() / attainable
            result[f"perplexity_{name}"] = torch.special.entr(share_V).sum().exp()
        return result
