"""AdamW with weight decay on matrices only, and a learning rate that warms up and decays."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn


@dataclass(frozen=True)
class OptimConfig:
    """How the weights move."""

    lr: float = 6e-4
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's momenta."""
    weight_decay: float = 0.005
    """On weights of two and more dimensions; biases, norms and the codebook are left alone."""
    clip_norm: float = 10.0
    """Largest norm of all gradients together; 0: no clipping."""
    warmup_steps: int = 100
    """Steps from 0 to the peak; no more than a tenth of the run is used."""
    decay: Literal["cosine", "none"] = "cosine"
    """After the warm-up."""
    final_fraction: float = 0.1
    """Learning rate at the end, relative to the peak."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))
        if self.lr <= 0:
            raise ValueError(f"lr must be positive, got {self.lr}")
        for name in ("weight_decay", "clip_norm", "warmup_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 <= self.final_fraction <= 1:
            raise ValueError(f"final_fraction is a fraction of the peak in [0, 1], got {self.final_fraction}")
        if self.decay not in ("cosine", "none"):
            raise ValueError(f"decay is 'cosine' or 'none', got {self.decay!r}")


def build_optimizer(net: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over the trainable weights of a net."""
    embeddings = {id(m.weight) for m in net.modules() if isinstance(m, nn.Embedding)}
    trainable = [p for p in net.parameters() if p.requires_grad]
    decayed = [p for p in trainable if p.ndim >= 2 and id(p) not in embeddings]
    plain = [p for p in trainable if p.ndim < 2 or id(p) in embeddings]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas)


def lr_factor(config: OptimConfig, total_steps: int) -> Callable[[int], float]:
    """Learning rate relative to the peak, as a function of the step: linear warm-up, then the chosen decay."""
    warmup = min(config.warmup_steps, max(total_steps // 10, 1))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if config.decay == "none":
            return 1.0
        progress = min((step - warmup) / max(total_steps - warmup, 1), 1.0)
        return config.final_fraction + (1 - config.final_fraction) * 0.5 * (1 + math.cos(math.pi * progress))

    return factor
