"""Sampling as a function over a net: condition in, token ids out; nothing stays behind on the net."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lfvar.nn.conditioning import Condition
from lfvar.nn.quantiser import MultiScaleQuantiser
from lfvar.nn.scale_inputs import scale_inputs
from lfvar.nn.var import VAR
from lfvar.sampling.cuda_graphs import SampleGraphs
from lfvar.sampling.filters import Filters
from lfvar.sampling.guidance import Guidance
from lfvar.sampling.masking import Kept
from lfvar.sampling.noise import SampleNoise
from lfvar.sampling.scale_sampler import ScaleSampler


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
    graphs: SampleGraphs | None = None,
    watch: Callable[[int], None] | None = None,
) -> list[Tensor]:
    """Draw one token map per scale for each row of the condition.

    In float32 a seed gives the same ids whatever the rest of the batch. (Products of another batch size round in
    another order; that can only decide between two tokens whose scores are equal up to that rounding.) Wrap the call
    in `torch.autocast` for speed (and see `lfvar.sampling.lowered`); what turns ids into features stays in float32.

    Args:
        net: In evaluation mode.
        quantiser: The tokenizer's, on the net's device: turns ids into the input of the next scale.
        condition: One row per sample, on the net's device; `net.conditioning.usable` leaves out what it cannot take.
        guidance: Strengths for type and measurements.
        filters: Temperature, top-k, top-p.
        seeds: One per sample.
        keep: Tokens of a source image that must stay. They get neither logits nor a draw, but their noise is drawn:
            what a sample draws does not depend on its mask.
        graphs: Recorded launches of this net, for a GPU that waits for Python; None: plain calls.
        watch: Called with the number of each scale before it is drawn; what it raises ends sampling.

    Returns:
        int64 (B, p_k²) for each scale, coarse to fine; `VQVAE.decode_ids` makes images of them.

    Raises:
        ValueError: When numbers of samples or schedules differ, or the net is in training mode.
    """
    _check(net, quantiser, condition, seeds, keep)
    device = condition.label_B.device
    scales = ScaleSampler(net, guidance, filters) if graphs is None else graphs.of(net, guidance, filters, condition)
    scales.start(condition)
    noise = SampleNoise(seeds, device)
    # All at once, before the first scale: on a GPU, counting what is free waits for everything launched before.
    free = [None if keep is None else (~keep.keep[k]).flatten().nonzero()[:, 0] for k in range(len(net.schedule))]
    size = net.schedule.latent_size
    f_hat_BChw = torch.zeros(len(condition), quantiser.latent_channels, size, size, device=device)
    ids: list[Tensor] = []
    for k, side in enumerate(net.schedule.patch_nums):
        if watch is not None:
            watch(k)
        inputs_BlC = scale_inputs(f_hat_BChw, side) if k else None
        noise_BlV = noise.exponential(side * side, net.config.vocab_size)
        ids_Bl = scales.draw(k, inputs_BlC, noise_BlV, free[k])
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
