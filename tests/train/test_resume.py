"""A killed run goes on as if nothing had happened."""

import signal
import time

import pandas as pd
import pytest
import torch

STEPS = 30


def losses(run):
    """Training loss by step, over all files a run and its continuations wrote."""
    tables = [pd.read_csv(path) for path in sorted(run.glob("csv/*/metrics.csv"))]
    logged = pd.concat(tables).dropna(subset=["train/loss"])
    return logged.groupby("step")["train/loss"].agg(list)


FULL_RECIPE = [
    "perceptual=structure",
    "loss.perceptual=0.5",
    "adversary=patchgan",
    "adversary.discriminator.channels=8",
    "adversary.discriminator.num_layers=1",
    "adversary.discriminator.stem_stride=1",
    "adversary.start_fraction=0.05",
    "model.scale_gains=true",
    "codebook.restart_below=0.5",
    "codebook.restart_every=5",
    "codebook.dropout=0.3",
    "codebook.dropout_from=1",
    "optim.accumulate=2",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "dropout", "recipe"),
    [(0, 0.2, []), (2, 0.0, []), (0, 0.0, FULL_RECIPE), (0, 0.0, ["codebook.update=ema"])],
    ids=["dropout", "workers", "full", "ema-codebook"],
)
def test_kill_and_resume_equals_never_killed(tiny_train, resume_train, tmp_path, workers, dropout, recipe):
    common = [
        f"trainer.max_steps={STEPS}",
        "trainer.log_every_n_steps=1",
        "trainer.val_check_interval=15",
        "callbacks.last.every_n_train_steps=7",
        f"data.loader.num_workers={workers}",
        f"model.dropout={dropout}",
        *recipe,
    ]
    whole = tmp_path / "whole"
    done = tiny_train(*common, f"paths.runs={whole}")
    assert done.returncode == 0, done.stderr

    killed = tmp_path / "killed"
    process = tiny_train(*common, f"paths.runs={killed}", wait=False)
    while not (found := list(killed.rglob("last.ckpt"))):
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = torch.load(found[0], weights_only=True)["global_step"]
    assert 0 < reached < STEPS, "it finished before it was killed: nothing was tested"

    run = found[0].parents[1]
    done = resume_train(run)
    assert done.returncode == 0, done.stderr
    (whole_run,) = whole.glob("vqvae/*/*")
    a = torch.load(whole_run / "checkpoints/last.ckpt", weights_only=True)
    b = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert a["global_step"] == b["global_step"] == STEPS
    assert all(torch.equal(a["state_dict"][name], b["state_dict"][name]) for name in a["state_dict"])
    moments = [checkpoint["optimizer_states"][0]["state"] for checkpoint in (a, b)]
    assert all(torch.equal(moments[0][i]["exp_avg"], moments[1][i]["exp_avg"]) for i in moments[0])
    assert all(torch.equal(a["ema"]["weights"][name], b["ema"]["weights"][name]) for name in a["ema"]["weights"])
    if "adversary" in a:
        moments = [checkpoint["adversary"]["state"] for checkpoint in (a, b)]
        assert all(torch.equal(moments[0][i]["exp_avg"], moments[1][i]["exp_avg"]) for i in moments[0])
    uninterrupted, resumed = losses(whole_run), losses(run)
    batches = 2 if "optim.accumulate=2" in recipe else 1  # curves count batches
    assert len(uninterrupted) == STEPS * batches
    after = [step for step in uninterrupted.index if step >= reached * batches]
    assert after
    for step in after:
        assert resumed[step][-1] == uninterrupted[step][-1]


def test_another_model_is_refused(tiny_train, tmp_path):
    done = tiny_train("trainer.max_steps=2", f"paths.runs={tmp_path / 'first'}")
    assert done.returncode == 0, done.stderr
    (checkpoint,) = tmp_path.rglob("last.ckpt")
    done = tiny_train(f"resume={checkpoint}", "model.vocab_size=64", f"paths.runs={tmp_path / 'second'}")
    assert done.returncode == 1
    assert "vocab_size: checkpoint 32, this run 64" in done.stderr
    assert "Traceback" not in done.stderr


def test_other_data_are_refused(tiny_train, tmp_path):
    done = tiny_train("trainer.max_steps=2", f"paths.runs={tmp_path / 'first'}")
    assert done.returncode == 0, done.stderr
    (checkpoint,) = tmp_path.rglob("last.ckpt")
    done = tiny_train(f"resume={checkpoint}", "seed=1", f"paths.runs={tmp_path / 'second'}")
    assert done.returncode == 1
    assert "other data" in done.stderr
    done = tiny_train(f"resume={checkpoint}", "trainer.max_steps=2", f"paths.runs={tmp_path / 'third'}")
    assert done.returncode == 1
    assert "nothing is left to train" in done.stderr
