"""Signals at every moment of a run: while it steps, while it validates, and after its last step."""

import os
import signal

import pytest
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from lfvar.callbacks.checkpoint import signals_noted, stop_if_asked
from lfvar.callbacks.stopping import SIGNALS
from lfvar.errors import Stopped
from lfvar.trainer import leave_requeueing_to_us
from toy_run import Toy, ToyData, stored, toy_fit, toy_trainer


class Send(Callback):
    """Sends this process a signal the first time that a hook is called after a step."""

    def __init__(self, name, hook, step, fn=TrainerFn.FITTING):
        self.sent = False

        def send(trainer, pl_module, *arguments):
            if not self.sent and trainer.global_step == step and trainer.state.fn == fn:
                self.sent = True
                os.kill(os.getpid(), signal.Signals[name])

        setattr(self, hook, send)


@pytest.fixture(autouse=True)
def handlers():
    """As they were before, at the end of every test, or the test fails."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    after = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == before


def whole_run(folder, *callbacks, module=None):
    """Train, validate, and what stands between that and a test."""
    module, trainer = module or Toy(), toy_trainer(folder, *callbacks, max_steps=6)
    with signals_noted(trainer):
        trainer.fit(module, datamodule=ToyData(), weights_only=True)
        trainer.validate(module, datamodule=ToyData(), verbose=False)
        stop_if_asked(trainer)
    return trainer, module


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGUSR2"])
@pytest.mark.parametrize(
    ("hook", "step", "fn"),
    [
        ("on_train_batch_end", 4, TrainerFn.FITTING),
        ("on_validation_batch_end", 6, TrainerFn.FITTING),
        ("on_validation_batch_end", 6, TrainerFn.VALIDATING),
    ],
    ids=["step", "validation after the last step", "validation at the end"],
)
def test_a_signal_ends_the_run_saved_and_with_its_own_code(tmp_path, monkeypatch, name, hook, step, fn):
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked.txt\n')
    (bin_folder / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    module = Toy()
    with pytest.raises(Stopped, match="is saved in") as stopped:
        whole_run(tmp_path / "run", Send(name, hook, step, fn), module=module)
    assert module.validated == ([3, 6, 6] if fn == TrainerFn.VALIDATING else [3, 6][: step // 3])
    assert stopped.value.exit_code == 128 + signal.Signals[name]
    assert stored(tmp_path / "run")["global_step"] == step
    assert (tmp_path / "asked.txt").is_file() is (name == "SIGUSR1")


def test_a_run_that_was_ended_after_its_last_step_goes_on_to_its_end(tmp_path):
    with pytest.raises(Stopped):
        whole_run(tmp_path, Send("SIGTERM", "on_validation_batch_end", 6))
    _, module = toy_fit(tmp_path, max_steps=6, resume=tmp_path / "last.ckpt")
    assert module.rates == []
    assert module.validated == [6]


def test_ctrl_c_ends_the_last_validation_at_once(tmp_path):
    ended = Send("SIGINT", "on_validation_batch_start", 6, TrainerFn.VALIDATING)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let what runs behind them ignore it
    try:
        with pytest.raises(SystemExit):  # Lightning's way; `train` calls it Ctrl-C
            whole_run(tmp_path, ended)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("fn", [TrainerFn.FITTING, TrainerFn.VALIDATING])
def test_submitit_lets_sigterm_pass_and_is_handed_its_own_signal(tmp_path, monkeypatch, fn):
    seen = []
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGUSR2)}
    for number in before:
        signal.signal(number, lambda number, frame: seen.append(number))
    try:
        hook, step = ("on_train_batch_end", 4) if fn == TrainerFn.FITTING else ("on_validation_batch_end", 6)
        trainer, _ = whole_run(tmp_path / "a", Send("SIGTERM", hook, step, fn))
        assert seen == [signal.SIGTERM]
        assert trainer.global_step == 6
        with pytest.raises(Stopped):
            whole_run(tmp_path / "b", Send("SIGUSR2", hook, step, fn))
        assert seen == [signal.SIGTERM, signal.SIGUSR2]
        assert stored(tmp_path / "b")["global_step"] == step
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_without_a_listener_around_it_training_listens_alone(tmp_path):
    with pytest.raises(Stopped):
        toy_fit(tmp_path, Send("SIGTERM", "on_train_batch_end", 2), max_steps=4)
    toy_fit(tmp_path, max_steps=4)


def test_lightning_does_not_requeue_on_one_device_either(monkeypatch):
    for name, value in {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train", "SLURM_JOB_ID": "4711", "SLURM_PROCID": "0",
                        "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    trainer = Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
    assert trainer._accelerator_connector.cluster_environment.auto_requeue
    leave_requeueing_to_us(trainer)
    assert not trainer._accelerator_connector.cluster_environment.auto_requeue
