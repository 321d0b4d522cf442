"""The command frame: messages, exit codes, environment, speed. Everything through `python -m`."""

import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lfvar.config import command


@pytest.fixture
def tiny_here(tiny_conf, tmp_path, monkeypatch):
    """Run a command in this process: fourteen starts of Python would take ten seconds."""

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["tiny_train.py", *arguments])
        return command("train", config_folder=tiny_conf)(lambda cfg: None)()

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "project"))
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield run
    root.handlers[:], root.level = handlers, level


def test_help_answers_at_once_fits_a_screen_and_leads_on(tiny):
    started = time.perf_counter()
    done = tiny("--help", fresh=True)
    seconds = time.perf_counter() - started
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) < 40
    assert all(len(line) < 120 for line in lines)
    assert "python -m lfvar.train" in done.stdout  # the page goes by the config, whatever program asks
    assert "experiment: misspelt_deep, misspelt_root, vqvae" in done.stdout
    assert "lfvar.doctor" in done.stdout
    assert seconds < 2.5


def test_nothing_heavy_is_imported_by_the_config_package(clean_environment):
    code = "import lfvar.config, sys; print([m for m in ('torch', 'lightning', 'albumentations') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], env=clean_environment, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_run_gets_its_folder_and_a_quiet_environment(tiny, facts, tmp_path):
    (found,) = facts(tiny("experiment=vqvae"))
    assert found["folder"].startswith(str(tmp_path / "runs" / "vqvae" / "phantom") + "/")
    assert found["environment"] == {"NO_ALBUMENTATIONS_UPDATE": "1", "WANDB_MODE": "offline"}
    (found,) = facts(tiny("experiment=vqvae", "paths.runs=elsewhere", WANDB_MODE="online"))
    assert found["folder"].startswith(str(tmp_path / "elsewhere" / "vqvae"))
    assert found["environment"]["WANDB_MODE"] == "online"


@pytest.mark.parametrize(
    ("arguments", "found", "cure"),
    [
        ((), "stage is not set", "experiment=vqvae"),
        (("experiment=vqva",), "there is no experiment/vqva.yaml", "did you mean 'vqvae'?"),
        (("experimnt=vqvae",), "experimnt is no key", "did you mean 'experiment'?"),
        (("experiment=misspelt_root",), "experiment/misspelt_root.yaml: sead is no key", "did you mean 'seed'?"),
        (("experiment=vqvae", "optim.lrr=3"), "optim.lrr is no key", "did you mean 'optim.lr'?"),
        (("experiment=vqvae", "trainer.devices=2"), "trainer.devices is no key", "write +trainer.devices="),
        (("experiment=vqvae", "trainer.devises=2"), "trainer.devises is no key", "did you mean '+trainer.devices'?"),
        (("experiment=vqvae", "+sead=3"), "sead is no key of this command", "did you mean 'seed'?"),
        (("experiment=vqvae", "seed=x"), "seed: Value 'x'", "right kind"),
        (("experiment=vqvae", "paths.run=x"), "paths.run is no key", "did you mean 'paths.runs'?"),
        (("experiment=vqvae", "a=b=c d"), "cannot be read", "quote a value"),
        (("experiment=vqvae", "name=a/b"), "name='a/b' cannot name a folder", "without slashes"),
        (("experiment=vqvae", "resume=nowhere"), "resume=nowhere: there is nothing at", "run folder"),
        (("experiment=vqvae", "seed=1,2"), "Ambiguous value", "add -m"),
        (("experiment=vqvae", "optim.lr=abc"), "optim.lr='abc': expected float", "a number, e.g."),
    ],
)
def test_a_mistake_is_told_in_two_lines(tiny_here, capfd, arguments, found, cure):
    assert tiny_here(*arguments) == 1
    out, err = capfd.readouterr()
    first, second = err.strip().splitlines()  # no traceback, no word of Hydra's
    assert first.startswith("error: ")
    assert found in first
    assert second.startswith("  what to do: ")
    assert cure in second
    assert out == ""


def test_a_mistake_ends_the_process_the_same_way(tiny):
    done = tiny("experiment=vqvae", "optim.lr=abc")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0] == "error: optim.lr='abc': expected float, got text"
    assert len(done.stderr.splitlines()) == 2


def test_an_error_of_the_task_is_told_in_two_lines_and_in_full_on_request(tiny):
    done = tiny("experiment=vqvae", TINY_TASK="fail")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: mask for ISIC_001 not found\n  what to do: run lfvar.prepare\n"
    for variable in ("LFVAR_DEBUG", "HYDRA_FULL_ERROR"):
        done = tiny("experiment=vqvae", TINY_TASK="fail", **{variable: "1"})
        assert done.returncode == 1
        assert "Traceback" in done.stderr
        assert "in main" in done.stderr


def test_a_bug_of_ours_keeps_its_traceback(tiny):
    done = tiny("experiment=vqvae", TINY_TASK="bug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "RuntimeError: a bug of ours" in done.stderr


def test_ctrl_c_is_130_and_a_sentence(tiny):
    done = tiny("experiment=vqvae", TINY_TASK="interrupt")
    assert done.returncode == 130
    assert done.stderr.startswith("stopped by Ctrl-C")
    assert "Traceback" not in done.stderr


def test_one_failing_job_of_a_sweep_fails_the_command_and_stops_no_other(tiny, tmp_path):
    done = tiny("experiment=vqvae", "-m", "seed=1,2,3", TINY_TASK="fail_seed_2")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "error: mask for ISIC_001 not found\n  what to do: run lfvar.prepare" in done.stderr
    assert "1 of the sweep's jobs failed: 1 (experiment=vqvae seed=2)" in done.stderr
    assert len(list(tmp_path.glob("runs/sweeps/*/[012]/.hydra"))) == 3


@pytest.mark.parametrize("debug", ["default", "overfit", "limit", "profile"])
def test_every_debug_config_passes_the_checks(compose_tiny, debug):
    cfg = compose_tiny(f"debug={debug}")
    assert cfg.name.startswith("debug")
    assert (not cfg.logger) == (debug != "limit")
    if debug in ("overfit", "profile"):  # switched off one by one: an experiment may have settings for them
        assert [cfg.callbacks[name] for name in ("grid", "learning_rate", "best", "last")] == [None] * 4
    if debug == "overfit":
        assert cfg.data.loader.overfit == 8
    if debug == "profile":
        assert cfg.trainer.profiler == "simple"
    if debug == "limit":
        assert cfg.trainer.limit_train_batches == 2


def test_a_folder_of_ones_own_adds_experiments(tiny, facts, tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "mine.yaml").write_text(
        "# @package _global_\nstage: vqvae\nimage_size: 32\nseed: 77\n"
    )
    (found,) = facts(tiny("--config-dir", "mine", "experiment=mine"))
    assert found["seed"] == 77
