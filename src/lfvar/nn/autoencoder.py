"""Encoder E: image → latent f, and decoder: f̂ → image, mirror images of each other (DESIGN: "Tokenizer")."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lfvar.nn.blocks import Downsample, Level, Upsample, group_norm, middle
from lfvar.nn.winograd import WinogradConv2d


class Encoder(nn.Module):
    """Image to latent features, at `stem_stride · 2^(levels-1)` times lower resolution.

    Args:
        channels: Width of the finest level.
        channel_multipliers: Width of each level relative to `channels`, fine to coarse.
        num_res_blocks: Residual blocks per level.
        latent_channels: C, channels of the latent.
        stem_stride: Fold s×s pixels into channels before the first convolution (1: the published layout). Cheap
            models on a CPU skip the finest resolutions this way.
        attention: Attention at the coarsest level and in the middle.
        dropout: Inside residual blocks.
    """

    def __init__(
        self,
        channels: int,
        channel_multipliers: tuple[int, ...],
        num_res_blocks: int,
        latent_channels: int,
        *,
        stem_stride: int = 1,
        attention: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        widths = [channels * multiplier for multiplier in channel_multipliers]
        coarsest = len(widths) - 1
        self.fold = nn.PixelUnshuffle(stem_stride)
        self.conv_in = nn.Conv2d(3 * stem_stride**2, channels, 3, padding=1)
        self.levels = nn.ModuleList(
            Level(
                widths[max(i - 1, 0)] if i else channels,
                width,
                num_res_blocks,
                attention=attention and i == coarsest,
                resample=nn.Identity() if i == coarsest else Downsample(width),
                dropout=dropout,
            )
            for i, width in enumerate(widths)
        )
        self.middle = middle(widths[-1], attention=attention, dropout=dropout)
        self.norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], latent_channels, 3, padding=1)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """[-1, 1] image to unbounded features BChw."""
        x_BCHW = self.conv_in(self.fold(image_BCHW))
        for level in self.levels:
            x_BCHW = level(x_BCHW)
        return self.conv_out(F.silu(self.norm_out(self.middle(x_BCHW))))


class Decoder(nn.Module):
    """Latent features to image; the arguments mirror those of `Encoder`, with one residual block more per level."""

    def __init__(
        self,
        channels: int,
        channel_multipliers: tuple[int, ...],
        num_res_blocks: int,
        latent_channels: int,
        *,
        stem_stride: int = 1,
        attention: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        widths = [channels * multiplier for multiplier in channel_multipliers]
        coarsest = len(widths) - 1
        self.conv_in = nn.Conv2d(latent_channels, widths[-1], 3, padding=1)
        self.middle = middle(widths[-1], attention=attention, dropout=dropout)
        # Index 0 is the finest level, as in the encoder; `forward` walks from the coarsest.
        self.levels = nn.ModuleList(
            Level(
                widths[min(i + 1, coarsest)],
                width,
                num_res_blocks + 1,
                attention=attention and i == coarsest,
                resample=nn.Identity() if i == 0 else Upsample(width, WinogradConv2d),
                dropout=dropout,
                conv=WinogradConv2d,
            )
            for i, width in enumerate(widths)
        )
        self.norm_out = group_norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3 * stem_stride**2, 3, padding=1)
        self.unfold = nn.PixelShuffle(stem_stride)

    def forward(self, latent_BChw: Tensor) -> Tensor:
        """Features to an image around [-1, 1], not clamped."""
        x_BCHW = self.middle(self.conv_in(latent_BChw))
        for level in reversed(self.levels):
            x_BCHW = level(x_BCHW)
        return self.unfold(self.conv_out(F.silu(self.norm_out(x_BCHW))))
