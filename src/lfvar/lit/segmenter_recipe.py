"""What a segmenter learns from: loss terms, and training images of every light and sharpness.

Where a lesion ends must not depend on either. Generated images, which the segmenter is made for, are much smoother than
photographs: a net that saw sharp ones alone takes smeared hairs for lesion and draws borders too wide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lfvar.losses.diffaug import DiffAugConfig, diffaug
from lfvar.losses.segmentation import SegmentationLossConfig


@dataclass(frozen=True)
class SegmenterRecipe(SegmentationLossConfig):
    """Strengths of the loss terms, and how far the look of training images varies."""

    brightness: float = 0.15
    """Largest amount added to all channels of images in [-1, 1]."""
    saturation: float = 0.2
    """Distances from each pixel's grey are multiplied by 1 ± this."""
    contrast: float = 0.2
    """Distances from each image's mean are multiplied by 1 ± this."""
    blur: float = 0.04
    """Largest standard deviation of a Gaussian blur, relative to the image's side; most images get far less."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.blur <= 0.25:
            raise ValueError(f"blur is a share of the image's side in [0, 0.25], got {self.blur}")
        _ = self.colour  # checks its own

    @property
    def colour(self) -> DiffAugConfig:
        """The part that changes colours; nothing is moved or cut out."""
        return DiffAugConfig(0.0, 0.0, self.brightness, self.saturation, self.contrast)


def vary_look(image_BCHW: Tensor, recipe: SegmenterRecipe) -> Tensor:
    """Change sharpness and colours of each image by its own draw from torch's generator on the CPU; nothing moves.

    The blur's standard deviation is u² times the largest one, u uniform: half of the images get less than a quarter.

    Args:
        image_BCHW: In [-1, 1].
        recipe: How far.

    Returns:
        Same shape, in [-1, 1].
    """
    u_B = torch.rand(len(image_BCHW)).to(image_BCHW.device)
    most = recipe.blur * image_BCHW.shape[-1]
    if most:
        image_BCHW = gaussian_blur(image_BCHW, most * u_B.square(), radius=math.ceil(3 * most))
    return diffaug(image_BCHW, recipe.colour).clamp(-1, 1)


def gaussian_blur(image_BCHW: Tensor, sigma_B: Tensor, radius: int) -> Tensor:
    """Blur each image by its own standard deviation in pixels, rows then columns; the border is repeated outwards.

    Args:
        image_BCHW: Any range.
        sigma_B: At least 0; 0 leaves an image as it is.
        radius: Where the Gaussian is cut off, in pixels.
    """
    count, channels, height, width = image_BCHW.shape
    offset_N = torch.arange(-radius, radius + 1, device=image_BCHW.device, dtype=image_BCHW.dtype)
    sigma_B1 = sigma_B[:, None].to(image_BCHW.dtype).clamp_min(1e-3)  # so narrow that only the middle counts
    weight_BN = (-0.5 * (offset_N / sigma_B1).square()).softmax(dim=1)
    weight_GN = weight_BN.repeat_interleave(channels, dim=0)[:, None]
    x_1GHW = F.pad(image_BCHW.reshape(1, count * channels, height, width), (radius,) * 4, mode="replicate")
    x_1GHW = F.conv2d(x_1GHW, weight_GN[:, :, None, :], groups=count * channels)
    x_1GHW = F.conv2d(x_1GHW, weight_GN[:, :, :, None], groups=count * channels)
    return x_1GHW.reshape(image_BCHW.shape)
