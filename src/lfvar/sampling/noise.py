"""Randomness that belongs to a sample: a seed gives the same draw whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class SampleNoise:
    """One generator per sample.

    Every sample draws the same amount for every scale, whether its tokens are used or not, so that neither a mask nor
    its neighbours nor its guidance change what it draws later. CPU and GPU generators give different numbers.

    Args:
        seeds: One per sample.
        device: Where the noise is drawn.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str) -> None:
        self.device = torch.device(device)
        self.generators = [torch.Generator(self.device).manual_seed(int(seed)) for seed in seeds]

    def exponential(self, num_tokens: int, vocab_size: int) -> Tensor:
        """Independent Exp(1) values for the next tokens of every sample, float32 (B, l, V), all positive."""
        noise_BlV = torch.empty(len(self.generators), num_tokens, vocab_size, device=self.device)
        for noise_lV, generator in zip(noise_BlV, self.generators, strict=True):
            noise_lV.exponential_(generator=generator)
        return noise_BlV.clamp_min_(torch.finfo(torch.float32).tiny)


def race(logits_BlV: Tensor, noise_BlV: Tensor) -> Tensor:
    """Sample from softmax(logits): the winner of argmax p / e with e ~ Exp(1) is token v with probability p_v.

    It is the Gumbel-max trick. Noise belongs to tokens, not to ranks, so a rounding error in a logit changes the winner
    only where two tokens were tied to begin with, and two similar conditions under one seed give similar samples.

    Args:
        logits_BlV: float32; -inf excludes a token.
        noise_BlV: From `SampleNoise.exponential`.

    Returns:
        int64 (B, l).
    """
    return (logits_BlV - noise_BlV.log()).argmax(dim=-1)
