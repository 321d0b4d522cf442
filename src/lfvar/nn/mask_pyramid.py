"""A pixel mask at every scale of the token maps.

A token counts as inside when its cell overlaps the mask at all. Sampling points or thresholding a resized mask instead
lets a small lesion vanish at one scale and come back at the next.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lfvar.nn.conditioning import Region
from lfvar.nn.resize import area_resize
from lfvar.scales import ScaleSchedule


def overlap_pyramid(mask_B1HW: Tensor, schedule: ScaleSchedule, ring: int = 0) -> list[Tensor]:
    """Which tokens of each scale touch the mask.

    Args:
        mask_B1HW: {0, 1} or bool, square, at any resolution; 1 = inside.
        schedule: Side lengths of the token maps.
        ring: Tokens by which the region grows at each scale, diagonals included.

    Returns:
        bool (B, p_k²) for each scale, row by row.
    """
    if mask_B1HW.shape[-1] != mask_B1HW.shape[-2]:
        raise ValueError(f"masks must be square, got {tuple(mask_B1HW.shape[-2:])}")
    inside_B1HW = (mask_B1HW > 0).float()
    pyramid = []
    for side in schedule.patch_nums:
        inside_B1kk = (area_resize(inside_B1HW, side) > 0).float()
        if ring:
            inside_B1kk = F.max_pool2d(inside_B1kk, 2 * ring + 1, stride=1, padding=ring)
        pyramid.append(inside_B1kk.flatten(1) > 0)
    return pyramid


def token_regions(mask_B1HW: Tensor, schedule: ScaleSchedule) -> Tensor:
    """`Region` of every token, int64 (B, L): the region input of a mask-aware net."""
    inside_BL = torch.cat(overlap_pyramid(mask_B1HW, schedule), dim=1)
    return torch.where(inside_BL, int(Region.INSIDE), int(Region.OUTSIDE))
