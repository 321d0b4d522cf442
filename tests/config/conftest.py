"""A small command with its own configs, and the hydra/, paths/ and debug/ groups that are shipped."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from warm_runs import run_warm

PROJECT = Path(__file__).parent / "project"
SHIPPED = Path(__file__).parents[2] / "conf"
RANK_VARIABLES = ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "SLURM_JOB_ID", "TORCHELASTIC_RUN_ID")


@pytest.fixture(autouse=True)
def no_hydra_left() -> Iterator[None]:
    """Hydra keeps the last job's config for the whole process; a test that sets it must not reach the next."""
    yield
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None


@pytest.fixture(scope="session")
def tiny_conf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    conf = tmp_path_factory.mktemp("project") / "conf"
    shutil.copytree(PROJECT / "conf", conf)
    for group in ("hydra", "paths", "debug"):
        shutil.copytree(SHIPPED / group, conf / group)
    return conf


@pytest.fixture
def shipped_sweeps(tiny_conf: Path) -> None:
    """The shipped sweep/ group beside the tiny command's own."""
    for path in (SHIPPED / "sweep").glob("*.yaml"):
        shutil.copy(path, tiny_conf / "sweep")


@pytest.fixture
def clean_environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LFVAR_", "HYDRA_", "WANDB_", "SLURM_"))}
    kept = {k: v for k, v in kept.items() if k not in (*RANK_VARIABLES, "NO_ALBUMENTATIONS_UPDATE")}
    return {**kept, "PYTHONPATH": str(PROJECT)}


@pytest.fixture
def tiny(
    tmp_path: Path, tiny_conf: Path, clean_environment: dict[str, str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `python -m tiny_train` in an empty folder."""

    def run(
        *arguments: str, module: str = "tiny_train", fresh: bool = False, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        whole = {**clean_environment, "TINY_CONF": str(tiny_conf), **environment}
        if not fresh:
            return run_warm(module, arguments, tmp_path, whole, timeout=300)
        command = [sys.executable, "-m", module, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=whole, capture_output=True, text=True, timeout=300)

    return run


@pytest.fixture
def facts() -> Callable[[subprocess.CompletedProcess[str]], list[dict[str, Any]]]:
    """Read what the tiny command says about each of its runs."""

    def read(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
        lines = [line for line in done.stdout.splitlines() if line.startswith("FACTS ")]
        assert lines, done.stderr
        return [json.loads(line[len("FACTS ") :]) for line in lines]

    return read


@pytest.fixture
def compose_tiny(tiny_conf: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Compose, and check, a config of the tiny command in this process."""
    from lfvar.config import compose

    monkeypatch.syspath_prepend(str(PROJECT))

    def run(*overrides: str, check: bool = True) -> Any:
        return compose("train", ["experiment=vqvae", *overrides], config_folder=tiny_conf, check=check)

    return run
