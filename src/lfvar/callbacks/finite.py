"""Ends a run whose loss or weights are no numbers any more, before it is saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lfvar.callbacks.checkpoint import last_saved
from lfvar.errors import DivergedError
from lfvar.lit.collective import place_among_processes, sum_over_processes
from lfvar.lit.sharding import here


class FiniteLoss(Callback):
    """Raises when a loss or gradient norm was NaN or infinite; no checkpoint is written after one.

    Losses are looked at where they are; the device is only waited for now and then, before validation and before every
    checkpoint. Of what a checkpoint would hold, the weights are looked at too: a step may ruin them whose loss was
    fine, and not every gradient has a norm. In float16 the loss scale lets a step overflow now and then and leaves it
    out, so there many in a row are needed.

    Args:
        every_n_steps: Optimizer steps between two looks.
        patience: float16: that many in a row.
    """

    def __init__(self, every_n_steps: int = 10, patience: int = 20) -> None:
        for name, value in (("every_n_steps", every_n_steps), ("patience", patience)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.every_n_steps = every_n_steps
        self.patience = patience
        self._bad: Tensor | None = None
        self._good_until = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from here."""
        self._bad, self._good_until = torch.zeros((), device=pl_module.device), trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take in one batch."""
        loss = outputs["loss"] if isinstance(outputs, Mapping) else outputs
        assert self._bad is not None
        scaled = trainer.precision == "16-mixed"
        bad = ~torch.isfinite(loss)
        norm = getattr(pl_module, "grad_norm", None)
        if norm is not None and not scaled:
            bad = bad | ~torch.isfinite(norm)
        self._bad = (self._bad + bad) * bad if scaled else self._bad + bad
        if not getattr(pl_module, "gathered", 0) and trainer.global_step % self.every_n_steps == 0:
            self._look(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do not validate ruins."""
        self._look(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Do not save ruins; all processes come here before one of them writes."""
        self._look(trainer)
        if self._bad is not None and sum_over_processes(_count_ruined(pl_module)):
            self._fail(trainer, "weights")

    def _look(self, trainer: Trainer) -> None:
        if self._bad is None:
            return
        world_size = place_among_processes()[1]
        enough = self.patience * world_size if trainer.precision == "16-mixed" else 1
        if sum_over_processes(self._bad.clone()) < enough:
            self._good_until = trainer.global_step
            return
        self._fail(trainer, "the loss")

    def _fail(self, trainer: Trainer, what: str) -> None:
        self._bad = None  # said once
        saved = last_saved(trainer)
        kept = "no checkpoint was written" if saved is None else f"{saved[0]} of step {saved[1]} is from before that"
        again = "" if saved is None else f"go on from it with resume={saved[0].parent.parent} and "
        raise DivergedError(
            f"{what} became NaN or infinite between steps {self._good_until} and {trainer.global_step}; {kept}",
            cure=f"{again}a lower optim.lr, a smaller optim.clip_norm or trainer.precision=32-true; debug=default names"
            " the operation",
        )


@torch.no_grad()
def _count_ruined(pl_module: LightningModule) -> Tensor:
    """How many weights, of those that this process holds, have an element that is NaN or infinite."""
    found = [~torch.isfinite(here(parameter)).all() for parameter in pl_module.parameters()]
    return torch.stack(found).sum() if found else torch.zeros((), dtype=torch.long, device=pl_module.device)
