"""The checkpoint that a run goes on from: what it may lack, and what is made good."""

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from toy_run import BATCHES, Kill, KilledError, Toy, same, stored, toy_fit

STEPS = 12


def best_score(trainer):
    (best,) = (c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.monitor)
    return float(best.best_model_score)


@pytest.mark.parametrize("killed_at", [6, STEPS], ids=["in the middle", "after the last step"])
def test_a_validation_that_a_kill_prevented_is_caught_up_on(tmp_path, killed_at):
    settings = {"max_steps": STEPS, "every": 3}
    whole, validated = toy_fit(tmp_path / "whole", **settings)
    assert validated.validated == [3, 6, 9, 12]
    folder = tmp_path / "killed"
    with pytest.raises(KilledError):
        toy_fit(folder, Kill("on_validation_batch_end", killed_at), **settings)
    assert stored(folder)["global_step"] == killed_at  # saved before it was validated
    trainer, module = toy_fit(folder, resume=folder / "last.ckpt", **settings)
    assert module.validated == [step for step in (3, 6, 9, 12) if step >= killed_at]
    assert same(stored(tmp_path / "whole"), stored(folder))
    assert same(stored(tmp_path / "whole", "best"), stored(folder, "best"))
    assert best_score(trainer) == best_score(whole)


def test_curves_of_a_caught_up_validation_stand_at_its_step(tmp_path):
    seen = []

    class Noted(CSVLogger):
        def log_metrics(self, metrics, step=None):
            if "val/loss" in metrics:
                seen.append((step, metrics["val/loss"]))

    settings = {"max_steps": 6, "every": 3}
    toy_fit(tmp_path / "whole", logger=Noted(tmp_path), **settings)
    whole, seen[:] = list(seen), []
    with pytest.raises(KilledError):
        toy_fit(tmp_path / "killed", Kill("on_validation_start", 3), logger=Noted(tmp_path), **settings)
    toy_fit(tmp_path / "killed", resume=tmp_path / "killed" / "last.ckpt", logger=Noted(tmp_path), **settings)
    assert seen == whole


def test_a_validation_that_was_run_is_not_run_again(tmp_path):
    settings = {"max_steps": STEPS, "every": 3}
    with pytest.raises(KilledError):
        toy_fit(tmp_path, Kill("on_train_batch_end", 7), **settings)
    assert not stored(tmp_path, "best")["validation_due"]
    _, module = toy_fit(tmp_path, resume=tmp_path / "best.ckpt", **settings)
    assert 6 not in module.validated


def test_the_end_of_epochs_is_saved(tmp_path):
    toy_fit(tmp_path, max_epochs=2)
    assert stored(tmp_path)["global_step"] == 2 * BATCHES
    toy_fit(tmp_path, max_epochs=3, resume=tmp_path / "last.ckpt")
    toy_fit(tmp_path / "whole", max_epochs=3)
    a, b = stored(tmp_path), stored(tmp_path / "whole")
    assert a["global_step"] == b["global_step"] == 3 * BATCHES
    assert all(torch.isfinite(value).all() for value in a["state_dict"].values())


def test_the_end_of_epochs_is_saved_within_a_step(tmp_path):
    toy_fit(tmp_path, module=Toy(accumulate=4), max_epochs=1)
    assert stored(tmp_path)["global_step"] == BATCHES // 4


def test_the_end_of_time_is_saved(tmp_path):
    trainer, _ = toy_fit(tmp_path, max_time={"milliseconds": 50}, max_steps=10**6, val_check_interval=10**6)
    assert stored(tmp_path)["global_step"] == trainer.global_step > 0


def test_what_a_kill_left_while_writing_is_removed(tmp_path):
    stale = tmp_path / ".last.ckpt.4711.partial"
    stale.write_bytes(b"half")
    (tmp_path / "notes.partial").touch()
    toy_fit(tmp_path, max_steps=1)
    assert not stale.exists()
    assert (tmp_path / "notes.partial").exists()
