"""From the command line to a workbench: checkpoints, data, the demo, what is missing."""

import json
import os
from dataclasses import replace

import pytest
from hydra.core.global_hydra import GlobalHydra
from tiny_settings import run_module

import lfvar.studio.__main__ as command
import lfvar.studio.demo as demo
from lfvar.config import compose
from lfvar.errors import ArtefactError, ConfigError
from lfvar.studio.explore import Explorer
from lfvar.studio.judge import draw_trials
from lfvar.studio.opening import open_workbench, warm_up
from lfvar.studio.refusal import Refusal
from lfvar.studio.request import JudgeRequest

DATA = ["data.source.num_images=70", "data.source.size=32", "data.split.val_fraction=0.3"]


@pytest.fixture
def cfg(studio_folder, workbench, tmp_path):
    def make(*overrides):
        GlobalHydra.instance().clear()
        words = [f"ckpt={studio_folder / 'transformer.ckpt'}", "device=cpu", f"paths.runs={tmp_path / 'runs'}"]
        return compose("studio", [*words, *overrides])

    return make


def test_the_command_as_it_is_typed(tmp_path):
    done = run_module("lfvar.studio", "check=true", cwd=tmp_path, fresh=True)
    assert done.returncode == 0, done.stderr
    assert "127.0.0.1" in done.stdout
    done = run_module("lfvar.studio", "limits.samples=0", "check=true", cwd=tmp_path)
    assert done.returncode != 0
    assert "samples" in done.stderr


def test_a_workbench_of_a_config(cfg, studio_folder, workbench):
    opened = open_workbench(cfg("image_size=16", *DATA, f"data.folder={studio_folder / 'phantom'}", "limits.samples=3"))
    assert opened.pool.manifest.hash == workbench.pool.manifest.hash
    assert opened.profiles is not None
    assert opened.limits.samples == 3
    assert opened.guidance.class_strength == 2
    warm_up(opened)


def test_the_data_of_the_run_are_shown_unless_others_are_named(cfg, studio_folder, workbench, tmp_path):
    folder = studio_folder / "phantom"
    trained = compose("prepare", ["image_size=16", *DATA, f"data.folder={folder}"])
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    os.symlink(studio_folder / "transformer.ckpt", run / "checkpoints" / "best.ckpt")
    from omegaconf import OmegaConf

    card = {"config": {"data": OmegaConf.to_container(trained.data, resolve=True)}}
    (run / "run_card.json").write_text(json.dumps(card))
    opened = open_workbench(cfg(f"ckpt={run}"))
    assert opened.pool.folder == folder
    assert len(opened.pool.manifest.rows) == len(workbench.pool.manifest.rows)


def test_without_prepared_images_it_works_on_files(cfg, tmp_path):
    opened = open_workbench(cfg(*DATA, f"data.folder={tmp_path / 'nothing'}"))
    assert opened.describe()["num_images"] == 0
    assert opened.pool.size == 16
    with pytest.raises(Refusal, match="not measured"):
        Explorer(opened).plane("pca")


def test_the_demo_is_found_or_trained_and_either_is_said(tmp_path, monkeypatch, capsys):
    assert demo.find_demo(tmp_path) is None
    commands = []

    def train(words, **settings):
        commands.append(words)
        for number, name in enumerate(("transformer-old", "transformer-new", "transformer-cut")):
            (tmp_path / name / "checkpoints").mkdir(parents=True)
            (tmp_path / name / "checkpoints" / "best.ckpt").touch()
            if name != "transformer-cut":
                (tmp_path / name / "step.json").touch()
                os.utime(tmp_path / name / "step.json", (number, number))
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(demo.subprocess, "run", train)
    assert demo.require_demo(tmp_path) == tmp_path / "transformer-new"
    assert "training it now" in capsys.readouterr().out
    assert demo.require_demo(tmp_path) == tmp_path / "transformer-new"
    assert "this is the demo model" in capsys.readouterr().out
    assert len(commands) == 1
    compose("pipeline", demo.demo_words(tmp_path)[2:])  # the command is right


def test_a_demo_that_cannot_be_trained_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(demo.subprocess, "run", lambda *a, **k: type("Done", (), {"returncode": 1}))
    with pytest.raises(ArtefactError, match="could not be trained"):
        demo.require_demo(tmp_path)


def test_the_extra_is_asked_for(cfg, monkeypatch):
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="starlette and uvicorn") as caught:
        command.studio(cfg())
    assert "lfvar[studio]" in caught.value.cure


def test_nonsense_is_refused_before_anything_is_loaded(cfg):
    for word, message in (("limits.samples=0", "samples"), ("weights=best", "weights"), ("batch_size=0", "batch_")):
        with pytest.raises(ConfigError, match=message):
            open_workbench(cfg(word))


def test_blind_tests_are_balanced_and_the_seed_decides(workbench):
    first, again, other = (draw_trials(workbench, JudgeRequest(trials=20, seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert sum(trial.truth == "real" for trial in first) == 10
    shown = {trial.image_id for trial in first if trial.truth == "real"}
    assert not shown & {trial.source for trial in first if trial.truth == "synthetic"}
    for label in workbench.pool.classes:
        real, synthetic = (
            sum(trial.truth == truth and trial.label == label for trial in first) for truth in ("real", "synthetic")
        )
        assert abs(real - synthetic) <= 1
    mel = draw_trials(workbench, JudgeRequest(trials=4, seed=0, label="mel"))
    assert {trial.label for trial in mel} == {"mel"}
    with pytest.raises(Refusal, match="needs 200 real images"):
        draw_trials(workbench, JudgeRequest(trials=200))


def test_a_blind_test_of_a_folder_shows_no_skin_twice(workbench):
    """Generated images lie in the folder of the real ones here: each skin has three."""
    rows = [row for row in workbench.pool.manifest.rows if row.lesion_fraction > 0]
    skins = [row.image_id for row in workbench.pool.with_lesion("test")]
    painted_on = {row.image_id: skins[number % len(skins)] for number, row in enumerate(rows)}
    over_folder = replace(workbench, generated=workbench.pool, painted_on=painted_on)
    half = len(skins) // 3
    trials = draw_trials(over_folder, JudgeRequest(trials=2 * half, seed=3))
    real = [trial.image_id for trial in trials if trial.truth == "real"]
    shown = [painted_on[trial.image_id] for trial in trials if trial.truth == "synthetic"]
    assert len({*real, *shown}) == 2 * half
    with pytest.raises(Refusal, match="on different skin"):
        draw_trials(over_folder, JudgeRequest(trials=2 * (len(skins) + 1)))
