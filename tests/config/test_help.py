"""`--help`: one screen, the command's own examples, which are true, and groups that it takes."""

import shlex

import pytest

from lfvar.config import compose, conf_folder
from lfvar.config.help import HELP, WIDTH, render_help


@pytest.mark.parametrize("command", HELP)
def test_help_fits_a_screen(command):
    lines = render_help(command, conf_folder()).splitlines()
    assert 10 < len(lines) <= 40
    assert max(map(len, lines)) <= WIDTH


def test_every_command_has_one():
    commands = {path.stem for path in conf_folder().glob("*.yaml")}
    assert set(HELP) == commands


@pytest.mark.parametrize(("command", "words"), [(c, words) for c, page in HELP.items() for words, _ in page.examples])
def test_examples_compose(command, words):
    overrides = [word for word in shlex.split(words) if word != "-m" and not word.startswith("resume=")]
    overrides = [word.split(",")[0] if word.startswith("loss=") else word for word in overrides]
    needs_experiment = command in ("train", "pipeline") and not any("experiment=" in word for word in overrides)
    compose(command, [*overrides, *(["experiment=vqvae"] if needs_experiment else [])])


def test_only_what_the_command_takes_is_listed(tmp_path):
    assert "experiment: demo, ham10000" in render_help("pipeline", conf_folder())
    train = render_help("train", conf_folder())
    assert "vqvae_finetune" in train
    assert "demo" not in train.partition("Groups")[2].partition("experiment: ")[2]
    assert "optim:" not in render_help("generate", conf_folder())
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("seed: 1\n")
    assert "mine" in render_help("train", conf_folder(), ["--config-dir", str(tmp_path), "--help"])
