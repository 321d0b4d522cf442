"""Sampling as a function over a net: condition in, token ids out; nothing stays behind on the net."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lfvar.nn.conditioning import Condition
from lfvar.nn.quantiser import MultiScaleQuantiser
from lfvar.nn.scale_inputs import scale_inputs
from lfvar.nn.var import VAR
from lfvar.sampling.filters import Filters, filter_logits
from lfvar.sampling.guidance import Guidance, branch_conditions, combine_branches, guidance_branches
from lfvar.sampling.masking import Kept
from lfvar.sampling.noise import SampleNoise, race


@torch.no_grad()
def sample(
    net: VAR,
    quantiser: MultiScaleQuantiser,
    condition: Condition,
    *,
    guidance: Guidance,
    filters: Filters,
    seeds: Sequence[int],
    keep: Kept | None = None,
) -> list[Tensor]:
    """Draw one token map per scale for each row of the condition.

    In float32 a seed gives the same ids whatever the rest of the batch. (Products of another batch size round in
    another order; that can only decide between two tokens whose scores are equal up to that rounding.) Wrap the call
    in `torch.autocast` for speed; what turns ids into features stays in float32.

    Args:
        net: In evaluation mode.
        quantiser: The tokenizer's, on the net's device: turns ids into the input of the next scale.
        condition: One row per sample, on the net's device; `net.conditioning.usable` leaves out what it cannot take.
        guidance: Strengths for type and measurements.
        filters: Temperature, top-k, top-p.
        seeds: One per sample.
        keep: Tokens of a source image that must stay.

    Returns:
        int64 (B, p_k²) for each scale, coarse to fine; `VQVAE.decode_ids` makes images of them.

    Raises:
        ValueError: When numbers of samples or schedules differ, or the net is in training mode.
    """
    _check(net, quantiser, condition, seeds, keep)
    branches = guidance_branches(guidance, net.conditioning)
    prepared = net.prepare(branch_conditions(condition, branches, net.conditioning))
    cache = net.new_cache(len(branches) * len(condition))
    noise = SampleNoise(seeds, condition.label_B.device)
    num_scales = len(net.schedule)
    latent = (quantiser.latent_channels, net.schedule.latent_size, net.schedule.latent_size)
    f_hat_BChw = torch.zeros(len(condition), *latent, device=condition.label_B.device)
    ids: list[Tensor] = []
    for k, side in enumerate(net.schedule.patch_nums):
        inputs_RlC = scale_inputs(f_hat_BChw, side).repeat(len(branches), 1, 1) if k else None
        logits_RlV = net.step(k, inputs_RlC, prepared, cache)
        logits_BlV = combine_branches(logits_RlV, branches, guidance.share(k, num_scales))
        noise_BlV = noise.exponential(side * side, logits_BlV.shape[-1])
        ids_Bl = race(filter_logits(logits_BlV, filters), noise_BlV)
        if keep is not None:
            ids_Bl = keep.force(k, ids_Bl, f_hat_BChw, quantiser)
        f_hat_BChw = f_hat_BChw + quantiser.contribution_of_ids(k, ids_Bl)
        ids.append(ids_Bl)
    return ids


def _check(
    net: VAR, quantiser: MultiScaleQuantiser, condition: Condition, seeds: Sequence[int], keep: Kept | None
) -> None:
    if net.training:
        raise ValueError("the net is in training mode, where dropout would disturb sampling: call net.eval() first")
    ours = (net.schedule, net.config.vocab_size, net.config.latent_channels)
    theirs = (quantiser.schedule, quantiser.vocab_size, quantiser.latent_channels)
    if ours != theirs:
        raise ValueError(
            f"net and tokenizer do not fit: scales {ours[0].patch_nums}, {ours[1]} codes of {ours[2]} channels in the "
            f"net, {theirs[0].patch_nums}, {theirs[1]} of {theirs[2]} in the tokenizer"
        )
    counts = {"condition": len(condition), "seeds": len(seeds)} | ({} if keep is None else {"keep": len(keep)})
    if len(set(counts.values())) > 1:
        raise ValueError(f"numbers of samples differ: {counts}")
