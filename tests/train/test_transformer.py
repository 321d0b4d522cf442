"""The transformer through the real commands: tokens, training from cache and images, two processes, kill and resume."""

import json
import signal
import time

import pandas as pd
import pytest
import torch
from tiny_settings import TINY, run_module

DATA = [a for a in TINY if a.startswith(("image_size", "data.source", "data.split"))]
VAR_TINY = [
    "experiment=var",
    "condition=skin",
    *DATA,
    "model.depth=2",
    "model.width=32",
    "model.num_heads=2",
    "model.patch_nums=[1,2]",
    "model.vocab_size=32",
    "model.latent_channels=4",
    "model.measurement_width=4",
    "data.loader.batch_size=8",
    "data.loader.num_workers=0",
    "trainer=cpu",
    "trainer.precision=32-true",
    "trainer.max_steps=8",
    "trainer.val_check_interval=4",
    "trainer.log_every_n_steps=1",
    "callbacks.grid.num_samples=1",
]


@pytest.fixture(scope="module")
def tokenizer(prepared_root, tmp_path_factory):
    """A tokenizer of two steps, and the cache of its tokens."""
    root = tmp_path_factory.mktemp("tokenizer")
    done = run_module("lfvar.train", *TINY, "trainer.max_steps=6", f"paths.prepared={prepared_root}", cwd=root)
    assert done.returncode == 0, done.stderr
    (checkpoint,) = root.rglob("last.ckpt")
    where = f"paths.prepared={prepared_root}"
    done = run_module("lfvar.prepare", "stage=tokens", f"ckpt={checkpoint}", *DATA, where, cwd=root)
    assert done.returncode == 0, done.stderr
    return checkpoint


@pytest.fixture
def train_var(prepared_root, tokenizer, tmp_path):
    def train(*overrides, **options):
        arguments = [*VAR_TINY, f"tokenizer={tokenizer}", f"paths.prepared={prepared_root}", *overrides]
        return run_module("lfvar.train", *arguments, cwd=tmp_path, **options)

    return train


def losses(run):
    tables = [pd.read_csv(path) for path in sorted(run.glob("csv/*/metrics.csv"))]
    logged = pd.concat(tables).dropna(subset=["train/loss"])
    return logged.groupby("step")["train/loss"].agg(list)


def metrics(folder):
    (card,) = folder.rglob("run_card.json")
    return json.loads(card.read_text())["result"]["metrics"]


@pytest.mark.slow
def test_cache_images_and_two_processes_train_the_same(train_var, tmp_path):
    runs = {"cached": [], "images": ["tokens=off"], "two": ["trainer=ddp_cpu", "trainer.precision=32-true"]}
    for name, overrides in runs.items():
        done = train_var(*overrides, f"paths.runs={tmp_path / name}", fresh=name == "cached")
        assert done.returncode == 0, done.stderr
    (cached_run,) = (tmp_path / "cached").glob("var/*/*")
    (images_run,) = (tmp_path / "images").glob("var/*/*")
    assert losses(cached_run).tolist() == losses(images_run).tolist()
    assert (cached_run / "pictures/latest.png").is_file()
    alone, together = metrics(tmp_path / "cached"), metrics(tmp_path / "two")
    compared = [name for name in alone if name.startswith("val/")]
    assert {"val/loss", "val/accuracy", "val/loss_without_measurements"} <= set(compared)
    for name in compared:
        assert together[name] == pytest.approx(alone[name], rel=2e-3, abs=2e-3), name


@pytest.mark.slow
def test_a_killed_transformer_resumes_exactly(train_var, tmp_path):
    common = ["trainer.max_steps=40", "callbacks.last.every_n_train_steps=5", "model.dropout=0.1", "~callbacks.grid"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = train_var(*common, f"paths.runs={whole}")
    assert done.returncode == 0, done.stderr
    process = train_var(*common, f"paths.runs={killed}", wait=False)
    while not (found := list(killed.rglob("last.ckpt"))):
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = torch.load(found[0], weights_only=True)["global_step"]
    assert 0 < reached < 40
    run = found[0].parents[1]
    done = run_module("lfvar.train", f"resume={run}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (whole_run,) = whole.glob("var/*/*")
    a, b = (torch.load(r / "checkpoints/last.ckpt", weights_only=True) for r in (whole_run, run))
    assert all(torch.equal(a["state_dict"][name], b["state_dict"][name]) for name in a["state_dict"])
    assert all(torch.equal(a["ema"]["weights"][name], b["ema"]["weights"][name]) for name in a["ema"]["weights"])
    assert not any(name.startswith("tokenizer") for name in a["state_dict"])
    for step, values in losses(whole_run).items():
        if step >= reached:
            assert losses(run)[step][-1] == values[-1]


def test_a_transformer_needs_a_tokenizer(train_var, tokenizer, tmp_path):
    done = train_var("tokenizer=null")
    assert done.returncode == 1
    assert "set tokenizer=PATH" in done.stderr
    done = train_var("tokens=elsewhere")
    assert done.returncode == 1
    assert f"ckpt={tokenizer}" in done.stderr
    assert "Traceback" not in done.stderr
