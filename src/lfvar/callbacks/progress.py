"""One bar for the whole run: steps, rate, time left and the loss."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar as LightningBar

from lfvar.progress import ProgressBar


class TrainingProgress(LightningBar):
    """Counts optimizer steps from the first to the last.

    Lightning's own bars start again at every pass over the data, which says little about a run measured in steps. This
    one takes their place, on the first process only.
    """

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._bar: ProgressBar | None = None
        self._note = ""

    def disable(self) -> None:
        """Called by Lightning on all processes but the first."""
        self._enabled = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar, at the step a resumed run starts from."""
        super().on_train_start(trainer, pl_module)
        total = trainer.estimated_stepping_batches
        if self._enabled and total != float("inf"):
            self._bar = ProgressBar(int(total), "training")
            self._bar.__enter__()
            self._bar.skip(trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move to the current step; the loss is read now and then only, since reading it waits for the GPU."""
        if self._bar is not None:
            if trainer.global_step % 10 == 0 and "train/loss" in trainer.callback_metrics:
                self._note = f"loss {float(trainer.callback_metrics['train/loss']):.4f}"
            self._bar.advance(trainer.global_step - self._bar.done, note=self._note)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the error starts on a line of its own."""
        self.on_train_end(trainer, pl_module)
