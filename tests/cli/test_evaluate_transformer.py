"""`python -m lfvar.evaluate target=transformer` as people type it, with random weights."""

import json
import math

import pandas as pd
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from tests.generation_examples import save_models
from tests.unit.data.measured_phantom import measure_copy

from lfvar.config import compose
from lfvar.data.imageio import read_image
from lfvar.errors import ArtefactError, ConfigError, DataError
from lfvar.evaluate import evaluate
from lfvar.interop.checkpoints import describe_checkpoint
from lfvar.interop.classifiers import describe_classifier
from lfvar.nn.classifier import Classifier, ClassifierConfig
from lfvar.nn.segmenter import Segmenter, SegmenterConfig

DATA = ["image_size=16", "data.source.num_images=70", "data.source.size=32", "data.split.val_fraction=0.3"]
CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")


def save_judges(folder):
    segmenter = SegmenterConfig(image_size=16, channels=8)
    classifier = ClassifierConfig(image_size=16, channels=8, num_classes=len(CLASSES))
    for name, net, about in (
        ("segmenter", Segmenter(segmenter), describe_checkpoint("segmenter", segmenter)),
        ("classifier", Classifier(classifier), describe_classifier(classifier, CLASSES)),
    ):
        state = {f"net.{key}": tensor for key, tensor in net.state_dict().items()}
        torch.save({"lfvar": about, "state_dict": state, "global_step": 1}, folder / f"{name}.ckpt")


@pytest.fixture(scope="module")
def place(phantom_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("steering")
    measure_copy(phantom_folder, folder / "phantom")
    save_models(folder, folder / "phantom")
    save_judges(folder)
    return folder


@pytest.fixture
def run(place, tmp_path):
    def start(*overrides):
        GlobalHydra.instance().clear()
        words = [*DATA, f"data.folder={place / 'phantom'}", f"ckpt={place / 'transformer.ckpt'}", "device=cpu"]
        words += [f"paths.runs={tmp_path / 'runs'}", "target=transformer", "measure.workers=1", "split=val"]
        return evaluate(compose("evaluate", [*words, *overrides]))

    return start


def test_the_report_holds_every_setting_and_is_written(run, place, tmp_path):
    judges = [f"segmenter={place / 'segmenter.ckpt'}", f"classifier={place / 'classifier.ckpt'}"]
    report = run("guidance=[[0,0],[2,1]]", "samples=9", *judges)
    settings = report.rows
    tasks = ("edit", "transplant", "placed", "whole")
    assert list(settings["task"]) == [task for task, rows in zip(tasks, (7, 7, 5, 5), strict=True) for _ in range(rows)]
    assert list(settings["told"][:7]) == ["all", "all", "relative", "relative", "type", "nothing", "type"]
    assert list(settings["class_strength"][4:7]) == [0, 0, 2]
    assert set(report.ceilings) == {"tokenizer", "segmenter", "tokenizer, segmenter"}
    assert (settings["images"] == 9).all()
    assert set(report.tokens) == {"all", "type", "nothing"}
    # random weights with a small head know nothing: every code is about as likely as any other
    assert report.tokens["all"]["loss"] == pytest.approx(math.log(64), rel=0.2)
    assert settings["type_agreement"].between(0, 1).all()
    folder = next((tmp_path / "runs").rglob("report.json")).parent
    assert json.loads((folder / "report.json").read_text())["settings"][0]["task"] == "edit"
    assert len(pd.read_csv(folder / "features.csv")) == 24 * 120
    assert "| edit | all | 2 / 1 |" in (folder / "report.md").read_text()
    assert "| ceiling: tokenizer, segmenter |" in (folder / "report.md").read_text()
    for task in tasks:
        assert read_image(folder / f"{task}.png").shape[2] == 3


def test_without_judges_edits_are_still_measured_and_the_rest_is_said(run):
    report = run("guidance=[[0,0]]", "samples=5")
    assert set(report.ceilings) == {"tokenizer"}
    assert set(report.rows["task"]) == {"edit"}
    assert report.rows["type_agreement"].isna().all()
    assert any("segmenter" in note for note in report.notes)
    assert any("classifier" in note for note in report.notes)


def test_two_processes_make_what_one_makes(run, place):
    words = ["guidance=[[1,1]]", "samples=5", "tasks=[transplant]", f"segmenter={place / 'segmenter.ckpt'}"]
    one, two = run(*words), run(*words, "processes=2")
    assert len(one.steered) == len(two.steered) == 5
    for alone, shared in zip(one.steered, two.steered, strict=True):
        assert (alone.raw_NHWC == shared.raw_NHWC).all()
        assert (alone.image_NHWC == shared.image_NHWC).all()
    pd.testing.assert_frame_equal(one.features, two.features)


def test_what_does_not_fit_is_an_error(run):
    with pytest.raises(ConfigError, match="list of pairs"):
        run("guidance=[[1,2,3]]")
    with pytest.raises(ConfigError, match="processes=0"):
        run("processes=0")
    with pytest.raises(ConfigError, match="names everywhere"):
        run("tasks=[edit,everywhere]")
    with pytest.raises(ConfigError, match="ckpt is not set"):
        run("ckpt=null")
    with pytest.raises(ConfigError, match="samples=-1"):
        run("samples=-1")
    with pytest.raises(DataError, match="fewer than two lesions"):
        run("limit=1")


def test_a_judge_that_is_missing_is_found_before_anything_is_written(run, tmp_path):
    with pytest.raises(ArtefactError, match="nowhere"):
        run("classifier=nowhere.ckpt")
    assert not list(tmp_path.rglob("run_card.json"))
