"""Colour error in CIELAB, where equal distances look about equally different; colour is diagnostic in dermoscopy."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lfvar.measure.lesion import to_lab
from lfvar.metrics.regions import REGIONS

COLOUR_MEASURES = ("delta_e", "delta_l", "delta_a", "delta_b")


def colour_values(recon_BCHW: Tensor, image_BCHW: Tensor, mask_B1HW: Tensor) -> dict[str, Tensor]:
    """Mean colour difference of each image in each region (sRGB to CIELAB, D65, as `lfvar.measure.lesion.to_lab`).

    delta_l, delta_a, delta_b: mean absolute difference in L*, a*, b*. delta_e: mean ΔE*ab (CIE 1976), the Euclidean
    distance in all three; about 2.3 is just noticeable (Mahy et al. 1994).

    Args:
        recon_BCHW: In [-1, 1]; clamped here, not rounded.
        image_BCHW: In [-1, 1].
        mask_B1HW: {0, 1}, 1 = lesion.

    Returns:
        `delta_e_inside`, … each float64 (B,); infinite where an image lacks the region, NaN where the
        reconstruction is.
    """
    difference_BHWC = np.abs(_lab(recon_BCHW) - _lab(image_BCHW))
    maps = {"delta_e": np.sqrt((difference_BHWC**2).sum(axis=-1))}
    maps |= {name: difference_BHWC[..., axis] for axis, name in enumerate(COLOUR_MEASURES[1:])}
    mask_BHW = mask_B1HW[:, 0].cpu().numpy() > 0.5
    values = {}
    for region, region_BHW in zip(REGIONS, (mask_BHW, ~mask_BHW, np.ones_like(mask_BHW)), strict=True):
        area_B = region_BHW.sum(axis=(1, 2))
        for name, map_BHW in maps.items():
            # where, not a product: NaN outside a region must not reach it
            mean_B = np.where(region_BHW, map_BHW, 0.0).sum(axis=(1, 2)) / np.maximum(area_B, 1)
            values[f"{name}_{region}"] = torch.from_numpy(np.where(area_B > 0, mean_B, np.inf))
    return values


def _lab(image_BCHW: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    bytes_BHWC = (image_BCHW.detach().cpu().double().clamp(-1, 1) + 1).mul(127.5).permute(0, 2, 3, 1)
    return to_lab(bytes_BHWC.numpy())
