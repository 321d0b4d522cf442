"""What the transformer is told of each training sample: everything in validation, less and other things in training.

What is taken away is drawn once for all samples of a step, whatever process holds them, from a generator that seed and
step alone decide. So a resumed run draws what the killed one would have, and two processes draw what one does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
from torch import Tensor

from lfvar.lit.collective import place_among_processes
from lfvar.lit.var_config import ConditionConfig
from lfvar.nn.conditioning import Condition, Conditioning, Region, drop_condition, measurement_groups
from lfvar.nn.mask_pyramid import overlap_pyramid
from lfvar.scales import ScaleSchedule
from lfvar.types import Batch, TokenBatch


@dataclass(frozen=True)
class Drawn:
    """What one batch is told."""

    condition: Condition
    shares: dict[str, Tensor]
    """Scalars to log: which share of samples lost or was told what."""


@dataclass(frozen=True)
class _Draws:
    """Random decisions for samples of a step; each tensor along the samples."""

    lost_label_G: Tensor
    kept_GM: Tensor
    fate_G: Tensor
    """Uniform: which mask a sample is told."""
    shift: int
    """How many places further the sample is whose mask another one is told."""


class ConditionSource:
    """Makes conditions out of batches.

    Args:
        conditioning: Of the net: which conditions it has an input for.
        config: How often which is taken away.
        schedule: Side lengths of the token maps.
        feature_names: Measurements in the order of the vectors; their groups are lost together.
        seed: Of the run.
    """

    def __init__(
        self,
        conditioning: Conditioning,
        config: ConditionConfig,
        schedule: ScaleSchedule,
        feature_names: Sequence[str],
        seed: int,
    ) -> None:
        self.conditioning = conditioning
        self.config = config
        self.schedule = schedule
        self.seed = seed
        self.groups = tuple(measurement_groups(feature_names).values()) if conditioning.num_measurements else ()

    def inside(self, batch: Batch | TokenBatch) -> Tensor:
        """Which tokens of each image touch its lesion, bool (B, L)."""
        return torch.cat(overlap_pyramid(batch.mask_B1HW, self.schedule), dim=1)

    def full(self, batch: Batch | TokenBatch, inside_BL: Tensor, skin_BChw: Tensor | None = None) -> Condition:
        """Everything that is known of each image and the net has an input for.

        Args:
            batch: Types, measurements, masks.
            inside_BL: From `inside`.
            skin_BChw: f̂ of the images without their lesions; None: told of none.
        """
        values = self.conditioning.num_measurements > 0
        region_BL = _regions(inside_BL)
        whole = Condition(
            label_B=batch.label_B,
            measurements_BM=batch.measurements_BM if values else None,
            present_BM=batch.present_BM if values else None,
            region_BL=region_BL,
            skin_BChw=skin_BChw,
        )
        return self.conditioning.usable(whole)

    def draw(
        self,
        batch: Batch | TokenBatch,
        inside_BL: Tensor,
        step: tuple[int, ...],
        skin_BChw: Tensor | None = None,
    ) -> Drawn:
        """What training tells the net of each image.

        Args:
            batch: Of this process; batches of all processes are of one size.
            inside_BL: From `inside`.
            skin_BChw: As for `full`.
            step: Decides the draw, with the seed: optimizer step and batch within it.
        """
        rank, world_size = place_among_processes()
        size = len(batch)
        draws = self._draw_all(size * world_size, step)
        mine = slice(rank * size, (rank + 1) * size)
        condition, device = self.full(batch, inside_BL, skin_BChw), inside_BL.device
        shares = {}
        if self.conditioning.num_classes:
            lost_B = draws.lost_label_G[mine].to(device)
            label_B = condition.label_B.masked_fill(lost_B, self.conditioning.null_class)
            condition = replace(condition, label_B=label_B)
            shares["label_dropped"] = lost_B.float().mean()
        if condition.present_BM is not None and self.conditioning.can_drop_measurements:
            kept_BM = condition.present_BM & draws.kept_GM[mine].to(device)
            shares["measurements_dropped"] = (~kept_BM.any(dim=1)).float().mean()
            shares["measurements_kept"] = kept_BM.sum() / condition.present_BM.sum().clamp_min(1)
            condition = replace(condition, present_BM=kept_BM)
        if condition.region_BL is not None:
            region_BL, told = self._draw_regions(inside_BL, draws, mine)
            condition, shares = replace(condition, region_BL=region_BL), shares | told
        if condition.skin_BChw is not None:
            told_B = draws.fate_G[mine].to(device) < self.config.own_skin  # at most own_mask: these know their own mask
            condition = replace(condition, told_skin_B=told_B)
            shares["own_skin"] = told_B.float().mean()
        return Drawn(condition, shares)

    def _draw_all(self, size: int, step: tuple[int, ...]) -> _Draws:
        """Decisions for all samples of a step, on the CPU."""
        generator = torch.Generator().manual_seed(hash((self.seed, *step)) % 2**63)
        label_G = torch.zeros(size, dtype=torch.int64)
        present_GM = torch.ones(size, self.conditioning.num_measurements, dtype=torch.bool)
        label_G, kept_GM = drop_condition(label_G, present_GM, generator, self.config.drop, self.groups, null_class=1)
        assert kept_GM is not None
        fate_G = torch.rand(size, generator=generator)
        shift = int(torch.randint(1, max(size, 2), (), generator=generator))
        return _Draws(label_G > 0, kept_GM, fate_G, shift % size)

    def _draw_regions(self, inside_BL: Tensor, draws: _Draws, mine: slice) -> tuple[Tensor, dict[str, Tensor]]:
        """Own mask, another image's, or none."""
        all_GL = _gather_rows(inside_BL)
        other_BL = all_GL.roll(-draws.shift, dims=0)[mine]
        fate_B = draws.fate_G[mine].to(inside_BL.device)
        until = self.config.own_mask + self.config.other_mask
        own_B, told_B = fate_B < self.config.own_mask, fate_B < until
        region_BL = _regions(torch.where(own_B[:, None], inside_BL, other_BL))
        region_BL = region_BL.where(told_B[:, None], int(Region.UNKNOWN))
        shares = {"own_mask": own_B.float().mean(), "other_mask": (told_B & ~own_B).float().mean()}
        return region_BL, shares


def _regions(inside_BL: Tensor) -> Tensor:
    return torch.where(inside_BL, int(Region.INSIDE), int(Region.OUTSIDE))


def _gather_rows(inside_BL: Tensor) -> Tensor:
    """Rows of all processes, in the order of processes; batches are of one size."""
    _, world_size = place_among_processes()
    if world_size == 1:
        return inside_BL
    mine = inside_BL.to(torch.uint8)  # not every backend moves bool
    pieces = [torch.empty_like(mine) for _ in range(world_size)]
    dist.all_gather(pieces, mine)
    return torch.cat(pieces) > 0
