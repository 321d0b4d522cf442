"""Two processes compute what one does."""

import json
import signal
import time

import pytest
import torch
from tiny_settings import TINY, run_module


def result(folder):
    (card,) = folder.rglob("run_card.json")
    return json.loads(card.read_text())["result"]


ADVERSARY = [
    "perceptual=structure",
    "loss.perceptual=0.5",
    "adversary=patchgan",
    "adversary.discriminator.channels=8",
    "adversary.discriminator.num_layers=1",
    "adversary.discriminator.stem_stride=1",
    "adversary.start_fraction=0.3",
    "adversary.lr=1e-4",
    "model.scale_gains=true",
]


RESTARTS = ["codebook.restart_below=1.0", "codebook.restart_every=2"]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [[], ADVERSARY, ["codebook.update=ema"]], ids=["plain", "adversary", "ema-codebook"])
def test_two_processes_equal_one(tiny_train, tmp_path, recipe):
    # Few steps: the first token that rounding sends to another code is the start of another run.
    steps = ["trainer.max_steps=3", "trainer.val_check_interval=3", *RESTARTS, *recipe]
    one, two = tmp_path / "one", tmp_path / "two"
    done = tiny_train(*steps, f"paths.runs={one}")
    assert done.returncode == 0, done.stderr
    done = tiny_train(*steps, "trainer=ddp_cpu", "trainer.precision=32-true", f"paths.runs={two}", ranks=2)
    assert done.returncode == 0, done.stderr
    alone, together = result(one)["metrics"], result(two)["metrics"]
    compared = [name for name in alone if name.startswith(("val/", "codebook/"))]
    assert len(compared) > 20
    for name in compared:
        # the same samples, images and gradients; only the order of float32 sums differs
        assert together[name] == pytest.approx(alone[name], rel=1e-4, abs=1e-4), name
    assert len(list(two.rglob("run_card.json"))) == 1
    assert len(list(two.rglob("last.ckpt"))) == 1


@pytest.mark.slow
def test_validation_of_the_same_weights_is_the_same_on_two_processes(tiny_train, tmp_path):
    """With weights that stand still the metrics agree to rounding: no image is counted twice or left out."""
    still = ["trainer.max_steps=1", "optim.lr=1e-30", "codebook.init_step=-1"]
    results = []
    for name, trainer in (("one", "cpu"), ("two", "ddp_cpu")):
        done = tiny_train(*still, f"trainer={trainer}", "trainer.precision=32-true", f"paths.runs={tmp_path / name}")
        assert done.returncode == 0, done.stderr
        results.append(result(tmp_path / name)["metrics"])
    compared = [name for name in results[0] if name.startswith(("val/", "codebook/"))]
    assert len(compared) > 20
    for name in compared:
        assert results[1][name] == pytest.approx(results[0][name], rel=1e-5, abs=1e-6), name


def test_a_batch_that_does_not_divide_is_named(tiny_train):
    done = tiny_train("trainer=ddp_cpu", "data.loader.batch_size=7", ranks=2)
    assert done.returncode == 1
    assert "batch_size=7" in done.stderr
    assert "2 processes" in done.stderr


@pytest.mark.slow
def test_torchrun_starts_one_run_and_its_sigterm_saves_it(prepared_root, tmp_path):
    """As documented; SIGTERM goes to torchrun, as from a scheduler, and from there to all ranks."""
    command = [*TINY, "trainer=ddp_cpu", "trainer.precision=32-true", "trainer.max_steps=100000", "callbacks.grid=null"]
    process = run_module(
        "torch.distributed.run", "--nproc-per-node=2", "-m", "lfvar.train", *command,
        "trainer.val_check_interval=1000", f"paths.prepared={prepared_root}", cwd=tmp_path, wait=False,
    )  # fmt: skip
    while not list(tmp_path.rglob("metrics.csv")):
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=120)[1].decode()
    assert "stopped by SIGTERM, after step" in said
    (run,) = tmp_path.glob("runs/vqvae/phantom/*")
    assert json.loads((run / "run_card.json").read_text())["result"]["status"] == "interrupted"
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert f"after step {checkpoint['global_step']}, which" in said


@pytest.mark.slow
def test_processes_restart_the_same_codes(tiny_train, tmp_path):
    done = tiny_train(
        "model.scale_gains=true", *RESTARTS,
        "trainer.max_steps=9", "trainer=ddp_cpu", "trainer.precision=32-true", f"paths.runs={tmp_path}",
        "+callbacks.same._target_=same_weights.SameWeights", ranks=2,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("same codes on 2 processes") == 9
