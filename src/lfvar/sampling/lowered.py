"""Weights in the precision that sampling computes in.

Under autocast a weight is converted wherever it is used, unless autocast may remember the result. It remembers none of
a frozen net, so a depth-16 transformer converts 1.2 GB ten times per batch; and it keeps both versions of what it
remembers. Stored lowered, weights are read once, at half the size, and the numbers are the same bit for bit.
"""

from __future__ import annotations

import torch
from torch import nn

from lfvar.nn.var import VAR
from lfvar.nn.vqvae import VQVAE


def store_lowered(net: VAR | None = None, tokenizer: VQVAE | None = None, dtype: torch.dtype = torch.bfloat16) -> None:
    """Convert in place what autocast would: linear layers of the transformer, convolutions of the decoder.

    From then on both run under `torch.autocast` with this type only. What decides token ids of images (encoder,
    codebook, φ) and what embeds measurements stays float32. The decoder's weights are also laid out channels-last,
    which CPUs and tensor cores read without reordering.

    Args:
        net: A transformer that will only sample; its float32 weights are gone afterwards.
        tokenizer: A tokenizer whose decoder will only decode.
        dtype: torch.bfloat16 or torch.float16.
    """
    if not dtype.is_floating_point or dtype.itemsize != 2:
        raise ValueError(f"dtype is torch.bfloat16 or torch.float16, got {dtype}")
    if net is not None:
        parts = (net.embed, net.blocks, net.adaln, net.adalns, net.head_adaln, net.head)
        for part in parts:
            if part is not None:
                _lower(part, dtype)
    if tokenizer is not None:
        for module in (tokenizer.from_latent, tokenizer.decoder):
            _lower(module, dtype)
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _lower(part: nn.Module, dtype: torch.dtype) -> None:
    for module in part.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            module.to(dtype)
