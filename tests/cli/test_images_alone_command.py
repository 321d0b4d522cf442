"""A plain folder of pictures, from the files to a trained tokenizer, and a second one that starts from it."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_settings import TINY

from lfvar.config import compose
from lfvar.interop.checkpoints import load_vqvae
from lfvar.prepare import measure, prepare
from lfvar.train import train

OVERRIDES = [override for override in TINY if not override.startswith("data.source")]


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "pictures/inner").mkdir(parents=True)
    for index in range(30):
        pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / ("inner" if index % 2 else ".") / f"{index}.jpg")
    return tmp_path / "pictures"


def test_measuring_is_skipped_with_a_word(pictures, tmp_path, capsys):
    cfg = compose(
        "prepare", ["data=images", f"data.root={pictures}", "image_size=16", f"paths.prepared={tmp_path}/prepared"]
    )
    manifest = prepare(cfg)
    assert measure(cfg, manifest) == []
    assert "the images have no masks" in capsys.readouterr().out
    assert not list((tmp_path / "prepared").rglob("*.sqlite"))


@pytest.mark.slow
def test_training_and_starting_from_what_was_trained(pictures, tmp_path):
    def run(*overrides):
        cfg = compose("train", [
            *OVERRIDES, "data=images", f"data.root={pictures}", f"paths.prepared={tmp_path}/prepared",
            f"paths.runs={tmp_path}/runs", "trainer.max_steps=6", "trainer.val_check_interval=3",
            "callbacks.best.monitor=val/psnr_all", *overrides,
        ])  # fmt: skip
        metrics = train(cfg)
        (checkpoint,) = tmp_path.glob(f"runs/vqvae/{cfg.name}/*/checkpoints/last.ckpt")
        return metrics, checkpoint

    metrics, first = run("name=first")
    assert all(np.isfinite(list(metrics.values())))
    assert "val/psnr_all" in metrics
    assert "val/psnr_inside" not in metrics
    assert metrics["val/psnr_all"] == metrics["val/psnr_outside"]

    _, second = run("name=second", "model.init=checkpoint", f"model.weights={first}", "model.train=decoder")
    before, after = load_vqvae(first), load_vqvae(second, "last")
    for part in ("encoder", "to_latent", "quantiser"):
        pairs = zip(getattr(before, part).parameters(), getattr(after, part).parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs), part
    average = load_vqvae(second)  # averaging what never changes changes nothing
    assert torch.equal(before.quantiser.codebook.weight, average.quantiser.codebook.weight)
    assert torch.equal(before.encoder.conv_in.weight, average.encoder.conv_in.weight)
    assert not torch.equal(before.decoder.conv_in.weight, after.decoder.conv_in.weight)
