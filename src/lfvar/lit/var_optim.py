"""The transformer's optimizer: AdamW with decay on matrices only; warm-up, plateau, then linear or cosine."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from lfvar.lit.resumption import keep_settings
from lfvar.nn.feature_embedding import MeasurementEmbedding

Decay = Literal["linear", "cosine", "none"]


@dataclass(frozen=True)
class VAROptimConfig:
    """How the weights move. VAR and LF-VAR: lr 1e-4 per 256 images in a step, linear decay after a 5 % plateau."""

    lr: float = 3e-4
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's momenta."""
    weight_decay: float = 0.05
    """On matrices alone: biases, tables (types, positions, levels, regions) and learned factors are left alone."""
    clip_norm: float = 2.0
    """Largest norm of all gradients together; 0: no clipping."""
    warmup_steps: int = 100
    """Steps from 0 to the peak; no more than a tenth of the run is used."""
    plateau_fraction: float = 0.05
    """Share of the steps after the warm-up that stay at the peak."""
    decay: Decay = "linear"
    """After the plateau."""
    final_fraction: float = 0.1
    """Learning rate at the end, relative to the peak."""
    accumulate: int = 1
    """Batches whose gradients are averaged for one optimizer step; steps and schedules count optimizer steps."""
    condition_factor: float = 1.0
    """Learning rate of everything that reads the condition's meaning (types, measurements, regions) relative to `lr`:
    above 1 where those start anew and the rest starts from a file."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))
        if self.lr <= 0:
            raise ValueError(f"lr must be positive, got {self.lr}")
        if self.accumulate < 1:
            raise ValueError(f"accumulate is a number of batches, at least 1, got {self.accumulate}")
        for name in ("weight_decay", "clip_norm", "warmup_steps", "condition_factor"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("plateau_fraction", "final_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a fraction in [0, 1], got {getattr(self, name)}")
        if self.decay not in get_args(Decay):
            raise ValueError(f"decay is one of {', '.join(get_args(Decay))}, got {self.decay!r}")


def build_var_optimizer(net: nn.Module, config: VAROptimConfig, *, fused: bool = True) -> torch.optim.AdamW:
    """AdamW over all trainable weights, in groups by decay and learning rate.

    Args:
        net: The transformer.
        config: Rates and decay.
        fused: Use torch's fused step where the device has one (4.5 times as fast on a CPU). It undoes the loss scale of
            float16 training itself, which hides the true gradients from clipping: leave it off there.
    """
    matrices = matrices_of(net)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            factor = config.condition_factor if name.startswith("conditioning.") else 1.0
            key = (config.weight_decay if id(parameter) in matrices else 0.0, config.lr * factor)
            groups.setdefault(key, []).append(parameter)
    available = all(p.device.type in ("cpu", "cuda") for parameters in groups.values() for p in parameters)
    optimizer = torch.optim.AdamW(
        [{"params": params, "weight_decay": decay, "lr": lr} for (decay, lr), params in groups.items()],
        lr=config.lr,
        betas=config.betas,
        fused=fused and available,
    )
    keep_settings(optimizer)
    return optimizer


def matrices_of(net: nn.Module) -> set[int]:
    """`id` of every weight that is a matrix: linear layers, and the one per measurement (M, inputs, E).

    Named by what they are, not by what they are not: a new table or factor does not decay until somebody says so.
    """
    linear = {id(module.weight) for module in net.modules() if isinstance(module, nn.Linear)}
    return linear | {id(module.weight_MFE) for module in net.modules() if isinstance(module, MeasurementEmbedding)}


def var_lr_factor(config: VAROptimConfig, total_steps: int) -> Callable[[int], float]:
    """Learning rate relative to the peak, as a function of the step."""
    warmup = min(config.warmup_steps, max(total_steps // 10, 1))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = min((step - warmup) / max(total_steps - warmup, 1), 1.0)
        if config.decay == "none" or progress <= config.plateau_fraction:
            return 1.0
        fallen = (progress - config.plateau_fraction) / (1 - config.plateau_fraction)
        left = 1 - fallen if config.decay == "linear" else 0.5 * (1 + math.cos(math.pi * fallen))
        return config.final_fraction + (1 - config.final_fraction) * left

    return factor
