"""Self-attention over token maps, block-causal by scale: a token sees its own scale and all coarser ones.

Block-causality needs no L × L mask where it matters. The queries of one scale see a prefix of the sequence and all of
it, so a scale is one unmasked call over that prefix. Fine scales, where nearly all tokens are, get a call each; the
coarse ones are few and small, and share one call with a small mask.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lfvar.nn.kv_cache import KVCache
from lfvar.scales import ScaleSchedule

MAX_LOG_SCALE = math.log(100)
"""Upper limit of the learned logarithmic query length (VAR; the limit of CLIP's logit scale)."""


@dataclass(frozen=True)
class AttentionGroup:
    """Queries of neighbouring scales that share one attention call."""

    queries: slice
    """Their place in the sequence; they see keys from the first up to the last of them."""
    masked: bool
    """Whether the group holds more than one scale, so that its queries see different prefixes."""


def attention_groups(schedule: ScaleSchedule, num_unmasked: int) -> tuple[AttentionGroup, ...]:
    """Cut the sequence into groups: the coarse scales together, then the finest ones one by one.

    Args:
        schedule: Side lengths of the token maps.
        num_unmasked: How many of the finest scales get a call of their own. 0: one dense masked call for all.
    """
    slices = schedule.slices
    num_coarse = max(len(slices) - num_unmasked, 0)
    groups = [AttentionGroup(scale, masked=False) for scale in slices[num_coarse:]]
    if num_coarse:
        groups.insert(0, AttentionGroup(slice(0, slices[num_coarse - 1].stop), masked=num_coarse > 1))
    return tuple(groups)


def block_causal_mask(schedule: ScaleSchedule, num_tokens: int) -> Tensor:
    """Bool (L', L') over the first L' tokens: True where the query of a row may see the key of a column."""
    scale_L = torch.tensor([k for k, length in enumerate(schedule.lengths) for _ in range(length)])[:num_tokens]
    return scale_L[:, None] >= scale_L[None, :]


def block_causal_attention(
    q_BNLd: Tensor,
    k_BNLd: Tensor,
    v_BNLd: Tensor,
    groups: tuple[AttentionGroup, ...],
    mask_LL: Tensor | None,
    *,
    scale: float,
    dropout: float = 0.0,
) -> Tensor:
    """Softmax attention over a whole sequence, group by group.

    Args:
        q_BNLd: Queries of all tokens.
        k_BNLd: Keys.
        v_BNLd: Values.
        groups: From `attention_groups`; together they cover the sequence.
        mask_LL: `block_causal_mask` of the masked group; None when no group is masked.
        scale: What dot products are multiplied by before the softmax.
        dropout: Probability of dropping an attention weight.

    Returns:
        (B, N, L, d), as with one dense masked call.
    """
    pieces = []
    for group in groups:
        stop = group.queries.stop
        pieces.append(
            F.scaled_dot_product_attention(
                q_BNLd[:, :, group.queries],
                k_BNLd[:, :, :stop],
                v_BNLd[:, :, :stop],
                attn_mask=mask_LL if group.masked else None,
                dropout_p=dropout,
                scale=scale,
            )
        )
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)


class OpenLinear(nn.Linear):
    """A linear layer whose bias comes with each call."""

    def forward(self, input: Tensor, bias_D: Tensor | None = None) -> Tensor:
        """`input` times the weights, plus the bias if there is one."""
        return F.linear(input, self.weight, bias_D)


class ScaleAttention(nn.Module):
    """Multi-head self-attention of a block.

    With `l2_norm`, queries and keys have length 1 and a learned factor per head stands for the temperature, which keeps
    attention logits bounded in bf16 and at depth. Queries and values have a bias, keys have none, as published.

    Args:
        schedule: Side lengths of the token maps.
        width: D.
        num_heads: N, divides D.
        l2_norm: Normalise queries and keys; else dot products are scaled by 0.25 / √d (VAR).
        num_unmasked: How many of the finest scales attend in calls of their own (`attention_groups`).
        dropout: Of the output projection.
        attention_dropout: Of attention weights.
    """

    mask_LL: Tensor | None

    def __init__(
        self,
        schedule: ScaleSchedule,
        width: int,
        num_heads: int,
        *,
        l2_norm: bool = True,
        num_unmasked: int = 3,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_dropout = attention_dropout
        self.groups = attention_groups(schedule, num_unmasked)
        masked = self.groups[0].masked
        mask_LL = block_causal_mask(schedule, self.groups[0].queries.stop) if masked else None
        self.register_buffer("mask_LL", mask_LL, persistent=False)
        self.qkv = OpenLinear(width, 3 * width, bias=False)
        self.q_bias_D = nn.Parameter(torch.zeros(width))
        self.v_bias_D = nn.Parameter(torch.zeros(width))
        self.log_scale_N11 = nn.Parameter(torch.full((num_heads, 1, 1), math.log(4))) if l2_norm else None
        self.scale = 1.0 if l2_norm else 0.25 / math.sqrt(width // num_heads)
        self.proj = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BLD: Tensor, cache: KVCache | None = None, block: int = 0) -> Tensor:
        """Mix tokens.

        Args:
            x_BLD: All L tokens without a cache; the tokens of the next scale with one.
            cache: Keys and values of the scales before; this call adds those of `x_BLD`.
            block: Index of this block in the cache.

        Returns:
            Shape of the input.
        """
        q_BNld, k_BNld, v_BNld = self._heads(x_BLD)
        if cache is None:
            dropout = self.attention_dropout if self.training else 0.0
            mixed_BNld = block_causal_attention(
                q_BNld, k_BNld, v_BNld, self.groups, self.mask_LL, scale=self.scale, dropout=dropout
            )
        else:
            k_BNLd, v_BNLd = cache.extend(block, k_BNld, v_BNld)
            # Everything in the cache is of this scale or a coarser one: no mask.
            mixed_BNld = F.scaled_dot_product_attention(q_BNld.to(k_BNLd.dtype), k_BNLd, v_BNLd, scale=self.scale)
        return self.dropout(self.proj(mixed_BNld.transpose(1, 2).flatten(2)))

    def _heads(self, x_BLD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        bias_3D = torch.cat([self.q_bias_D, torch.zeros_like(self.q_bias_D), self.v_bias_D])
        qkv_BL3Nd = self.qkv(x_BLD, bias_3D).unflatten(2, (3, self.num_heads, -1))
        q_BNLd, k_BNLd, v_BNLd = qkv_BL3Nd.permute(2, 0, 3, 1, 4).unbind(0)
        if self.log_scale_N11 is not None:
            # Lengths in float32: a bf16 sum of squares is off by a percent, and the learned factor multiplies it.
            factor_N11 = self.log_scale_N11.clamp(max=MAX_LOG_SCALE).exp()
            q_BNLd = (F.normalize(q_BNLd.float(), dim=-1) * factor_N11).to(v_BNLd.dtype)
            k_BNLd = F.normalize(k_BNLd.float(), dim=-1).to(v_BNLd.dtype)
        return q_BNLd, k_BNLd, v_BNLd
