"""A transformer block whose normalisations are set by the condition (AdaLN: Peebles & Xie 2023, arXiv 2212.09748; VAR).

The condition reaches a block as `modulation_B16D`: two gains γ of the residual branches, two scales and two shifts of
their inputs. Projecting the condition to them is left to the net, which does it once per sample however many scales
are decoded after it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lfvar.nn.attention import ScaleAttention
from lfvar.nn.kv_cache import KVCache

NORM_EPS = 1e-6


def modulated_norm(x_BLD: Tensor, scale_B1D: Tensor, shift_B1D: Tensor) -> Tensor:
    """LayerNorm(x) · (1 + scale) + shift, the norm without weights of its own."""
    normed_BLD = F.layer_norm(x_BLD, x_BLD.shape[-1:], eps=NORM_EPS)
    return normed_BLD * (1 + scale_B1D) + shift_B1D


def drop_path(branch_BLD: Tensor, rate: float) -> Tensor:
    """Leave the residual branch out for a share `rate` of the samples, and enlarge it for the others to make up."""
    if rate == 0:
        return branch_BLD
    kept_B11 = torch.rand(branch_BLD.shape[0], 1, 1, device=branch_BLD.device) >= rate
    return branch_BLD * (kept_B11 / (1 - rate)).to(branch_BLD.dtype)


class FeedForward(nn.Module):
    """Two linear layers with a GELU (tanh form) between."""

    def __init__(self, width: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Same shape."""
        return self.dropout(self.fc2(F.gelu(self.fc1(x_BLD), approximate="tanh")))


class TransformerBlock(nn.Module):
    """x + γ₁ attention(norm₁(x)), then x + γ₂ mlp(norm₂(x)).

    Args:
        attention: Self-attention of this block.
        width: D.
        hidden: Width inside the feed-forward part.
        dropout: Of the feed-forward output.
        drop_path: Share of samples for which a residual branch is left out in training.
    """

    def __init__(
        self, attention: ScaleAttention, width: int, hidden: int, *, dropout: float = 0.0, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.attention = attention
        self.mlp = FeedForward(width, hidden, dropout)
        self.drop_path = drop_path

    def forward(self, x_BLD: Tensor, modulation_B16D: Tensor, cache: KVCache | None = None, block: int = 0) -> Tensor:
        """Same shape as `x_BLD`.

        Args:
            x_BLD: All tokens without a cache, those of the next scale with one.
            modulation_B16D: γ₁, γ₂, scale₁, scale₂, shift₁, shift₂ along dimension 2.
            cache: Keys and values of the scales before.
            block: Index of this block in the cache.
        """
        rate = self.drop_path if self.training else 0.0
        gain1, gain2, scale1, scale2, shift1, shift2 = modulation_B16D.unbind(2)
        mixed_BLD = self.attention(modulated_norm(x_BLD, scale1, shift1), cache, block)
        x_BLD = x_BLD + drop_path(mixed_BLD * gain1, rate)
        return x_BLD + drop_path(self.mlp(modulated_norm(x_BLD, scale2, shift2)) * gain2, rate)
