"""What counts as divergence, and what does not."""

from types import SimpleNamespace

import pytest
import torch

from lfvar.callbacks.checkpoint import LastCheckpoint
from lfvar.callbacks.finite import FiniteLoss
from lfvar.errors import DivergedError
from lfvar.slurm import requeue_job
from toy_run import Toy, stored, toy_fit

NAN, FINE = float("nan"), 1.0


def feed(losses, precision, norms=None, **options):
    """Steps with these losses; returns the step at which it raised, else None."""
    callback = FiniteLoss(every_n_steps=1, **options)
    trainer = SimpleNamespace(precision=precision, global_step=0, checkpoint_callbacks=[])
    module = SimpleNamespace(device=torch.device("cpu"), gathered=0, grad_norm=None)
    callback.on_train_start(trainer, module)
    for step, loss in enumerate(losses, start=1):
        trainer.global_step = step
        module.grad_norm = None if norms is None else torch.tensor(norms[step - 1])
        try:
            callback.on_train_batch_end(trainer, module, {"loss": torch.tensor(loss)}, None, step)
        except DivergedError as error:
            return step if f"between steps {step - 1} and {step}" in error.message else error.message
    return None


def test_one_is_enough_where_nothing_undoes_it():
    assert feed([FINE, NAN, FINE], "32-true") == 2
    assert feed([FINE, float("inf")], "bf16-mixed") == 2
    assert feed([FINE] * 3, "32-true", norms=[1.0, float("inf"), 1.0]) == 2  # the weights are ruined, the loss not yet
    assert feed([FINE] * 3, "32-true", norms=[1.0] * 3) is None


def test_float16_may_overflow_now_and_then():
    assert feed([NAN, NAN, FINE] * 3, "16-mixed", patience=3) is None
    assert feed([FINE, NAN, NAN, NAN], "16-mixed", patience=3) == 4
    assert feed([FINE] * 3, "16-mixed", norms=[float("inf")] * 3, patience=3) is None  # the scale is found this way


def test_before_a_checkpoint_it_looks_whatever_the_interval():
    callback = FiniteLoss(every_n_steps=100)
    trainer = SimpleNamespace(precision="32-true", global_step=7, checkpoint_callbacks=[])
    module = SimpleNamespace(device=torch.device("cpu"), gathered=0, grad_norm=None)
    callback.on_train_start(trainer, module)
    callback.on_train_batch_end(trainer, module, {"loss": torch.tensor(NAN)}, None, 0)
    with pytest.raises(DivergedError, match="no checkpoint was written"):
        callback.on_save_checkpoint(trainer, module, {})


@pytest.mark.parametrize("optim", [{"clip_norm": 0}, {}], ids=["no norm", "norm"])
def test_weights_that_a_step_ruined_are_not_saved(tmp_path, optim):
    class Ruins(Toy):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            if self.global_step == 4:
                self.net.bias.data[0] = NAN  # as its step would, had its gradient been one
            return loss

    with pytest.raises(DivergedError, match=r"weights became NaN .* of step 2 is from before"):
        toy_fit(tmp_path, FiniteLoss(every_n_steps=100), module=Ruins(**optim), every=2, max_steps=8)
    assert stored(tmp_path)["global_step"] == 2


def test_settings_are_checked(tmp_path):
    with pytest.raises(ValueError, match="patience"):
        FiniteLoss(patience=0)
    with pytest.raises(ValueError, match="keep"):
        LastCheckpoint(tmp_path, keep=0)
    with pytest.raises(ValueError, match="SIGFOO"):
        LastCheckpoint(tmp_path, requeue=["SIGFOO"])


def test_slurm_is_asked_only_inside_a_job(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert requeue_job({}) is None
    assert "by hand" in requeue_job({"SLURM_JOB_ID": "9"})
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho no such job >&2\nexit 1\n")
    (tmp_path / "scontrol").chmod(0o755)
    assert requeue_job({"SLURM_JOB_ID": "9"}) == "SLURM did not requeue job 9: no such job"
    (tmp_path / "scontrol").write_text("#!/bin/sh\nexit 0\n")
    array = {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}
    assert requeue_job(array) == "SLURM will start job 7_3 again"
