"""Exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from lfvar.lit.sharding import here, like, whole_of_part


class EMA(Callback):
    """Keeps an average of `module.averaged` and lends it to validation.

    Lightning's own `EMAWeightAveraging` averages the whole module, buffers included, at a fixed decay, and stores the
    average under `state_dict`. Ours averages what the module names, keeps the trained weights where every reader
    expects them (the average goes under `ema`), and warms up: the decay at update t is min(decay, (1 + t) / (10 + t)),
    so that short runs do not average in their random start. Rows that the module says it `replaced` in
    a step start anew. Of weights that are split over processes, each averages its part; a checkpoint has the whole.

    Args:
        decay: Share of the old average kept at each step, in [0, 1).
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        self.decay = decay
        self.num_updates = 0
        self.average: dict[str, Tensor] = {}
        self._trained: dict[str, Tensor] = {}
        self._lent_to: dict[str, Tensor] = {}
        self._seen_steps = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start from the weights as they are, or move a resumed average to where they are."""
        if not self.average:
            self.average = {name: weight.clone() for name, weight in _weights(pl_module).items()}
        self._move(pl_module)
        self._seen_steps = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take in the new weights, once per optimizer step."""
        if trainer.global_step == self._seen_steps:
            return
        self._seen_steps = trainer.global_step
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.num_updates += 1
        weights = _weights(pl_module)
        for name, rows in getattr(pl_module, "replaced", {}).items():
            self.average[name][rows] = weights[name][rows]  # new codes: an average with the old ones means nothing
        torch._foreach_lerp_(list(self.average.values()), [weights[name] for name in self.average], 1 - decay)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the average; where no step was left to train, nothing has moved it yet."""
        if self.average and not self._trained:
            self._move(pl_module)
            weights = _weights(pl_module)
            self._trained = {name: weight.clone() for name, weight in weights.items()}
            self._lent_to = weights
            _copy(self.average, weights)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the trained weights back."""
        if self._trained:
            _copy(self._trained, self._lent_to)
            self._trained, self._lent_to = {}, {}

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """A validation that was interrupted must not leave the average in the net."""
        self.on_validation_end(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the average; while it is lent to validation, put the trained weights where they belong."""
        parameters = _parameters(pl_module)
        average = {name: whole_of_part(part, parameters[name]) for name, part in self.average.items()}
        checkpoint["ema"] = {"weights": average, "num_updates": self.num_updates, "decay": self.decay}
        if self._trained:
            names = {id(parameter): name for name, parameter in pl_module.named_parameters()}
            for name, part in self._trained.items():
                checkpoint["state_dict"][names[id(parameters[name])]] = whole_of_part(part, parameters[name])

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: Mapping[str, Any]) -> None:
        """Go on from the stored average."""
        if "ema" in checkpoint:
            self.average = {name: average.clone() for name, average in checkpoint["ema"]["weights"].items()}
            self.num_updates = checkpoint["ema"]["num_updates"]

    def _move(self, pl_module: LightningModule) -> None:
        """Put an average that was read from a checkpoint where the weights are, split as they are."""
        for name, parameter in _parameters(pl_module).items():
            if self.average[name].shape != here(parameter).shape:
                self.average[name] = here(like(self.average[name], parameter))
            self.average[name] = self.average[name].to(parameter.device)


def _parameters(pl_module: LightningModule) -> dict[str, nn.Parameter]:
    averaged: Any = pl_module.averaged
    return dict(averaged)


def _weights(pl_module: LightningModule) -> dict[str, Tensor]:
    return {name: here(parameter) for name, parameter in _parameters(pl_module).items()}


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for name, value in source.items():
        target[name].copy_(value)
