"""A hole in the skin, filled from the skin around it.

Tokens at the border of a lesion encode the lesion too, so an old lesion shines through into tokens that are kept. The
source is therefore encoded without it: every pixel of the hole gets the value of a membrane stretched over the skin
around it (the solution of Laplace's equation with that skin as its border), which is smooth and invents nothing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SKIN_MARGIN = 0.03
"""By how much skin takes the place of a lesion beyond its mask, as a share of the image's side."""

_SWEEPS = 16
"""Averaging steps at each resolution, coarse to fine; wide waves are settled where they are short."""


def without_lesion(image_BCHW: Tensor, mask_B1HW: Tensor, margin: float = SKIN_MARGIN) -> Tensor:
    """Images with skin in the place of their lesions: `fill_hole` with a margin that goes by the image's size.

    What the transformer is told of the skin, in training and in editing alike.
    """
    return fill_hole(image_BCHW, mask_B1HW, round(margin * image_BCHW.shape[-1]))


def fill_hole(image_BCHW: Tensor, mask_B1HW: Tensor, margin: int = 2) -> Tensor:
    """Replace what the mask covers, and a margin around it, by a smooth continuation of what surrounds it.

    Each image has a hole of its own, and the result does not depend on the others. The image's edge is no border:
    values run into it level. Where the margin would cover all that the mask leaves of an image, there is no margin; an
    image without any skin becomes flat, at its own mean.

    Args:
        image_BCHW: Any range; computed in float32.
        mask_B1HW: {0, 1} or bool, 1 = hole.
        margin: Pixels by which the hole grows: the rim of a lesion reaches beyond its mask.

    Returns:
        A new tensor BCHW, float32; outside mask and margin exactly the image.
    """
    image_BCHW = image_BCHW.float()
    hole_B1HW = widen((mask_B1HW > 0).float(), margin)
    known_B1HW = 1 - hole_B1HW
    has_skin_B111 = known_B1HW.amax(dim=(1, 2, 3), keepdim=True) > 0
    known_B1HW = torch.where(has_skin_B111, known_B1HW, 1 - (mask_B1HW > 0).float())
    bare_B111 = known_B1HW.amax(dim=(1, 2, 3), keepdim=True) == 0
    mean_BC11 = image_BCHW.mean(dim=(2, 3), keepdim=True)
    image_BCHW = torch.where(bare_B111, mean_BC11, image_BCHW)
    known_B1HW = torch.where(bare_B111, torch.ones_like(known_B1HW), known_B1HW)
    return _stretch(image_BCHW * known_B1HW, known_B1HW)


def widen(hole_B1HW: Tensor, margin: int) -> Tensor:
    """Grow by a disc-like neighbourhood: a square and a cross in turn make an octagon."""
    cross = torch.tensor([[0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 0.0]], device=hole_B1HW.device)[None, None]
    for step in range(margin):
        if step % 2:
            hole_B1HW = F.max_pool2d(hole_B1HW, 3, stride=1, padding=1)
        else:
            hole_B1HW = (F.conv2d(hole_B1HW, cross, padding=1) > 0).float()
    return hole_B1HW


def _stretch(value_BCHW: Tensor, known_B1HW: Tensor) -> Tensor:
    """Solve for the unknown pixels: the same at half the resolution first, then average neighbours here.

    Args:
        value_BCHW: 0 where unknown.
        known_B1HW: {0, 1}; at least one pixel of each image is known.
    """
    height, width = value_BCHW.shape[-2:]
    if min(height, width) > 1:
        odd = (0, width % 2, 0, height % 2)  # an unknown row or column makes cells of exactly two by two
        share_B1hw = F.avg_pool2d(F.pad(known_B1HW, odd), 2)
        coarse_BChw = F.avg_pool2d(F.pad(value_BCHW, odd), 2) / share_B1hw.clamp_min(1e-6)
        solved_BChw = _stretch(coarse_BChw, (share_B1hw > 0).float())
        guess_BCHW = F.interpolate(solved_BChw, scale_factor=2, mode="bilinear", align_corners=False)
        guess_BCHW = guess_BCHW[..., :height, :width]
    else:
        guess_BCHW = (value_BCHW.sum((2, 3), keepdim=True) / known_B1HW.sum((2, 3), keepdim=True)).expand_as(value_BCHW)
    x_BCHW = torch.where(known_B1HW > 0, value_BCHW, guess_BCHW)
    for _ in range(_SWEEPS):
        x_BCHW = torch.where(known_B1HW > 0, value_BCHW, _mean_of_neighbours(x_BCHW))
    return x_BCHW


def _mean_of_neighbours(x_BCHW: Tensor) -> Tensor:
    padded = F.pad(x_BCHW, (1, 1, 1, 1), mode="replicate")
    vertical = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1]
    return (vertical + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]) / 4
