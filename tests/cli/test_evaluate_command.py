"""Stage 4 as people type it: a report on a tokenizer, and what is said when there can be none."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from PIL import Image
from tiny_settings import run_module

from lfvar.config import compose
from lfvar.data.manifest import Manifest
from lfvar.errors import ArtefactError, ConfigError, DataError
from lfvar.evaluate import evaluate
from lfvar.evaluation.common import DEFAULT_IMAGE_SIZE, split_dataset
from lfvar.interop.checkpoints import describe_checkpoint
from lfvar.nn.vqvae import VQVAE, VQVAEConfig

DATA = ["data.source.num_images=60", "data.source.size=40", "data.split.val_fraction=0.3", "data.prepare.workers=1"]
LIGHT = ["distances=[structure]", "extractors=[measurements]"]  # the same with the extra lite as without
BARE = ["~measure", "distances=[]", "extractors=[]", "num_pictures=0"]
SIZES = VQVAEConfig(8, (1, 2), 1, 4, 16, (1, 2, 4), stem_stride=4)  # 32 px


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a tiny untrained checkpoint, `tiny.ckpt`."""
    folder = tmp_path_factory.mktemp("evaluate")
    torch.manual_seed(0)
    net = VQVAE(SIZES)
    torch.save(
        {
            "lfvar": describe_checkpoint("vqvae", SIZES),
            "state_dict": {f"net.{name}": tensor for name, tensor in net.state_dict().items()},
            "global_step": 3,
            "LesionDataModule": {"manifest_hash": "0" * 64},
        },
        folder / "tiny.ckpt",
    )
    return folder


@pytest.fixture(scope="module")
def config(place):
    """Compose in this process, in the same folders as the command's."""

    def run(*overrides, target="tokenizer", ckpt=place / "tiny.ckpt"):
        GlobalHydra.instance().clear()
        words = [f"target={target}"] if target else []
        words += [f"ckpt={ckpt}"] if ckpt else []
        folders = [f"paths.prepared={place / 'prepared'}", f"paths.runs={place / 'runs'}"]
        return compose("evaluate", [*words, *DATA, *folders, *overrides])

    return run


@pytest.fixture(scope="module")
def finished(place):
    """The command, typed once on a machine where nothing is prepared."""
    words = ["target=tokenizer", f"ckpt={place / 'tiny.ckpt'}", *DATA, "split=val", *LIGHT]
    done = run_module("lfvar.evaluate", *words, "num_pictures=3", cwd=place, fresh=True)
    assert done.returncode == 0, done.stderr
    (folder,) = place.glob("runs/evaluate/phantom/*")
    return done, folder


@pytest.mark.slow
def test_a_report_and_all_that_belongs_to_it(finished):
    done, folder = finished
    report = json.loads((folder / "report.json").read_text())
    assert report["about"]["data"]["image_size"] == 32  # of the checkpoint, not the default
    assert report["about"]["checkpoint"]["step"] == 3
    assert report["counts"]["images"] == len(pd.read_csv(folder / "images.csv")) > 10
    assert {entry["extractor"] for entry in report["frechet"]} >= {"measurements"}
    assert report["preservation"]["reconstruction"]["shape"]["spearman_median"] == pytest.approx(1)
    assert any("trained on another manifest" in note for note in report["notes"])
    card = json.loads((folder / "run_card.json").read_text())
    assert card["result"]["status"] == "finished"
    assert card["data"]["checkpoint"] == report["about"]["checkpoint"]["sha256"]
    assert card["data"]["manifest"] == report["about"]["data"]["manifest_hash"]
    assert card["config"]["image_size"] == 32
    psnr = report["quality"]["reconstruction"]["psnr"]["inside"]["mean"]
    assert card["result"]["metrics"]["psnr_inside"] == pytest.approx(psnr)
    assert f"{psnr:.2f}" in done.stdout
    for name, path in card["result"]["files"].items():
        assert os.path.isfile(path), name
        assert os.path.relpath(path, folder.parents[3]) in done.stdout, name
    with Image.open(folder / "pictures" / "reconstructions.png") as picture:
        assert picture.height > 3 * 128


@pytest.mark.slow
def test_the_same_command_gives_the_same_numbers(finished, config):
    _, folder = finished
    report = evaluate(config("split=val", *LIGHT, "num_pictures=0"))
    assert json.dumps(report.to_dict(), sort_keys=True) == json.dumps(
        json.loads((folder / "report.json").read_text()), sort_keys=True
    )


@pytest.mark.slow
def test_parts_can_be_left_out(config):
    report = evaluate(config("split=train", "limit=7", *BARE))
    assert report.counts["images"] == 7
    assert report.frechet == []
    assert report.preservation == {}
    assert "structure" not in report.quality["reconstruction"]
    assert any("these are training images" in note for note in report.notes)


@pytest.mark.slow
def test_limits_spread_over_the_split(finished, config):
    cfg = config("limit=4", "split=val")
    cfg.image_size = 32
    manifest = Manifest.read(Path(cfg.data.folder))
    rows = manifest.select("val")
    picked = split_dataset(cfg, manifest).rows
    assert [picked[0], picked[-1]] == [rows[0], rows[-1]]
    assert len({row.image_id for row in picked}) == 4
    with pytest.raises(DataError, match="1 images"):
        evaluate(config("limit=1", "split=val", *BARE))
    bare = Manifest(manifest.header, tuple(row for row in manifest.rows if row.split != "test"))
    with pytest.raises(DataError, match="no images in the test split"):
        split_dataset(config(), bare)


@pytest.mark.slow
def test_check_starts_nothing(place, config, capsys):
    runs = set(place.rglob("run_card.json"))
    assert evaluate(config("check=true")) is None
    assert "tiny.ckpt" in capsys.readouterr().out
    assert set(place.rglob("run_card.json")) == runs


@pytest.mark.slow
def test_published_weights_with_their_schedule(place, config):
    sizes = VQVAEConfig(8, (1, 2), 1, 4, 16, (1, 2, 4))
    torch.manual_seed(1)
    net = VQVAE(sizes)
    torch.save(dict(net.state_dict()), place / "published.pth")  # our names pass through the translation untouched
    small = ["split=val", "limit=4", "patch_nums=[1,2,4]", *BARE]
    report = evaluate(config(*small, ckpt=place / "published.pth"))
    assert report.about["checkpoint"]["kind"] == "published"
    assert report.about["model"]["image_size"] == 8
    assert any("does not say which images" in note for note in report.notes)


@pytest.mark.slow
def test_images_without_masks_have_a_report_too(place, config, tmp_path):
    generator = np.random.default_rng(0)
    for index in range(24):
        pixels = generator.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    words = ["target=tokenizer", f"ckpt={place / 'tiny.ckpt'}", "data=images", f"data.root={tmp_path}", *LIGHT]
    cfg = compose("evaluate", [*words, f"paths.prepared={tmp_path}/prepared", f"paths.runs={tmp_path}/runs"])
    report = evaluate(cfg)
    assert report.counts["without_lesion"] == report.counts["images"] > 1
    assert report.quality["reconstruction"]["psnr"]["inside"]["count"] == 0
    assert report.headline["psnr_all"] == report.headline["psnr_outside"]
    assert any("nothing was measured" in note for note in report.notes)
    assert len(list(tmp_path.glob("runs/evaluate/images/*/pictures/reconstructions.png"))) == 1


@pytest.mark.parametrize(
    ("overrides", "arguments", "error", "words"),
    [
        ([], {"target": None}, ConfigError, "target is not set"),
        ([], {"target": "classifier"}, ConfigError, "target=classifier"),
        ([], {"ckpt": None}, ConfigError, "ckpt is not set"),
        ([], {"ckpt": "absent.ckpt"}, ArtefactError, "no checkpoint at absent.ckpt"),
        ([], {"ckpt": "absent.pth"}, ArtefactError, "no checkpoint at absent.pth"),
        (["image_size=128"], {}, ConfigError, "takes 32 pixels"),
        (["weights=best"], {}, ConfigError, "weights=best"),
        (["split=all"], {}, ConfigError, "split=all"),
        (["limit=-1"], {}, ConfigError, "limit=-1"),
        (["num_splits=0"], {}, ConfigError, "num_splits=0"),
        (["device=abacus"], {}, ConfigError, "device=abacus"),
        (["extractors=[inception]"], {}, ConfigError, "no extractor 'inception'"),
        (["distances=[lpips]"], {}, ConfigError, "no perceptual distance 'lpips'"),
        (["patch_nums=[1,2]"], {}, ConfigError, "stores its own schedule"),
    ],
)
def test_mistakes_are_named_before_anything_starts(config, place, overrides, arguments, error, words):
    runs = set(place.rglob("run_card.json"))
    with pytest.raises(error, match=words):
        evaluate(config(*overrides, **arguments))
    assert set(place.rglob("run_card.json")) == runs


def test_a_checkpoint_of_another_kind_is_named(place, config):
    torch.save({"lfvar": describe_checkpoint("var", SIZES)}, place / "var.ckpt")
    with pytest.raises(ArtefactError, match="holds a var"):
        evaluate(config(ckpt=place / "var.ckpt"))
    torch.save({"fc.weight": torch.zeros(2, 2)}, place / "other.pth")
    with pytest.raises(ArtefactError, match="not a published tokenizer"):
        evaluate(config("patch_nums=[1,2]", ckpt=place / "other.pth"))


def test_prepared_data_of_another_size_are_named(place, config, phantom_folder):
    with pytest.raises(ArtefactError, match="image_size is 16 there and 32 here"):
        evaluate(config(f"data.folder={phantom_folder}"))


def test_a_misspelt_setting_is_an_error(config):
    with pytest.raises(ConfigError, match="splitt"):
        config("splitt=val")


def test_the_default_size_is_the_one_in_the_yaml(config):
    assert config().image_size == DEFAULT_IMAGE_SIZE
