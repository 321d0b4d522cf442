"""The checkpoint that a run goes on from, and how checkpoints reach the disk."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from lfvar.callbacks.stopping import StopRequest
from lfvar.data.files import kept_checkpoints
from lfvar.errors import DiskFullError, Stopped
from lfvar.lit.fit_loop import use_whole_fit_loop
from lfvar.slurm import requeue_job


class WholeFiles(TorchCheckpointIO):
    """Writes checkpoints whole or not at all.

    Lightning's writer goes through a temporary folder; where that lies on another disk than the run, as on clusters,
    its last step copies over the old file, and a kill leaves neither. This one writes beside the file and renames.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path`.

        Raises:
            DiskFullError: When there is no space for it; what was there before stays.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except (OSError, RuntimeError) as error:
            cause = error if isinstance(error, OSError) else error.__context__  # torch wraps what a write raised
            if not isinstance(cause, OSError) or cause.errno not in DiskFullError.ERRNOS:
                raise
            before = f"; the one before it, {_describe(path)}, is whole" if path.is_file() else ""
            raise DiskFullError(
                f"no space left to write the checkpoint {path} ({cause.strerror}){before}",
                cure=f"make space, then go on with resume={path.parent.parent}",
            ) from error
        finally:
            partial.unlink(missing_ok=True)


class LastCheckpoint(ModelCheckpoint):
    """Keeps `last.ckpt` up to date: every so many steps, at the last step, and when a signal ends the run.

    Lightning's `ModelCheckpoint` leaves out the last step unless it is a multiple of its interval, and what it saves on
    an exception or in a signal handler may be half a step. Here a signal waits for the end of the step, on all
    processes (a second Ctrl-C does not wait): Ctrl-C, SIGTERM, SIGUSR1 and SIGUSR2 save, and end the run.

    A step is saved before it is validated. A run that ends in between goes on with that validation, which Lightning
    would leave out; also one that has taken its last step.

    Args:
        dirpath: Folder of the file.
        every_n_train_steps: Optimizer steps between two writes.
        keep: How many to keep, `last.ckpt` included; older ones are called `step-000400.ckpt`.
        requeue: Names of the signals after which SLURM is asked to start the job again, which then goes on where it
            stopped. `scancel` sends SIGTERM too, so it is not among them; SLURM starts preempted jobs again itself.
    """

    def __init__(
        self,
        dirpath: str | Path,
        every_n_train_steps: int = 100,
        keep: int = 1,
        requeue: Sequence[str] = ("SIGUSR1",),
    ) -> None:
        super().__init__(
            dirpath,
            filename="last",
            every_n_train_steps=every_n_train_steps,
            save_top_k=1,
            enable_version_counter=False,
        )
        if keep < 1:
            raise ValueError(f"keep is a number of checkpoints, at least 1, got {keep}")
        unknown = [name for name in requeue if name not in signal.Signals.__members__]
        if unknown:
            raise ValueError(f"requeue names signals, such as SIGUSR1, got {', '.join(unknown)}")
        self.keep = keep
        self.requeue = {signal.Signals[name] for name in requeue}
        self.stop = StopRequest()
        self._stops_alone = False  # whether nobody outside this callback listens to signals
        self._validation_due = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remove what a process that was killed while it wrote left behind, as large as a checkpoint."""
        super().setup(trainer, pl_module, stage)
        if stage != "fit":
            return
        use_whole_fit_loop(trainer)
        if trainer.is_global_zero:
            for partial in Path(self.dirpath or "").glob(".*.ckpt.*.partial"):
                partial.unlink(missing_ok=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over signals, and validate if that was due when the checkpoint was written that the run goes on from."""
        super().on_train_start(trainer, pl_module)
        self._last_global_step_saved = trainer.global_step  # a resumed run has that one
        self._stops_alone = not self.stop.listening
        self.stop.listen()
        self.stop.join()
        if self._validation_due:
            self._validation_due = False
            _validate(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write at the interval, at the last step and when a signal asked for it."""
        self._validation_due = _is_validation_due(trainer)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if not getattr(pl_module, "gathered", 0):  # else a resumed run would lose the first batches of a step
            asked = self.stop.agreed()
            at_end = 0 < trainer.max_steps <= trainer.global_step
            if at_end or asked:
                self._save_if_new(trainer)
            if asked and not at_end:
                self._end(trainer, asked)
        self._validation_due = False

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over signals, where this is not part of training too."""
        if self.stop.listening:
            self.stop.listen(ctrl_c=False)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """As for validation."""
        self.on_validation_start(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write where epochs or time ended the run, without the batches of a step that did not end; obey signals."""
        super().on_train_end(trainer, pl_module)
        self._save_if_new(trainer)
        self.stop_if_asked(trainer)
        if self._stops_alone:
            self.stop.restore()
            self.stop.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give signals back; a step that failed is not saved."""
        self.stop.release()
        if self._stops_alone:
            self.stop.restore()

    def state_dict(self) -> dict[str, Any]:
        """Nothing: where the file lies and how it is named follow from the settings."""
        return {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Nothing to restore."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note whether the step is still to be validated."""
        checkpoint["validation_due"] = self._validation_due

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: Mapping[str, Any]) -> None:
        """Remember what is still to be done."""
        self._validation_due = bool(checkpoint.get("validation_due", False))

    def stop_if_asked(self, trainer: Trainer) -> None:
        """End the run if a signal came that nothing has obeyed yet; to be called by all processes, between steps.

        Raises:
            Stopped: A signal came.
            KeyboardInterrupt: It was Ctrl-C.
        """
        asked = self.stop.agreed_by_now()
        if asked:
            self._end(trainer, asked)

    def _save_if_new(self, trainer: Trainer) -> None:
        if trainer.global_step != self._last_global_step_saved:
            self._save_none_monitor_checkpoint(trainer, self._monitor_candidates(trainer))

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        """Keep the file that is there under the name of its step, then write."""
        if self.keep > 1 and trainer.is_global_zero:
            _set_aside(Path(filepath), self._last_global_step_saved, self.keep - 1)
        super()._save_checkpoint(trainer, filepath)

    def _end(self, trainer: Trainer, number: int) -> None:
        """End the run, after its checkpoint was written."""
        self.stop.close()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        self.stop.hand_on(number)
        said = [f"after step {trainer.global_step}, which is saved in {self.dirpath}"]
        if number in self.requeue and trainer.is_global_zero:
            said.append(requeue_job(os.environ) or "")
        raise Stopped(number, "; ".join(filter(None, said)))


@contextmanager
def signals_noted(trainer: Trainer) -> Iterator[None]:
    """Keep signals for the end of a step, from before the trainer starts to after its last test (`stop_if_asked`)."""
    stops = [callback.stop for callback in _of_trainer(trainer)]
    try:
        for stop in stops:
            stop.listen(ctrl_c=False)
        yield
        for stop in stops:
            stop.close()
    finally:
        for stop in stops:
            stop.restore()


def stop_if_asked(trainer: Trainer) -> None:
    """End the run if a signal came since its last step; to be called by all processes.

    Raises:
        Stopped: A signal came.
    """
    for callback in _of_trainer(trainer):
        callback.stop_if_asked(trainer)


def last_saved(trainer: Trainer) -> tuple[Path, int] | None:
    """The file that a run would go on from, and its step; None where none was written."""
    for callback in _of_trainer(trainer):
        path = Path(callback.dirpath or "") / "last.ckpt"
        return (path, callback._last_global_step_saved) if path.is_file() else None
    return None


def _of_trainer(trainer: Trainer) -> list[LastCheckpoint]:
    return [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, LastCheckpoint)]


def _is_validation_due(trainer: Trainer) -> bool:
    """Whether Lightning will validate after the batch that just ended."""
    loop = trainer.fit_loop
    return loop._data_fetcher is not None and bool(loop.epoch_loop._should_check_val_fx(loop._data_fetcher))


def _validate(trainer: Trainer) -> None:
    """Validate before the first step, as Lightning does after one."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    loop.restarting = False  # its batches are all to come
    trainer.validating = True
    loop.run()
    trainer.training = True
    trainer._logger_connector._first_loop_iter = None


def _set_aside(path: Path, step: int, keep: int) -> None:
    """Give a checkpoint a second name by its step, and remove all but the newest `keep` of such names."""
    if path.is_file():
        aside = path.with_name(f"step-{step:06d}.ckpt")
        aside.unlink(missing_ok=True)
        try:
            os.link(path, aside)
        except OSError:  # no hard links there: a kill now leaves no last.ckpt, and resuming takes the newest of these
            path.replace(aside)
    for old in kept_checkpoints(path.parent)[:-keep]:
        old.unlink(missing_ok=True)


def _describe(path: Path) -> str:
    """A checkpoint and its step."""
    try:
        step = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["global_step"]
    except Exception:  # whatever is wrong with it, the error at hand matters more
        return str(path)
    return f"{path} of step {step}"
