"""The net's part of sampling: what the next scale reads and noise in, token ids out."""

from __future__ import annotations

import torch
from torch import Tensor

from lfvar.nn.conditioning import Condition
from lfvar.nn.kv_cache import KVCache
from lfvar.nn.var import VAR, Prepared
from lfvar.sampling.filters import Filters, filter_logits
from lfvar.sampling.guidance import Guidance, branch_conditions, combine_branches, guidance_branches
from lfvar.sampling.noise import race


class ScaleSampler:
    """Draws the token maps of a batch, coarse to fine: `start`, then one `draw` per scale.

    What does not change between scales (the projected condition, keys and values of earlier scales) is kept here.

    Args:
        net: In evaluation mode.
        guidance: Strengths for type and measurements.
        filters: Temperature, top-k, top-p.
    """

    prepared: Prepared
    cache: KVCache

    def __init__(self, net: VAR, guidance: Guidance, filters: Filters) -> None:
        self.net = net
        self.guidance = guidance
        self.filters = filters
        self.branches = guidance_branches(guidance, net.conditioning)

    def start(self, condition: Condition) -> None:
        """Begin a new batch under this condition."""
        self.prepared = self.project(condition)
        self.cache = self.net.new_cache(len(self.branches) * len(condition))

    def project(self, condition: Condition) -> Prepared:
        """Everything that the net needs of a condition, for all branches of guidance."""
        return self.net.prepare(branch_conditions(condition, self.branches, self.net.conditioning))

    def draw(self, k: int, inputs_BlC: Tensor | None, noise_BlV: Tensor, free_n: Tensor | None = None) -> Tensor:
        """Token ids of scale k.

        Args:
            k: Scale, from 0.
            inputs_BlC: `scale_inputs(f̂ after scale k-1, p_k)`; None for the first scale.
            noise_BlV: From `SampleNoise.exponential`.
            free_n: int64, the tokens that are asked for, numbered row by row over (B, p_k²); None: all. Leaving out
                those that will be overwritten saves the head, the filters and the race, and changes no other token.

        Returns:
            int64 (B, p_k²); 0 for tokens that were not asked for.
        """
        net, share = self.net, self.guidance.share(k, len(self.net.schedule))
        branches = self.branches if share else self.branches[:1]  # without guidance its branches need no logits
        inputs_RlC = None if inputs_BlC is None else inputs_BlC.repeat(len(self.branches), 1, 1)
        num_tokens = noise_BlV.shape[0] * noise_BlV.shape[1]
        wanted_n = free_n
        if free_n is None and len(branches) < len(self.branches):
            wanted_n = torch.arange(num_tokens, device=noise_BlV.device)
        elif free_n is not None:
            wanted_n = torch.cat([free_n + row * num_tokens for row in range(len(branches))])
        logits = net.step(k, inputs_RlC, self.prepared, self.cache, wanted_n)
        logits_nV = combine_branches(logits.flatten(0, -2), branches, share)
        noise_nV = noise_BlV.flatten(0, 1)
        if free_n is None:
            return race(filter_logits(logits_nV, self.filters), noise_nV).view(noise_BlV.shape[:2])
        ids_Bl = torch.zeros(noise_BlV.shape[:2], dtype=torch.int64, device=noise_BlV.device)
        ids_Bl.view(-1)[free_n] = race(filter_logits(logits_nV, self.filters), noise_nV[free_n])
        return ids_Bl
