"""The checkpoint that a run goes on from, and how checkpoints reach the disk."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO


class WholeFiles(TorchCheckpointIO):
    """Writes checkpoints whole or not at all.

    Lightning's writer goes through a temporary folder; where that lies on another disk than the run, as on clusters,
    its last step copies over the old file, and a kill leaves neither. This one writes beside the file and renames.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path`."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


class LastCheckpoint(ModelCheckpoint):
    """Keeps `last.ckpt` up to date: every so many steps, at the last step, and on Ctrl-C.

    Lightning's `ModelCheckpoint` leaves out the last step unless it is a multiple of its interval, and what it saves on
    an exception may be half a step. Here Ctrl-C waits for the end of the step (a second one does not), in runs of one
    process; where there are several, the file of the last interval stands.

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
            enable_version_counter=False,
        )
        self._interrupted = False
        self._handler_before: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over Ctrl-C."""
        super().on_train_start(trainer, pl_module)
        if trainer.world_size == 1 and threading.current_thread() is threading.main_thread():
            self._handler_before = signal.signal(signal.SIGINT, self._interrupt)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write at the interval, at the last step and when Ctrl-C asked for it."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if getattr(pl_module, "gathered", 0):
            return  # between the batches of one step: a resumed run would lose the first of them
        at_end = 0 < trainer.max_steps <= trainer.global_step
        if (at_end or self._interrupted) and trainer.global_step != self._last_global_step_saved:
            self._save_none_monitor_checkpoint(trainer, self._monitor_candidates(trainer))
        if self._interrupted:
            raise KeyboardInterrupt

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give Ctrl-C back."""
        super().on_train_end(trainer, pl_module)
        self._restore_handler()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give Ctrl-C back; a step that failed is not saved."""
        self._restore_handler()

    def state_dict(self) -> dict[str, Any]:
        """Nothing: where the file lies and how it is named follow from the settings."""
        return {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Nothing to restore."""

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True

    def _restore_handler(self) -> None:
        if self._handler_before is not None:
            signal.signal(signal.SIGINT, self._handler_before)
            self._handler_before = None
