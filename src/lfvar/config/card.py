"""The run card: what made this run, written into its folder before anything else happens.

`run_card.json` and `config.yaml` are plain data: they can be read without lfvar, torch or unpickling. The host's name
is left out on purpose.
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console, Group, RenderableType
from rich.syntax import Syntax
from rich.table import Table

from lfvar.config.locate import checkout_folder
from lfvar.config.run import CARD_FILE, resume_checkpoint
from lfvar.config.stamp import is_rank_zero
from lfvar.errors import ArtefactError

CARD_VERSION = 1
CONFIG_FILE = "config.yaml"
_PACKAGES = ("lfvar", "torch", "lightning", "torchmetrics", "numpy", "albumentations", "pyradiomics-bhklab")

Card = dict[str, Any]


def make_card(cfg: DictConfig, *, data_hashes: Mapping[str, str] | None = None) -> Card:
    """Describe the run that is about to start.

    Args:
        cfg: The validated root config.
        data_hashes: Name → hash of each data artefact the run reads (manifest, measurement table, token cache, …).
    """
    config = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    assert isinstance(config, dict)
    resumed = resume_checkpoint(cfg)
    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    card: Card = {
        "card_version": CARD_VERSION,
        "stage": config.get("stage"),
        "name": config.get("name"),
        "seed": config.get("seed"),
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": list(sys.argv),
        "overrides": overrides,
        "resumed_from": None if resumed is None else str(resumed),
        "data": dict(data_hashes or {}),
        "git": git_state(),
        "versions": package_versions(),
        "device": device_summary(),
        "config": config,
    }
    plain: Card = json.loads(json.dumps(card, default=str))
    return plain


def start_card(cfg: DictConfig, folder: Path, *, data_hashes: Mapping[str, str] | None = None) -> Card:
    """Make the card and write it, with the composed `config.yaml`, into the run folder (rank zero only).

    A card that is already there (a resumed or requeued run) is kept as `run_card.<n>.json`.

    Args:
        cfg: The validated root config.
        folder: The run folder; made if missing.
        data_hashes: Name → hash of each data artefact the run reads.

    Returns:
        The card, on every rank.
    """
    card = make_card(cfg, data_hashes=data_hashes)
    if is_rank_zero(os.environ):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / CARD_FILE
        if path.exists():
            path.replace(folder / f"run_card.{len(list(folder.glob('run_card.*.json'))) + 1}.json")
        write_atomic(folder / CONFIG_FILE, OmegaConf.to_yaml(OmegaConf.create(card["config"])))
        write_atomic(path, _as_json(card))
    return card


def finish_card(
    folder: Path,
    *,
    metrics: Mapping[str, float],
    seconds: float,
    files: Mapping[str, str] | None = None,
    status: str = "finished",
) -> None:
    """Add what came out to the card in `folder` (rank zero only).

    Args:
        folder: The run folder.
        metrics: Final metrics by name.
        seconds: How long the run took.
        files: Name → path of what was written, e.g. the best checkpoint.
        status: "finished", "interrupted" or "failed".

    Raises:
        ArtefactError: There is no card to add to.
    """
    if not is_rank_zero(os.environ):
        return
    card = read_card(folder)
    card["result"] = {
        "status": status,
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(float(seconds), 3),
        "metrics": {name: float(value) for name, value in metrics.items()},
        "files": dict(files or {}),
    }
    write_atomic(folder / CARD_FILE, _as_json(card))


def finished_metrics(cfg: DictConfig, folder: Path) -> dict[str, float] | None:
    """Return the metrics of a run of the same settings that finished in this folder; None where there is none.

    What a run goes on from (`resume`) is no setting of it.
    """
    card = _finished_card(folder)
    if card is None:
        return None
    config = json.loads(json.dumps(OmegaConf.to_container(cfg, resolve=True, enum_to_str=True), default=str))
    ours, theirs = ({**settings, "resume": None} for settings in (config, card["config"]))
    return dict(card["result"]["metrics"]) if ours == theirs else None


def is_finished(folder: Path) -> bool:
    """Whether the last run in this folder came to its end."""
    return _finished_card(folder) is not None


def _finished_card(folder: Path) -> Card | None:
    try:
        card = read_card(folder)
    except ArtefactError:  # none, or one that rank zero is replacing at this moment
        return None
    return card if card.get("result", {}).get("status") == "finished" else None


def read_card(folder: Path) -> Card:
    """Read the card of a run folder.

    Raises:
        ArtefactError: It is missing, damaged, or of a version this code does not know.
    """
    path = folder / CARD_FILE
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtefactError(f"{folder} holds no {CARD_FILE}", cure="give the folder of a run lfvar made") from None
    except json.JSONDecodeError as error:
        raise ArtefactError(f"{path} is damaged: {error}", cure="restore it, or start the run again") from error
    if not isinstance(card, dict) or card.get("card_version") != CARD_VERSION:
        found = card.get("card_version") if isinstance(card, dict) else None
        raise ArtefactError(
            f"{path} has card_version {found}; this lfvar reads {CARD_VERSION}",
            cure="use the version of lfvar that wrote it",
        )
    return card


def render_card(card: Card) -> RenderableType:
    """Show a card in the terminal: the facts as a table, then the composed config."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    git = card["git"]
    rows = {
        "run": f"{card['stage']} / {card['name']}",
        "seed": card["seed"],
        "resumed from": card["resumed_from"],
        "overrides": " ".join(card["overrides"]) or None,
        "git": None if git is None else git["revision"][:12] + (" with local changes" if git["dirty"] else ""),
        "device": ", ".join(card["device"]["accelerators"]) or f"{card['device']['cpu_count']} CPU cores",
        "versions": ", ".join(f"{name} {version}" for name, version in card["versions"].items() if version),
        "data": ", ".join(f"{name} {value[:12]}" for name, value in card["data"].items()) or None,
    }
    for name, value in rows.items():
        if value is not None:
            table.add_row(name, str(value))
    yaml = OmegaConf.to_yaml(OmegaConf.create(card["config"]))
    return Group(table, "", Syntax(yaml, "yaml", background_color="default", word_wrap=True))


def print_card(card: Card) -> None:
    """Print a card on stdout: what `check=true` ends with."""
    Console().print(render_card(card))


def git_state() -> dict[str, Any] | None:
    """Return revision and whether tracked files differ from it; None outside a checkout or without git."""
    root = checkout_folder()
    if root is None:
        return None
    try:
        revision = _git(root, "rev-parse", "HEAD").strip()
        changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"revision": revision, "dirty": bool(changes.strip())}


def package_versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that decide what a run computes."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def device_summary() -> dict[str, Any]:
    """Return what this machine computes with."""
    import torch

    accelerators = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        accelerators.append("Apple GPU (mps)")
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu_count": os.cpu_count(),
        "accelerators": accelerators,
        "cuda": torch.version.cuda,
        "processes": int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", "1"))),
    }


def write_atomic(path: Path, text: str) -> None:
    """Write `text` to `path` so that a reader sees the old or the new content, never half of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout


def _as_json(card: Card) -> str:
    return json.dumps(card, indent=2, ensure_ascii=False) + "\n"
