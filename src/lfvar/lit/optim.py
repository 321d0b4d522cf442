"""AdamW with weight decay on matrices only, and a learning rate that warms up and decays."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from lfvar.lit.resumption import keep_settings


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
    accumulate: int = 1
    """Batches whose gradients are averaged for one optimizer step; steps and schedules count optimizer steps."""
    encoder_factor: float = 1.0
    """Learning rate of the encoder relative to `lr`."""
    codebook_factor: float = 1.0
    """Learning rate of codebook, gains and φ relative to `lr`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))
        if self.lr <= 0:
            raise ValueError(f"lr must be positive, got {self.lr}")
        if self.accumulate < 1:
            raise ValueError(f"accumulate is a number of batches, at least 1, got {self.accumulate}")
        for name in ("weight_decay", "clip_norm", "warmup_steps", "encoder_factor", "codebook_factor"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 <= self.final_fraction <= 1:
            raise ValueError(f"final_fraction is a fraction of the peak in [0, 1], got {self.final_fraction}")
        if self.decay not in ("cosine", "none"):
            raise ValueError(f"decay is 'cosine' or 'none', got {self.decay!r}")


def build_optimizer(net: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over the trainable weights of a net, in groups by weight decay and learning rate."""
    embeddings = {id(m.weight) for m in net.modules() if isinstance(m, nn.Embedding)}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim >= 2 and id(parameter) not in embeddings
            key = (config.weight_decay if decays else 0.0, config.lr * _rate_factor(name, config))
            groups.setdefault(key, []).append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": params, "weight_decay": decay, "lr": lr} for (decay, lr), params in groups.items()],
        lr=config.lr,
        betas=config.betas,
    )
    keep_settings(optimizer)
    return optimizer


def _rate_factor(name: str, config: OptimConfig) -> float:
    part = name.split(".")[0]
    if part in ("encoder", "to_latent"):
        return config.encoder_factor
    return config.codebook_factor if part == "quantiser" else 1.0


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
