"""The command as people type it: what it leaves, and what it says when something is wrong."""

import json
import signal
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_settings import TINY

from lfvar.config import compose, run_folder
from lfvar.errors import ConfigError, LfvarError
from lfvar.interop.checkpoints import load_vqvae
from lfvar.stages import build_tokenizer_module
from lfvar.train import train


def test_a_run_leaves_what_it_says(tiny_train, tmp_path):
    done = tiny_train("trainer.max_steps=7")
    assert done.returncode == 0, done.stderr
    (run,) = tmp_path.glob("runs/vqvae/phantom/*")
    card = json.loads((run / "run_card.json").read_text())
    assert card["result"]["status"] == "finished"
    assert card["seed"] == 0
    assert len(card["data"]["manifest"]) == 64
    assert {"val/psnr_inside", "val/psnr_outside", "codebook/usage_2x2"} <= card["result"]["metrics"].keys()
    for name, path in card["result"]["files"].items():
        assert str(Path(path).relative_to(tmp_path)) in done.stdout, name  # in one line, to be copied
    assert {"best checkpoint", "last checkpoint", "picture", "curves", "run card"} == card["result"]["files"].keys()
    with Image.open(run / "pictures" / "latest.png") as picture:
        assert picture.width > 5 * 128
    net = load_vqvae(run / "checkpoints" / "last.ckpt")
    image = torch.zeros(1, 3, 16, 16)
    assert net.decode_ids(net.encode_ids(image)).shape == image.shape
    last = load_vqvae(run / "checkpoints" / "last.ckpt", weights="last")
    assert not torch.equal(net.decoder.conv_in.weight, last.decoder.conv_in.weight)  # the average is another net


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optim.lrr=1", ["lrr", "lr"]),
        ("optim.lr=fast", ["optim.lr", "fast"]),
        ("+model.vocab=64", ["vocab", "vocab_size"]),
        ("model.patch_nums=[2,1]", ["grow strictly"]),
        ("image_size=24", ["patch_nums", "image_size"]),
        ("experiment=vqvea", ["vqvea", "vqvae"]),
        ("data.loader.augment=colour", ["augment", "colour"]),
    ],
)
def test_mistakes_are_found_before_anything_starts(override, words):
    with pytest.raises(ConfigError) as caught:
        compose("train", [*TINY, override])
    for word in words:
        assert word in str(caught.value)


def test_the_command_says_it_in_two_lines(tiny_train, tmp_path):
    done = tiny_train("optim.lrr=1")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 2
    assert not list(tmp_path.rglob("run_card.json"))


@pytest.mark.parametrize(("root", "words"), [("absent", "absent"), (None, "data.root")])
def test_a_missing_dataset_is_named(tmp_path, root, words):
    overrides = ["experiment=vqvae", "data=ham10000", f"paths.prepared={tmp_path}", f"paths.runs={tmp_path}/runs"]
    with pytest.raises(LfvarError, match=words):
        train(compose("train", [*overrides, f"data.root={tmp_path / root}"] if root else overrides))
    assert not (tmp_path / "runs").exists()


def test_check_starts_nothing(tiny_train, tmp_path):
    done = tiny_train("check=true")
    assert done.returncode == 0, done.stderr
    assert "vocab_size" in done.stdout
    assert not list(tmp_path.rglob("run_card.json"))


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (signal.SIGINT, 130, "goes on from the last checkpoint"),
        (signal.SIGTERM, 143, "stopped by SIGTERM, after step"),
    ],
)
def test_a_signal_saves(tiny_train, tmp_path, number, code, words):
    process = tiny_train("trainer.max_steps=100000", "trainer.val_check_interval=1000", wait=False)
    while not list(tmp_path.rglob("metrics.csv")):
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.02)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == code
    assert words in said
    assert "Traceback" not in said
    (checkpoint,) = tmp_path.rglob("last.ckpt")
    assert torch.load(checkpoint, weights_only=True)["global_step"] > 0
    (card,) = tmp_path.rglob("run_card.json")
    assert json.loads(card.read_text())["result"]["status"] == "interrupted"


@pytest.mark.parametrize(
    ("debug", "words"),
    [("default", "PSNR"), ("overfit", "trained 6 steps"), ("limit", "PSNR"), ("profile", "Profiler Report")],
)
def test_debug_groups_run(tiny_train, debug, words):
    done = tiny_train(f"debug={debug}", *(["trainer.max_steps=6"] if debug != "limit" else []))
    assert done.returncode == 0, done.stderr
    assert words in done.stdout + done.stderr


def test_a_composed_config_is_one_run(prepared_root, tmp_path):
    """Outside the command, as in a notebook: everything of a run lies in one folder, and the next run in another."""
    overrides = [*TINY, f"paths.prepared={prepared_root}", f"paths.runs={tmp_path}", "trainer.max_steps=2"]
    first, second = compose("train", overrides), compose("train", overrides)
    assert run_folder(first) != run_folder(second)
    metrics = train(first)
    assert metrics["val/psnr_inside"] > 0
    (run,) = tmp_path.glob("vqvae/phantom/*")
    assert {"run_card.json", "checkpoints", "pictures", "csv"} <= {path.name for path in run.iterdir()}


def test_the_codebook_starts_once_however_long_the_run_becomes(tiny_train, tmp_path):
    done = tiny_train("trainer.max_steps=8", "codebook.init_step=20", f"paths.runs={tmp_path / 'a'}")
    assert done.returncode == 0, done.stderr
    (checkpoint,) = (tmp_path / "a").rglob("last.ckpt")
    assert torch.load(checkpoint, weights_only=True)["lfvar"]["codebook_started"]
    cfg = compose("train", [*TINY, "codebook.init_step=20"])
    module = build_tokenizer_module(cfg)
    module.on_load_checkpoint(torch.load(checkpoint, weights_only=True))
    assert module.care.started
