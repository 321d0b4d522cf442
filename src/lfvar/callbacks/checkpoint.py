"""The checkpoint that a run goes on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class LastCheckpoint(ModelCheckpoint):
    """Keeps `last.ckpt` up to date: every so many steps, at the last step, and when something goes wrong.

    Lightning's `ModelCheckpoint` leaves out the last step unless it is a multiple of its interval. Files are written
    whole or not at all, so a run killed at any moment goes on from the one before.

    Args:
        dirpath: Folder of the file.
        every_n_train_steps: Optimizer steps between two writes.
    """

    def __init__(self, dirpath: str | Path, every_n_train_steps: int = 100) -> None:
        super().__init__(
            dirpath,
            filename="last",
            every_n_train_steps=every_n_train_steps,
            save_top_k=1,
            save_on_exception=True,
            enable_version_counter=False,
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write at the interval and at the last step."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if 0 < trainer.max_steps <= trainer.global_step != self._last_global_step_saved:
            self._save_none_monitor_checkpoint(trainer, self._monitor_candidates(trainer))
