"""Training of no steps: what a run goes through that was ended after its last step and before it was finished."""

from __future__ import annotations

from lightning.pytorch import Trainer
from lightning.pytorch.loops.fit_loop import _FitLoop


class WholeFitLoop(_FitLoop):
    """Calls the hooks at the start and the end of training also where no step is left between them.

    Lightning leaves out all of them there, so that nobody could catch up on the validation of the last step.
    """

    @property
    def skip(self) -> bool:
        """Whether there is nothing to train on."""
        return bool(self.max_batches == 0 or self.trainer.limit_train_batches == 0)


def use_whole_fit_loop(trainer: Trainer) -> None:
    """Make a trainer's loop such a one, with all that Lightning has attached to it."""
    trainer.fit_loop.__class__ = WholeFitLoop
