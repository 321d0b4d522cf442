"""Differentiable augmentation of what a discriminator sees (DiffAugment, Zhao et al., arXiv 2006.10738).

A discriminator that sees few images learns them by heart. Here it never sees the same one twice, and neither real nor
reconstructed images reach it unchanged, so the augmentation does not leak into the reconstructions. All of it runs on
the device of the images, differentiates, and follows from random numbers that are drawn apart.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

NUM_DRAWS = 7
"""U: random numbers per image. All are drawn whatever the policy, so that switching one part off moves no other."""


@dataclass(frozen=True)
class DiffAugConfig:
    """How far images are changed. Colour is diagnostic in dermoscopy, so all that changes it is off by default."""

    translation: float = 0.125
    """Largest shift along each axis, relative to the image; what comes in is 0, mid-grey."""
    cutout: float = 0.25
    """Side of the square that is set to 0, relative to the image (DiffAugment: 0.5)."""
    brightness: float = 0.0
    """Largest amount added to all channels of images in [-1, 1] (DiffAugment: 0.5)."""
    saturation: float = 0.0
    """Distances from each pixel's grey are multiplied by 1 ± this (DiffAugment: 1)."""
    contrast: float = 0.0
    """Distances from each image's mean are multiplied by 1 ± this (DiffAugment: 0.5)."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if not 0 <= getattr(self, field.name) <= 1:
                raise ValueError(f"{field.name} must be in [0, 1], got {getattr(self, field.name)}")


def diffaug(image_BCHW: Tensor, policy: DiffAugConfig, generator: torch.Generator | None = None) -> Tensor:
    """Augment each image with its own draw.

    Args:
        image_BCHW: In [-1, 1].
        policy: How far.
        generator: On the CPU, wherever the images are: the same draws on every device.

    Returns:
        Same shape, differentiable in the images.
    """
    return augment(image_BCHW, policy, draw(image_BCHW.shape[0], generator).to(image_BCHW.device))


def draw(count: int, generator: torch.Generator | None = None) -> Tensor:
    """Uniform random numbers (count, U) in [0, 1) for as many images, on the CPU."""
    return torch.rand(count, NUM_DRAWS, generator=generator)


def augment(image_BCHW: Tensor, policy: DiffAugConfig, uniform_BU: Tensor) -> Tensor:
    """Apply what was drawn: colour, then translation, then cutout, as DiffAugment does.

    Args:
        image_BCHW: In [-1, 1].
        policy: How far.
        uniform_BU: `draw`, on the device of the images.
    """
    x_BCHW = _recolour(image_BCHW, policy, 2 * uniform_BU[:, 4:] - 1)
    x_BCHW, visible_B1HW = _move(x_BCHW, policy.translation, uniform_BU[:, :2])
    if policy.cutout:
        visible_B1HW = visible_B1HW & ~_cut(x_BCHW, policy.cutout, uniform_BU[:, 2:4])
    return x_BCHW * visible_B1HW.to(x_BCHW.dtype)


def translate(x_BCHW: Tensor, policy: DiffAugConfig, uniform_BU: Tensor) -> Tensor:
    """The translation alone, for maps that must move with their images."""
    x_BCHW, inside_B1HW = _move(x_BCHW, policy.translation, uniform_BU[:, :2])
    return x_BCHW * inside_B1HW.to(x_BCHW.dtype)


def _move(x_BCHW: Tensor, fraction: float, uniform_B2: Tensor) -> tuple[Tensor, Tensor]:
    """Shift each image by whole pixels; what comes in repeats the border and is marked False.

    `gather` reads a pixel twice only where the mark takes it out again, so its gradient adds to each pixel once and is
    deterministic.
    """
    inside_B1HW = torch.ones((1, 1, 1, 1), dtype=torch.bool, device=x_BCHW.device)
    for axis, uniform_B in zip((2, 3), uniform_B2.unbind(dim=1), strict=True):
        size = x_BCHW.shape[axis]
        most = round(fraction * size)
        if most:
            shift_B1 = (uniform_B * (2 * most + 1)).floor().long()[:, None] - most
            source_BN = _along(torch.arange(size, device=x_BCHW.device) - shift_B1, axis)
            inside_B1HW = inside_B1HW & (source_BN >= 0) & (source_BN < size)
            x_BCHW = x_BCHW.gather(axis, source_BN.clamp(0, size - 1).expand_as(x_BCHW))
    return x_BCHW, inside_B1HW


def _cut(x_BCHW: Tensor, fraction: float, uniform_B2: Tensor) -> Tensor:
    """(B, 1, H, W), True in a square whose centre is anywhere in the image."""
    cut_B1HW = torch.ones((1, 1, 1, 1), dtype=torch.bool, device=x_BCHW.device)
    for axis, uniform_B in zip((2, 3), uniform_B2.unbind(dim=1), strict=True):
        size = x_BCHW.shape[axis]
        side = round(fraction * size)
        start_B1 = (uniform_B * size).floor()[:, None] - side // 2
        place_BN = torch.arange(size, device=x_BCHW.device) - start_B1
        cut_B1HW = cut_B1HW & _along((place_BN >= 0) & (place_BN < side), axis)
    return cut_B1HW


def _along(row_BN: Tensor, axis: int) -> Tensor:
    """(B, N) as (B, 1, N, 1) for axis 2, as (B, 1, 1, N) for axis 3."""
    return row_BN[:, None, :, None] if axis == 2 else row_BN[:, None, None, :]


def _recolour(x_BCHW: Tensor, policy: DiffAugConfig, change_B3: Tensor) -> Tensor:
    """Brightness, saturation and contrast, each by its change in [-1, 1) times what the policy allows."""
    brightness, saturation, contrast = (change_B[:, None, None, None] for change_B in change_B3.unbind(dim=1))
    if policy.brightness:
        x_BCHW = x_BCHW + policy.brightness * brightness
    if policy.saturation:
        grey_B1HW = x_BCHW.mean(dim=1, keepdim=True)
        x_BCHW = grey_B1HW + (x_BCHW - grey_B1HW) * (1 + policy.saturation * saturation)
    if policy.contrast:
        mean_B111 = x_BCHW.mean(dim=(1, 2, 3), keepdim=True)
        x_BCHW = mean_B111 + (x_BCHW - mean_B111) * (1 + policy.contrast * contrast)
    return x_BCHW
