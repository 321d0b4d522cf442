"""Which tokens may be sampled at all: temperature, top-k, top-p."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Filters:
    """What happens to logits before sampling, in this order."""

    temperature: float = 1.0
    """Divides logits; below 1 samples get safer and less diverse."""
    top_k: int = 0
    """Keep the k most likely tokens; 0: all, 1: greedy."""
    top_p: float = 0.0
    """Keep the most likely tokens that together reach probability p (of what top-k left); 0: all."""

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}; for greedy sampling set top_k=1")
        if self.top_k < 0:
            raise ValueError(f"top_k must be at least 0, got {self.top_k}")
        if not 0 <= self.top_p <= 1:
            raise ValueError(f"top_p is a probability in [0, 1], got {self.top_p}")


def filter_logits(logits_BlV: Tensor, filters: Filters) -> Tensor:
    """Logits over the tokens that stay; -inf for the others.

    Both filters come down to a smallest logit that stays, so tokens tied with it stay too, whatever their order.
    Sorting and summing run over the k kept values only.

    Args:
        logits_BlV: float32.
        filters: What to keep.
    """
    if filters.temperature != 1:
        logits_BlV = logits_BlV / filters.temperature
    vocab_size = logits_BlV.shape[-1]
    count = min(filters.top_k or vocab_size, vocab_size)
    use_top_p = 0 < filters.top_p < 1
    if count == vocab_size and not use_top_p:
        return logits_BlV
    best_Blk = logits_BlV.topk(count, dim=-1).values
    if use_top_p:
        p_Blk = best_Blk.softmax(dim=-1)
        above_Blk = p_Blk.cumsum(dim=-1) - p_Blk
        best_Blk = best_Blk.masked_fill(above_Blk >= filters.top_p, torch.inf)
        best_Blk[..., 0] = logits_BlV.amax(dim=-1)  # the first stays whatever rounding says
    return logits_BlV.masked_fill(logits_BlV < best_Blk.amin(dim=-1, keepdim=True), -torch.inf)
