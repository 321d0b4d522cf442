"""`python -m lfvar.evaluate generated=FOLDER`: the whole report on toys, and an outcome for all that is wrong."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from generated_folders import CLASSES, many, write_edits, write_folder
from lfvar.config import compose
from lfvar.data.generated import read_generated
from lfvar.data.manifest import Manifest
from lfvar.errors import ArtefactError, ConfigError, DataError
from lfvar.evaluate import evaluate
from lfvar.evaluation import feature_cache
from lfvar.measure.extract import measure
from lfvar.measure.schema import FEATURE_NAMES

REAL = many(96, seed=0)
LIGHT = ["num_bootstrap=20", "num_splits=3", "num_pairs=12", "measure.workers=1", "data.loader.val_batch_size=16"]


class Pooled(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = image.float() / 255
        return torch.cat([x.mean(dim=(2, 3)), x.std(dim=(2, 3))], dim=1)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    real = write_folder(folder / "real", REAL, splits=("train", "test"))
    tests = [index for index, row in enumerate(real.rows) if row.split == "test"]

    def asked(colour):
        lightness = float(np.dot(colour, (0.3, 0.59, 0.11)))
        return {"histogram_mean": lightness, "clinical_relative_area": 0.2}

    write_edits(folder / "generated", REAL, real, tests[:40], asked=asked)
    torch.jit.script(Pooled()).save(str(folder / "pooled.pt"))
    return folder


@pytest.fixture(scope="module")
def config(place):
    def run(*overrides, generated="generated", real="real", light=LIGHT):
        GlobalHydra.instance().clear()
        words = [f"generated={place / generated}", f"paths.runs={place / 'runs'}"]
        words += [f"real={place / real}"] if real else []
        words += [word for word in light if not ("~measure" in overrides and word.startswith("measure."))]
        return compose("evaluate", [*words, *overrides])

    return run


@pytest.fixture(scope="module")
def report(place, config):
    return evaluate(config(f"extractors=[measurements,{place / 'pooled.pt'}]", "seed=1"))


@pytest.fixture(scope="module")
def folder(report, place):
    (found,) = [path.parent for path in place.glob("runs/**/report.html")]
    return found


def test_counts_and_spaces(report):
    assert report.counts["generated"]["images"] == 40
    assert report.counts["real"]["images"] == report.counts["training"]["images"] == 48
    assert [entry.space for entry in report.spaces] == ["pooled", "measurements"]
    assert list(report.spaces[0].groups) == ["all", *CLASSES]
    rows = report.fidelity
    fd = rows[(rows["space"] == "pooled") & (rows["metric"] == "fd") & (rows["group"] == "all")].iloc[0]
    assert fd["title"] == "FD(pooled)"
    assert fd["num_matched"] == 24
    assert fd["floor"] > 0
    assert fd["low"] <= fd["value"] <= fd["high"]
    assert not any("FID" in title or title.startswith("KID") for title in rows["title"])


def test_control_measures_the_images_again(report, place):
    rows = report.control.set_index("feature")
    manifest = Manifest.read(place / "generated")
    details = read_generated(place / "generated")
    column = FEATURE_NAMES.index("histogram_mean")
    from lfvar.data.imageio import read_image, read_mask

    got = [
        measure(read_image(place / "generated" / r.image), read_mask(place / "generated" / r.mask)).values[column]
        for r in manifest.rows
    ]
    expected = pd.Series(got).corr(details["asked_histogram_mean"], method="spearman")
    assert rows.loc["histogram_mean", "spearman"] == pytest.approx(expected)
    assert expected > 0.9
    assert rows.loc["histogram_variance", "outcome"] == "not asked"
    assert rows.loc["clinical_relative_area", "outcome"] == "constant"


def test_background_before_and_after_compositing(report):
    background = report.background
    assert (background.num_edits, background.num_identical, len(background.raw_psnr_N)) == (40, 40, 40)
    assert np.median(background.raw_psnr_N) == pytest.approx(10 * np.log10(255**2 / 25), abs=0.2)


def test_memorisation_and_matrix(report):
    assert [found.space for found in report.memorisation] == ["pooled", "pixels inside the mask"]
    assert not report.memorisation[1].suspicious
    assert list(report.matrix.columns) == list(report.matrix.index) == list(CLASSES)
    assert np.isfinite(report.matrix.to_numpy()).any()
    assert report.matrix_title.startswith("KD(pooled)")
    assert len(report.images) == 40


def test_files(folder, report):
    plain = json.loads((folder / "report.json").read_text())
    assert plain["target"] == "generated"
    assert len(plain["fidelity"]) == 2 * 4 * 6
    assert plain["about"]["generated"]["command"] == "python -m lfvar.generate"
    assert plain["memorisation"][0]["share_near"] == report.memorisation[0].share_near
    page = (folder / "report.html").read_text()
    assert page.count("<img ") == len(re.findall(r'src="data:image/png;base64,[A-Za-z0-9+/=]{500,}"', page)) >= 7
    assert "http" not in page
    text = (folder / "report.md").read_text()
    for link in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (folder / link).is_file()
    for section in ("Findings", "Fidelity", "Variety", "Control", "Background", "Memorisation", "Notes"):
        assert f"## {section}" in text
        assert f"<h2>{section}</h2>" in page
    card = json.loads((folder / "run_card.json").read_text())
    assert card["result"]["status"] == "finished"
    assert card["result"]["metrics"]["fd/pooled"] == pytest.approx(report.headline["fd/pooled"])


def test_again_from_the_cache_gives_the_same(report, config, place, monkeypatch):
    def never(*arguments):
        raise AssertionError("embedded again")

    monkeypatch.setattr(feature_cache.ImageSet, "batches", never)
    from lfvar.evaluation.set_features import measure_set
    from lfvar.evaluation.sets import open_set

    images = open_set("generated", place / "generated", Manifest.read(place / "generated"))
    (extractor,), _ = find(place)
    vectors = feature_cache.embed_set(images, extractor, place / "generated" / "features")
    assert vectors.shape == (40, 6)
    monkeypatch.setattr("lfvar.measure.run.measure_in_worker", never, raising=False)
    from lfvar.measure.settings import MeasureSettings

    assert measure_set(images, MeasureSettings(), None, 1).shape == (40, len(FEATURE_NAMES))
    monkeypatch.undo()
    again = evaluate(config(f"extractors=[measurements,{place / 'pooled.pt'}]", "seed=1"))
    assert json.dumps(again.to_dict()) == json.dumps(report.to_dict())


def find(place):
    from lfvar.metrics.set_extractors import find_set_extractors

    return find_set_extractors([str(place / "pooled.pt")], torch.device("cpu"))


def test_a_killed_run_goes_on(place, tmp_path):
    from lfvar.evaluation.sets import open_set

    images = open_set("generated", place / "generated", Manifest.read(place / "generated"))
    (extractor,), _ = find(place)
    calls = []

    def dying(pixels):
        calls.append(len(pixels))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return extractor.embed(pixels)

    from dataclasses import replace

    with pytest.raises(KeyboardInterrupt):
        feature_cache.embed_set(images, replace(extractor, embed=dying), tmp_path, batch_size=8)
    calls.clear()
    calls += [0, 0, 0]
    whole = feature_cache.embed_set(images, replace(extractor, embed=dying), tmp_path, batch_size=8)
    assert sum(calls) == 40 - 16
    fresh = feature_cache.embed_set(images, extractor, tmp_path / "fresh", batch_size=40)
    assert np.array_equal(whole, fresh)


def test_real_against_itself_is_named_what_it_is(config):
    report = evaluate(config("generated_split=train", "extractors=[]", "num_pairs=0", generated="real"))
    assert report.control is None
    assert report.background is None
    assert report.memorisation[0].suspicious  # the training images as generated ones: all are copies
    assert report.memorisation[0].share_near == 1
    assert any("look at the pairs" in line for line in report.findings)
    assert report.spaces == []


def test_a_damaged_file_is_left_out_and_said(config, place):
    shutil.copytree(place / "generated", place / "damaged")
    image = next((place / "damaged" / "images").iterdir())
    image.write_bytes(image.read_bytes()[:100])
    report = evaluate(config("extractors=[]", "~measure", "num_pairs=0", generated="damaged"))
    assert report.counts["generated"] == {
        "images": 39, "left_out": 1, "types": report.counts["generated"]["types"]
    }  # fmt: skip
    assert any("left out" in note and "damaged" in note for note in report.notes)
    for other in list((place / "damaged" / "images").iterdir())[:6]:
        other.unlink(missing_ok=True)
    with pytest.raises(DataError, match="of 40 generated images"):
        evaluate(config("extractors=[]", "~measure", generated="damaged"))


def test_a_missing_type_and_two_images(config, place):
    write_folder(place / "two", many(2, seed=500, labels=("mel",)), name="two")
    report = evaluate(config(f"extractors=[{place / 'pooled.pt'}]", "~measure", generated="two"))
    rows = report.fidelity.set_index(["group", "metric"])
    assert rows.loc[("nv", "fd"), "warning"] == "no generated images"
    assert np.isnan(rows.loc[("nv", "fd"), "value"])
    assert rows.loc[("mel", "fd"), "num_generated"] == 2
    assert np.isfinite(rows.loc[("mel", "fd"), "value"])
    assert np.isnan(rows.loc[("all", "recall"), "value"])
    assert any("no generated images of type nv" in note for note in report.notes)
    assert any("other shares" in note for note in report.notes)


@pytest.mark.parametrize(
    ("overrides", "arguments", "error", "words"),
    [
        (["split=tset"], {}, ConfigError, "split=tset"),
        (["split=val"], {}, DataError, "no real images in the val split"),
        (["generated_split=some"], {}, ConfigError, "generated_split=some"),
        (["limit=-1"], {}, ConfigError, "limit=-1"),
        (["num_splits=0"], {}, ConfigError, "num_splits must be at least 1"),
        (["matrix=fid"], {}, ConfigError, "matrix must be one of"),
        (["image_size=128"], {}, ConfigError, "have 32 pixels"),
        (["extractors=[vgg]"], {}, ConfigError, "no extractor 'vgg'"),
        (["extractors=[absent.pt]"], {}, ArtefactError, "no TorchScript file at absent.pt"),
        (["extractors=[inception]", "inception_weights=absent.pth"], {}, ArtefactError, "no weights at absent.pth"),
        ([], {"generated": "nowhere"}, ArtefactError, "no manifest.parquet"),
        ([], {"real": "other_size"}, DataError, "generated images have 32 pixels a side, real ones 16"),
        ([], {"real": "other_types"}, DataError, "no type in common"),
        (["classifier=absent.ckpt"], {}, ArtefactError, "absent.ckpt"),
    ],
)
def test_mistakes_are_named(config, place, overrides, arguments, error, words):
    if not (place / "other_size").exists():
        write_folder(place / "other_size", many(6, size=16), size=16, splits=("test",))
        others = [("a", image, mask) for _, image, mask in many(6)]
        write_folder(place / "other_types", others, splits=("test",), classes=("a", "b"))
    with pytest.raises(error, match=words):
        evaluate(config("num_pairs=0", "~measure", *overrides, **arguments))


def test_check_starts_nothing(config, place, capsys):
    before = set(place.glob("runs/**/run_card.json"))
    assert evaluate(config("check=true")) is None
    assert Manifest.read(place / "generated").hash[:12] in capsys.readouterr().out
    assert set(place.glob("runs/**/run_card.json")) == before


def test_an_image_of_another_size_inside_a_folder(config, place):
    images = many(6, seed=900)
    write_folder(place / "mixed", [*images[:5], *many(1, seed=950, size=24)], splits=("test",))
    with pytest.raises(DataError, match=r"24×24.*the manifest says 32×32"):
        evaluate(config(f"extractors=[{place / 'pooled.pt'}]", "~measure", generated="mixed"))
