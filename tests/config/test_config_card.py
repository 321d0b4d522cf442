"""The run card and where conf/ is found."""

import io
import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from lfvar.config import (
    conf_folder,
    finish_card,
    finished_metrics,
    is_finished,
    make_card,
    read_card,
    render_card,
    run_folder,
    start_card,
)
from lfvar.config.locate import checkout_folder
from lfvar.errors import ArtefactError, ConfigError

REPOSITORY = Path(__file__).parents[2]


def test_the_card_holds_what_made_the_run(compose_tiny, tmp_path):
    cfg = compose_tiny("seed=5")
    card = start_card(cfg, tmp_path / "run", data_hashes={"manifest": "abc123"})
    assert card == read_card(tmp_path / "run")
    assert (card["seed"], card["stage"], card["data"]) == (5, "vqvae", {"manifest": "abc123"})
    assert card["config"]["model"]["config"]["patch_nums"] == [1, 2, 4, 8]
    assert {"python", "lfvar", "torch", "lightning"} <= {name for name, version in card["versions"].items() if version}
    assert card["device"]["cpu_count"] >= 1
    saved = OmegaConf.load(tmp_path / "run" / "config.yaml")
    assert OmegaConf.to_container(saved) == card["config"]
    assert "${" not in (tmp_path / "run" / "config.yaml").read_text()
    assert platform.node() not in [str(value) for value in card["device"].values()]
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"run_card.json", "config.yaml"}


def test_results_are_added_at_the_end(compose_tiny, tmp_path):
    start_card(compose_tiny(), tmp_path)
    finish_card(tmp_path, metrics={"val/rec_l1": 0.25}, seconds=12.3456, files={"best": "checkpoints/best.ckpt"})
    result = read_card(tmp_path)["result"]
    assert (result["status"], result["seconds"], result["metrics"]) == ("finished", 12.346, {"val/rec_l1": 0.25})


def test_what_a_run_went_on_from_is_no_setting_of_it(compose_tiny, tmp_path):
    start_card(compose_tiny(), tmp_path)
    assert not is_finished(tmp_path)
    finish_card(tmp_path, metrics={"val/rec_l1": 0.25}, seconds=1, status="interrupted")
    assert not is_finished(tmp_path)
    finish_card(tmp_path, metrics={"val/rec_l1": 0.25}, seconds=1)
    assert is_finished(tmp_path)
    (tmp_path / "last.ckpt").touch()
    for resume in (tmp_path, tmp_path / "last.ckpt"):
        assert finished_metrics(compose_tiny(f"resume={resume}"), tmp_path) == {"val/rec_l1": 0.25}
    assert finished_metrics(compose_tiny("seed=5"), tmp_path) is None


def test_only_rank_zero_writes(compose_tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert start_card(compose_tiny(), tmp_path / "run")["seed"] == 0
    assert not (tmp_path / "run").exists()
    finish_card(tmp_path / "run", metrics={}, seconds=0)


def test_a_card_that_cannot_be_read_says_so(tmp_path):
    with pytest.raises(ArtefactError, match=r"holds no run_card\.json"):
        read_card(tmp_path)
    (tmp_path / "run_card.json").write_text("{")
    with pytest.raises(ArtefactError, match="damaged"):
        read_card(tmp_path)
    (tmp_path / "run_card.json").write_text(json.dumps({"card_version": 99}))
    with pytest.raises(ArtefactError, match="card_version 99"):
        read_card(tmp_path)


def test_a_card_is_shown(compose_tiny):
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(render_card(make_card(compose_tiny("seed=5"), data_hashes={"manifest": "abc"})))
    text = console.export_text()
    for expected in ("vqvae / phantom", "manifest abc", "torch ", "patch_nums"):
        assert expected in text


def test_a_check_leaves_nothing_behind(tiny, tmp_path):
    assert tiny("experiment=vqvae", "check=true").returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_a_notebook_gets_a_folder_by_the_same_rule(compose_tiny, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LFVAR_RUN_STAMP", "mine")
    assert run_folder(compose_tiny()) == tmp_path / "runs" / "vqvae" / "phantom" / "mine"


def test_conf_is_found_in_a_checkout_and_in_an_installed_package(tmp_path):
    assert conf_folder() == REPOSITORY / "conf"
    installed = tmp_path / "site-packages" / "lfvar"
    (installed / "conf").mkdir(parents=True)
    assert conf_folder(installed) == installed / "conf"
    assert checkout_folder(installed) is None
    (installed / "conf").rmdir()
    with pytest.raises(ConfigError) as caught:
        conf_folder(installed)
    assert str(installed / "conf") in caught.value.message
    assert "pip install" in caught.value.cure


def test_the_frame_works_from_an_installed_package(tmp_path, tiny_conf, clean_environment):
    site = tmp_path / "site-packages"
    shutil.copytree(REPOSITORY / "src" / "lfvar", site / "lfvar", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(tiny_conf, site / "lfvar" / "conf")
    (site / "lfvar" / "installed_train.py").write_text(
        "import sys\nfrom lfvar.config import command\n\n"
        "@command('train')\ndef main(cfg):\n    print('seed', cfg.seed)\n\n"
        "if __name__ == '__main__':\n    sys.exit(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "lfvar.installed_train", "experiment=vqvae", "seed=3"],
        cwd=tmp_path,
        env={**clean_environment, "PYTHONPATH": f"{site}:{clean_environment['PYTHONPATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "seed 3\n", done.stderr
