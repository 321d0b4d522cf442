"""Editing: which tokens stay the source image's own, at every scale, and what "own" means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lfvar.nn.mask_pyramid import overlap_pyramid
from lfvar.nn.precision import float32_exact
from lfvar.nn.quantiser import MultiScaleQuantiser
from lfvar.nn.resize import area_resize
from lfvar.scales import ScaleSchedule


@dataclass(frozen=True)
class Kept:
    """Tokens that sampling must not change. Each sample has its own."""

    ids: list[Tensor]
    """Token ids of the source image, int64 (B, p_k²) for each scale."""
    keep: list[Tensor]
    """bool (B, p_k²) for each scale, True where the source's token stays."""
    features_BChw: Tensor | None = None
    """Encoder features f of the source. Given, a kept token is chosen again at each scale, as the code nearest to what
    f still lacks (f - f̂): new tokens next to it have changed f̂, and the stored token would correct an error that is no
    longer there. None: the stored tokens, as published."""

    def __post_init__(self) -> None:
        for k, (ids_Bl, keep_Bl) in enumerate(zip(self.ids, self.keep, strict=True)):
            if ids_Bl.shape != keep_Bl.shape:
                raise ValueError(f"scale {k} has ids of {tuple(ids_Bl.shape)} and a mask of {tuple(keep_Bl.shape)}")

    def __len__(self) -> int:
        return self.ids[0].shape[0]

    def rows(self, index: slice | Tensor) -> Kept:
        """The samples that `index` selects; repeat an index for many samples of one source."""
        features_BChw = None if self.features_BChw is None else self.features_BChw[index]
        ids, keep = ([part_Bl[index] for part_Bl in parts] for parts in (self.ids, self.keep))
        return Kept(ids, keep, features_BChw)

    @staticmethod
    def cat(pieces: Sequence[Kept]) -> Kept:
        """Samples of several sources in one batch.

        Raises:
            ValueError: When some have features and others have none.
        """
        features = [piece.features_BChw for piece in pieces if piece.features_BChw is not None]
        if len(features) not in (0, len(pieces)):
            raise ValueError("samples of one batch are kept alike: all with features or none")
        ids, keep = (
            [torch.cat(parts_Bl) for parts_Bl in zip(*lists, strict=True)]
            for lists in ([piece.ids for piece in pieces], [piece.keep for piece in pieces])
        )
        return Kept(ids, keep, torch.cat(features) if features else None)

    def force(self, k: int, ids_Bl: Tensor, f_hat_BChw: Tensor, quantiser: MultiScaleQuantiser) -> Tensor:
        """Put kept tokens over sampled ones.

        Args:
            k: Scale.
            ids_Bl: Sampled ids of this scale.
            f_hat_BChw: f̂ after the scale before.
            quantiser: Chooses tokens again where features are given.
        """
        own_Bl = self.ids[k]
        if self.features_BChw is not None:
            with float32_exact(f_hat_BChw.device):
                missing_BChw = self.features_BChw.float() - f_hat_BChw
                own_Bl = quantiser.nearest(area_resize(missing_BChw, quantiser.schedule.patch_nums[k]), k)
        return torch.where(self.keep[k], own_Bl, ids_Bl)


def keep_outside(
    lesion_B1HW: Tensor, schedule: ScaleSchedule, *, ring: int = 1, num_kept_scales: int = 0
) -> list[Tensor]:
    """Keep every token whose cell does not touch the lesion or its neighbourhood.

    Args:
        lesion_B1HW: {0, 1}, 1 = to be painted.
        schedule: Side lengths of the token maps.
        ring: Tokens around the lesion that are painted too, at each scale: those at the border encode the old lesion.
        num_kept_scales: How many of the coarsest scales stay whole. 0 lets colours change; more keep the structure.

    Returns:
        bool (B, p_k²) for each scale, True = keep.
    """
    painted = overlap_pyramid(lesion_B1HW, schedule, ring)
    return [torch.ones_like(p_Bl) if k < num_kept_scales else ~p_Bl for k, p_Bl in enumerate(painted)]


def keep_as_published(lesion_B1HW: Tensor, schedule: ScaleSchedule, *, whole_tokens: int = 3) -> list[Tensor]:
    """LF-VAR's rule: the keep-mask resized bilinearly (no corner alignment) and thresholded at > 0.5.

    It samples points, so a small lesion may be painted at one scale and kept at the next; it is here to compare with.

    Args:
        lesion_B1HW: {0, 1}, 1 = to be painted.
        schedule: Side lengths of the token maps.
        whole_tokens: Maps of at most this many tokens stay whole.
    """
    keep_B1HW = 1 - lesion_B1HW.float()
    kept = []
    for side in schedule.patch_nums:
        keep_Bl = F.interpolate(keep_B1HW, size=(side, side), mode="bilinear", align_corners=False).flatten(1) > 0.5
        kept.append(torch.ones_like(keep_Bl) if side * side <= whole_tokens else keep_Bl)
    return kept
