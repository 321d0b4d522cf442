"""What the transformer reads at each scale: f̂ after the scales before it, resized to the scale's own map.

Training makes all of them at once from known ids, sampling one after the other; both use `scale_inputs`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lfvar.nn.precision import float32_exact
from lfvar.nn.resize import area_resize
from lfvar.scales import ScaleSchedule


def scale_inputs(f_hat_BChw: Tensor, side: int) -> Tensor:
    """Input tokens of a scale from f̂ after the scale before: resized by area, one token per position, (B, side², C)."""
    with float32_exact(f_hat_BChw.device):
        return area_resize(f_hat_BChw.float(), side).flatten(2).transpose(1, 2)


def teacher_inputs(partials: Sequence[Tensor], schedule: ScaleSchedule) -> Tensor:
    """Inputs of scales 2 … K from f̂ after every scale.

    Args:
        partials: BChw after scales 1 … K-1, or to K (`MultiScaleQuantiser.decode_partials`); the last is not used.
        schedule: Side lengths of the token maps.

    Returns:
        float32 (B, L - p_1², C).
    """
    sides = schedule.patch_nums[1:]
    inputs = [scale_inputs(f_hat_BChw, side) for f_hat_BChw, side in zip(partials, sides, strict=False)]
    if len(inputs) != len(sides):
        raise ValueError(f"{len(partials)} partial sums given, {len(sides)} scales need one")
    return torch.cat(inputs, dim=1)
