"""A small U-Net that finds the lesion: the mask of images that come without one, such as generated ones."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lfvar.nn.blocks import AttentionBlock, Downsample, ResBlock, group_norm


@dataclass(frozen=True)
class SegmenterConfig:
    """Sizes of the net. The defaults have 0.5 M parameters and take 82 million multiplications for 64×64 pixels."""

    image_size: int = 64
    """Side of the images it is trained on, in pixels; a multiple of `stride`."""
    channels: int = 24
    """Width of the finest level."""
    channel_multipliers: tuple[int, ...] = (1, 2, 4)
    """Width of each level relative to `channels`, fine to coarse."""
    stem_stride: int = 2
    """Fold s×s pixels into channels before the first level; the last layers look at single pixels again."""
    head_channels: int = 12
    """Width of those last layers."""
    attention: bool = True
    """At the coarsest level, so that every place knows what skin looks like everywhere else."""
    dropout: float = 0.0
    """Inside residual blocks."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "channel_multipliers", tuple(self.channel_multipliers))
        for name in ("image_size", "channels", "stem_stride", "head_channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.channel_multipliers or min(self.channel_multipliers) < 1:
            raise ValueError(f"channel_multipliers are widths of levels, at least 1, got {self.channel_multipliers}")
        if self.image_size % self.stride:
            raise ValueError(
                f"image_size={self.image_size} is no multiple of the stride {self.stride} of stem_stride and"
                " channel_multipliers"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")

    @property
    def stride(self) -> int:
        """Pixels per position of the coarsest level, along each axis."""
        return int(self.stem_stride * 2 ** (len(self.channel_multipliers) - 1))


class Segmenter(nn.Module):
    """Image to the log-odds of "lesion" at every pixel.

    A U-Net (Ronneberger et al., arXiv 1505.04597) of residual blocks whose skips are added, not concatenated (LinkNet,
    arXiv 1707.03718), which halves the cost of the way up. It works at half resolution; the head sees the
    pixels themselves beside what the levels found, so borders are as sharp as the image.
    """

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.channels * multiplier for multiplier in config.channel_multipliers]
        fold, dropout = config.stem_stride, config.dropout
        self.stem = nn.Sequential(nn.PixelUnshuffle(fold), nn.Conv2d(3 * fold**2, widths[0], 3, padding=1))
        self.down = nn.ModuleList(ResBlock(width, width, dropout) for width in widths[:-1])
        self.coarser = nn.ModuleList(
            nn.Sequential(Downsample(fine), nn.Conv2d(fine, coarse, 1)) for fine, coarse in pairwise(widths)
        )
        self.middle = nn.Sequential(
            ResBlock(widths[-1], widths[-1], dropout),
            AttentionBlock(widths[-1]) if config.attention else nn.Identity(),
            ResBlock(widths[-1], widths[-1], dropout),
        )
        self.finer = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(widths))
        self.up = nn.ModuleList(ResBlock(width, width, dropout) for width in widths[:-1])
        head = config.head_channels
        self.norm_out = group_norm(widths[0])
        self.unfold = nn.Sequential(nn.Conv2d(widths[0], head * fold**2, 1), nn.PixelShuffle(fold))
        self.mix = nn.Conv2d(head + 3, head, 3, padding=1)
        self.conv_out = nn.Conv2d(head, 1, 3, padding=1)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """[-1, 1] images to log-odds (B, 1, H, W); above 0 is lesion.

        Raises:
            ValueError: When height or width is no multiple of the stride.
        """
        stride = self.config.stride
        if image_BCHW.shape[-2] % stride or image_BCHW.shape[-1] % stride:
            raise ValueError(f"sides must be multiples of {stride} pixels, got images {tuple(image_BCHW.shape)}")
        x_BChw = self.stem(image_BCHW)
        skips = []
        for block, coarser in zip(self.down, self.coarser, strict=True):
            x_BChw = block(x_BChw)
            skips.append(x_BChw)
            x_BChw = coarser(x_BChw)
        x_BChw = self.middle(x_BChw)
        for finer, block in zip(reversed(self.finer), reversed(self.up), strict=True):
            enlarged_BChw = F.interpolate(finer(x_BChw), scale_factor=2.0, mode="bilinear", align_corners=False)
            x_BChw = block(enlarged_BChw + skips.pop())
        x_BCHW = self.unfold(F.silu(self.norm_out(x_BChw)))
        x_BCHW = F.silu(self.mix(torch.cat([x_BCHW, image_BCHW.to(x_BCHW.dtype)], dim=1)))
        return self.conv_out(x_BCHW)
