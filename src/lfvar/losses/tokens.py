"""The transformer's objective: cross-entropy of every token, weighted by scale and by place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lfvar.nn.conditioning import Region
from lfvar.scales import ScaleSchedule

ScaleWeights = Literal["uniform", "even", "lognormal"]


@dataclass(frozen=True)
class TokenLossConfig:
    """What counts how much. The defaults are VAR's: the plain mean over all tokens."""

    label_smoothing: float = 0.0
    """Share of the target probability that is spread over all codes."""
    scale_weights: ScaleWeights = "uniform"
    """`uniform`: every token counts the same, so the finest scales decide. `even`: every scale counts the same, however
    many tokens it has. `lognormal`: the share of a scale follows a log-normal density over its number 1 … K (after
    HMAR, arXiv 2506.04421); of six scales the coarsest then makes up 1 %."""
    lognormal_peak: float = 0.6
    """Where that density is highest, as a fraction of K."""
    lognormal_spread: float = 0.5
    """Its σ: the smaller, the more the scales around the peak count."""
    focus: float = 0.0
    """λ of the weight 1 + λ·m on tokens of the lesion, within each scale of each image; 0: place does not matter."""
    outside: float = 0.1
    """Weight of tokens outside the mask, relative to those inside, in samples whose net is told the mask: they are
    what stays as it is when the net edits."""

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing is a share in [0, 1), got {self.label_smoothing}")
        if self.scale_weights not in get_args(ScaleWeights):
            raise ValueError(f"scale_weights is one of {', '.join(get_args(ScaleWeights))}, got {self.scale_weights!r}")
        if not 0 < self.lognormal_peak <= 1:
            raise ValueError(f"lognormal_peak is a fraction of the scales in (0, 1], got {self.lognormal_peak}")
        if self.lognormal_spread <= 0:
            raise ValueError(f"lognormal_spread must be positive, got {self.lognormal_spread}")
        if self.focus < 0:
            raise ValueError(f"focus is a strength >= 0, got {self.focus}")
        if not 0 <= self.outside <= 1:
            raise ValueError(f"outside is a weight in [0, 1], got {self.outside}")


def scale_shares(schedule: ScaleSchedule, config: TokenLossConfig) -> Tensor:
    """The part of the loss that each scale makes up, float32 (K,), sum 1.

    The log-normal density over x = 1 … K is exp(-(ln x - μ)² / 2σ²) / x, whose mode is exp(μ - σ²).
    """
    if config.scale_weights == "uniform":
        share_K = torch.tensor(schedule.lengths, dtype=torch.float64)
    elif config.scale_weights == "even":
        share_K = torch.ones(len(schedule), dtype=torch.float64)
    else:
        number_K = torch.arange(1, len(schedule) + 1, dtype=torch.float64)
        mu = math.log(config.lognormal_peak * len(schedule)) + config.lognormal_spread**2
        share_K = (-((number_K.log() - mu) ** 2) / (2 * config.lognormal_spread**2)).exp() / number_K
    return (share_K / share_K.sum()).float()


@dataclass(frozen=True)
class TokenLosses:
    """What one batch of logits is worth."""

    loss: Tensor
    """Scalar, weighted and smoothed: what training minimises."""
    nll_BL: Tensor
    """-log p of the right code, neither weighted nor smoothed, without gradient."""
    correct_BL: Tensor
    """bool, whether the most likely code is the right one."""


class TokenLoss(nn.Module):
    """Weighs tokens. Weights of a sample sum to 1, so every image counts the same whatever the size of its lesion.

    Args:
        schedule: Side lengths of the token maps.
        config: What counts how much.
    """

    share_K: Tensor

    def __init__(self, schedule: ScaleSchedule, config: TokenLossConfig) -> None:
        super().__init__()
        self.schedule = schedule
        self.config = config
        self.register_buffer("share_K", scale_shares(schedule, config), persistent=False)

    def forward(
        self, logits_BLV: Tensor, ids_BL: Tensor, inside_BL: Tensor | None = None, region_BL: Tensor | None = None
    ) -> TokenLosses:
        """Score logits against the true tokens.

        Args:
            logits_BLV: float32 logits of all scales.
            ids_BL: int64, the true ids.
            inside_BL: bool, tokens that touch the lesion; only `focus` needs it.
            region_BL: int64 `Region`, what the net was told of the mask; None: nothing.
        """
        with torch.autocast(logits_BLV.device.type, enabled=False):
            log_p_BLV = F.log_softmax(logits_BLV.float(), dim=-1)
            nll_BL = -log_p_BLV.gather(-1, ids_BL[..., None])[..., 0]
            smooth = self.config.label_smoothing
            # Smoothed target: (1 - ε) on the right code, ε / V on every code.
            term_BL = nll_BL if smooth == 0 else (1 - smooth) * nll_BL - smooth * log_p_BLV.mean(dim=-1)
            loss = (term_BL * self.weights(len(ids_BL), inside_BL, region_BL)).sum(dim=1).mean()
        return TokenLosses(loss, nll_BL.detach(), logits_BLV.detach().argmax(dim=-1) == ids_BL)

    def weights(self, size: int, inside_BL: Tensor | None = None, region_BL: Tensor | None = None) -> Tensor:
        """What each token counts: float32 (B, L) that sums to a scale's share over each of its maps."""
        raw_BL = torch.ones(size, self.schedule.num_tokens, device=self.share_K.device)
        if self.config.focus and inside_BL is not None:
            raw_BL = raw_BL + self.config.focus * inside_BL
        if region_BL is not None:
            raw_BL = raw_BL.where(region_BL != Region.OUTSIDE, raw_BL * self.config.outside)
        pieces = []
        for share, raw_Bl in zip(self.share_K, raw_BL.split(self.schedule.lengths, dim=1), strict=True):
            total_B1 = raw_Bl.sum(dim=1, keepdim=True)
            # An empty mask with `outside` at 0 leaves nothing to weigh: then all tokens of the map count the same.
            raw_Bl = raw_Bl.where(total_B1 > 0, 1.0)
            pieces.append(share * raw_Bl / raw_Bl.sum(dim=1, keepdim=True))
        return torch.cat(pieces, dim=1)
