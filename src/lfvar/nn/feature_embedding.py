"""Numbers to vectors, feature by feature.

After "On Embeddings for Numerical Features in Tabular Deep Learning" (Gorishniy et al. 2022, arXiv 2203.05556). One
linear layer over standardised values can only push the condition along a line; these embeddings let a value act
differently in different ranges. Features are independent of each other here: what mixes them comes after.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Embedding = Literal["periodic", "piecewise"]

VALUE_LIMIT = 4.0
"""Standardised values are clipped to ± this: one outlier must not reach where nothing was learned."""


class PeriodicFeatures(nn.Module):
    """x → (x, sin 2πc₁x, cos 2πc₁x, …) with frequencies c learned per feature (their eq. 2), and x itself beside them.

    Args:
        num_features: M.
        num_frequencies: Frequencies per feature.
        sigma: Spread of the initial frequencies; with σ = 0.3 a typical wave runs over six standard deviations.
    """

    def __init__(self, num_features: int, num_frequencies: int = 8, sigma: float = 0.3) -> None:
        super().__init__()
        self.frequencies_MF = nn.Parameter(sigma * torch.randn(num_features, num_frequencies))
        self.num_outputs = 2 * num_frequencies + 1

    def forward(self, x_BM: Tensor) -> Tensor:
        """(B, M, 2F + 1)."""
        phase_BMF = 2 * math.pi * self.frequencies_MF * x_BM[..., None]
        return torch.cat([x_BM[..., None], phase_BMF.sin(), phase_BMF.cos()], dim=-1)


class PiecewiseFeatures(nn.Module):
    """x → how far each of T bins is filled: 1 below x, 0 above, the fraction in the bin that holds x (their eq. 1).

    Args:
        num_features: M.
        num_bins: T. Until `set_edges` is called the bins hold equal shares of a standard normal.
    """

    edges_ME: Tensor

    def __init__(self, num_features: int, num_bins: int = 16) -> None:
        super().__init__()
        quantiles = torch.arange(1, num_bins, dtype=torch.float64) / num_bins
        inner = math.sqrt(2) * torch.erfinv(2 * quantiles - 1)
        edges = F.pad(F.pad(inner, (1, 0), value=-VALUE_LIMIT), (0, 1), value=VALUE_LIMIT).float()
        self.register_buffer("edges_ME", edges.repeat(num_features, 1))
        self.num_outputs = num_bins

    def set_edges(self, edges_ME: Tensor) -> None:
        """Use these bin edges, (M, T + 1), strictly growing: quantiles of the training split.

        Raises:
            ValueError: When the shape differs or the edges of a feature do not grow.
        """
        if edges_ME.shape != self.edges_ME.shape or not bool((edges_ME.diff(dim=1) > 0).all()):
            raise ValueError(f"edges must grow strictly and have shape {tuple(self.edges_ME.shape)}")
        self.edges_ME.copy_(edges_ME)

    def forward(self, x_BM: Tensor) -> Tensor:
        """(B, M, T), in [0, 1]."""
        low_MT, high_MT = self.edges_ME[:, :-1], self.edges_ME[:, 1:]
        return ((x_BM[..., None] - low_MT) / (high_MT - low_MT)).clamp(0, 1)


class MeasurementEmbedding(nn.Module):
    """Measurements to one vector: an embedding per feature or its "missing" vector, then two layers that mix them.

    The last layer starts at zero, so a net that gets this path added computes at first what it computed before.

    Args:
        num_features: M.
        width: D, of the result.
        kind: Embedding of a value.
        feature_width: Width of the vector of one feature.
    """

    def __init__(self, num_features: int, width: int, *, kind: Embedding = "periodic", feature_width: int = 16) -> None:
        super().__init__()
        if kind not in get_args(Embedding):
            raise ValueError(f"kind is one of {', '.join(get_args(Embedding))}, got {kind!r}")
        self.values = PeriodicFeatures(num_features) if kind == "periodic" else PiecewiseFeatures(num_features)
        num_inputs = self.values.num_outputs
        # A linear layer per feature: (M, inputs, E), so that features share nothing.
        self.weight_MFE = nn.Parameter(torch.randn(num_features, num_inputs, feature_width) * num_inputs**-0.5)
        self.bias_ME = nn.Parameter(torch.zeros(num_features, feature_width))
        self.missing_ME = nn.Parameter(0.02 * torch.randn(num_features, feature_width))
        self.mix = nn.Linear(num_features * feature_width, width)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, measurements_BM: Tensor, present_BM: Tensor) -> Tensor:
        """Embed.

        Args:
            measurements_BM: Standardised; what stands where nothing is present does not matter, NaN included.
            present_BM: bool, False where a measurement is missing.

        Returns:
            (B, D), float32: phases and bins do not survive bf16.
        """
        with torch.autocast(measurements_BM.device.type, enabled=False):
            x_BM = measurements_BM.float().where(present_BM, 0.0).clamp(-VALUE_LIMIT, VALUE_LIMIT)
            embedded_BME = torch.einsum("bmf,mfe->bme", self.values(x_BM), self.weight_MFE) + self.bias_ME
            embedded_BME = F.silu(embedded_BME).where(present_BM[..., None], self.missing_ME)
            return self.out(F.silu(self.mix(embedded_BME.flatten(1))))


class LFVARMeasurementEncoder(nn.Sequential):
    """LF-VAR's encoder: Linear → LayerNorm → SiLU on min-max-scaled values.

    It knows no missing values and was never trained without measurements: every sample must have all of them.
    """

    def __init__(self, num_features: int, width: int) -> None:
        super().__init__(nn.Linear(num_features, width), nn.LayerNorm(width), nn.SiLU())
