"""How well a transformer predicts the tokens of images it has not seen, scale by scale, given the true coarser ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch

from lfvar.losses.tokens import TokenLoss, TokenLossConfig
from lfvar.metrics.tokens import TokenScores
from lfvar.nn.conditioning import Condition, Region
from lfvar.nn.mask_pyramid import overlap_pyramid
from lfvar.nn.scale_inputs import teacher_inputs
from lfvar.nn.var import VAR
from lfvar.nn.vqvae import VQVAE
from lfvar.sampling.filling import without_lesion
from lfvar.types import Batch


@torch.no_grad()
def score_tokens(net: VAR, tokenizer: VQVAE, batches: Iterable[Batch]) -> dict[str, dict[str, float]]:
    """Loss (nats per token) and accuracy over a split.

    Args:
        net: In evaluation mode.
        tokenizer: Whose tokens it predicts.
        batches: With measurements standardised as the net was trained with, if it takes any.

    Returns:
        `TokenScores.compute` for "all" that the net is told, "type" (without measurements), and "nothing".
    """
    told = {"all": {}, "type": {"measurements": True}, "nothing": {"measurements": True, "label": True}}
    if not net.conditioning.can_drop_measurements:
        del told["type"]
    scores = {name: TokenScores(net.schedule) for name in told}
    token_loss = TokenLoss(net.schedule, TokenLossConfig())
    device = next(net.parameters()).device
    for batch in batches:
        ids = tokenizer.encode_ids(batch.image_BCHW.to(device))
        ids_BL = torch.cat(ids, dim=1)
        inputs_BLC = teacher_inputs(tokenizer.quantiser.decode_partials(ids), net.schedule)
        inside_BL = torch.cat(overlap_pyramid(batch.mask_B1HW.to(device), net.schedule), dim=1)
        full = Condition(
            label_B=batch.label_B.to(device),
            measurements_BM=batch.measurements_BM.to(device),
            present_BM=batch.present_BM.to(device),
            region_BL=torch.where(inside_BL, int(Region.INSIDE), int(Region.OUTSIDE)),
            skin_BChw=_skin_of(batch, tokenizer, device) if net.config.skin_aware else None,
        )
        full = net.conditioning.usable(full)
        for name, taken in told.items():
            condition = net.conditioning.without(full, **taken)
            if name == "nothing" and condition.region_BL is not None:
                condition = replace(condition, region_BL=None, skin_BChw=None, told_skin_B=None)
            losses = token_loss(net(inputs_BLC, condition), ids_BL)
            scores[name].update(losses.nll_BL, losses.correct_BL, inside_BL)
    return {name: {key: float(value) for key, value in score.compute().items()} for name, score in scores.items()}


def _skin_of(batch: Batch, tokenizer: VQVAE, device: torch.device) -> torch.Tensor:
    """f̂ of the images without their lesions."""
    bare_BCHW = without_lesion(batch.image_BCHW.to(device), batch.mask_B1HW.to(device))
    return tokenizer.quantiser.decode_partials(tokenizer.encode_ids(bare_BCHW))[-1]
