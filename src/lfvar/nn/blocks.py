"""The four parts that encoder and decoder are built of.

All work on feature maps BCHW in any floating-point type; the sizes and the order of operations are those of the
published VAR tokenizer, so that its weights compute the same thing here. `conv` is the class of 3×3 convolutions.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm with 32 groups, or as many as divide narrow maps."""
    return nn.GroupNorm(math.gcd(32, channels), channels, eps=1e-6)


class ResBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), with a 1×1 convolution on the shortcut where channels change."""

    def __init__(
        self, in_channels: int, out_channels: int, dropout: float = 0.0, conv: type[nn.Conv2d] = nn.Conv2d
    ) -> None:
        super().__init__()
        self.norm1 = group_norm(in_channels)
        self.conv1 = conv(in_channels, out_channels, 3, padding=1)
        self.norm2 = group_norm(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = conv(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Same height and width, `out_channels` channels."""
        h_BCHW = self.conv1(F.silu(self.norm1(x_BCHW)))
        h_BCHW = self.conv2(self.dropout(F.silu(self.norm2(h_BCHW))))
        return self.shortcut(x_BCHW) + h_BCHW


class AttentionBlock(nn.Module):
    """Residual self-attention over all positions, one head as wide as the map has channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Same shape."""
        height, width = x_BCHW.shape[-2:]
        q_BLC, k_BLC, v_BLC = self.qkv(self.norm(x_BCHW)).flatten(2).transpose(1, 2).chunk(3, dim=-1)
        mixed_BLC = F.scaled_dot_product_attention(q_BLC, k_BLC, v_BLC)
        mixed_BCHW = mixed_BLC.transpose(1, 2).unflatten(2, (height, width))
        return x_BCHW + self.proj(mixed_BCHW)


class Downsample(nn.Module):
    """Halve height and width: 3×3 convolution of stride 2, padded by one at the right and the bottom."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Half the size, same channels."""
        return self.conv(F.pad(x_BCHW, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double height and width: nearest neighbour, then a 3×3 convolution."""

    def __init__(self, channels: int, conv: type[nn.Conv2d] = nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv(channels, channels, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Twice the size, same channels."""
        return self.conv(F.interpolate(x_BCHW, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """Residual blocks at one resolution, each followed by attention where wanted, then a change of resolution."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_blocks: int,
        *,
        attention: bool,
        resample: nn.Module,
        dropout: float,
        conv: type[nn.Conv2d] = nn.Conv2d,
    ) -> None:
        super().__init__()
        widths = [in_channels] + [out_channels] * num_blocks
        self.blocks = nn.ModuleList(ResBlock(widths[i], widths[i + 1], dropout, conv) for i in range(num_blocks))
        self.attentions = nn.ModuleList(
            AttentionBlock(out_channels) if attention else nn.Identity() for _ in range(num_blocks)
        )
        self.resample = resample

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """`out_channels` channels at the resolution that `resample` leaves."""
        for block, attention in zip(self.blocks, self.attentions, strict=True):
            x_BCHW = attention(block(x_BCHW))
        return self.resample(x_BCHW)


def middle(channels: int, *, attention: bool, dropout: float) -> nn.Sequential:
    """The bottleneck of encoder and decoder: block, attention, block."""
    return nn.Sequential(
        ResBlock(channels, channels, dropout),
        AttentionBlock(channels) if attention else nn.Identity(),
        ResBlock(channels, channels, dropout),
    )
