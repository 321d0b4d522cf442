"""The classifier through the real command: a run, its card and table, and the sweep over training images."""

import json
import shutil

import pytest
from tiny_settings import TINY, run_module

from lfvar.data.manifest import Manifest
from lfvar.interop.classifiers import load_classifier

DATA = [a for a in TINY if a.startswith(("image_size", "data.source", "data.split"))]
CLASSIFIER_TINY = [
    "experiment=classifier",
    *DATA,
    "model.channels=8",
    "model.channel_multipliers=[1,2]",
    "data.loader.batch_size=8",
    "data.loader.num_workers=0",
    "trainer=cpu",
    "trainer.precision=32-true",
    "trainer.max_steps=2",
    "trainer.val_check_interval=2",
    "logger=csv",
]


@pytest.fixture
def train_classifier(prepared_root, tmp_path):
    def train(*overrides):
        arguments = [*CLASSIFIER_TINY, f"paths.prepared={prepared_root}", *overrides]
        return run_module("lfvar.train", *arguments, cwd=tmp_path)

    return train


def test_a_run_scores_the_test_split(train_classifier, tmp_path):
    done = train_classifier()
    assert done.returncode == 0, done.stderr
    assert "95 % of test" in done.stdout
    (card,) = tmp_path.rglob("run_card.json")
    metrics = json.loads(card.read_text())["result"]["metrics"]
    assert {"val/balanced_accuracy", "test/balanced_accuracy", "test/macro_auc_low"} <= metrics.keys()
    (best,) = tmp_path.rglob("best.ckpt")
    assert load_classifier(best).image_size == 16


def test_generated_images_must_be_there(train_classifier):
    done = train_classifier("train_on=both")
    assert done.returncode == 1
    assert "synthetic=FOLDER" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_sweep_prints_its_table(train_classifier, prepared_root, tmp_path):
    (prepared,) = prepared_root.glob("phantom-*")
    made = tmp_path / "made"  # stands in for a generated folder: the training images themselves
    shutil.copytree(prepared, made)
    manifest = Manifest.read(prepared)
    Manifest(manifest.header, tuple(manifest.select("train"))).write(made)
    done = train_classifier("-m", "sweep=usefulness", "train_on=real,both", "seed=0", f"synthetic={made}")
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith(("| real |", "| both |"))]
    assert [row.split("|")[2].strip() for row in rows] == ["1", "1"]
    (table,) = tmp_path.rglob("usefulness.md")
    assert all(row in table.read_text() for row in rows)
