"""Run folders: `<runs>/<stage>/<name>/<stamp>`, and going on in one that exists.

YAML asks for them through resolvers, which `register_resolvers` must add before Hydra composes:

- `${lfvar.run_dir:}` the folder of a single run;
- `${lfvar.output_dir:}` the folder of this run, a job of a sweep included: for whatever writes;
- `${lfvar.precision:accelerator}` what `lfvar.config.precision.fastest_precision` says;
- `${lfvar.wandb_offline:}` whether Weights & Biases is to stay offline (unless WANDB_MODE=online);
- `${lfvar.sweep_dir:}` and `${lfvar.sweep_subdir:}` the folders of a sweep and of one of its jobs;
- `${lfvar.direction:mode}` maximize for max, minimize for min: what Optuna calls the `mode` of a checkpoint;
- `${lfvar.cwd:}` the folder the user is in, also after Hydra or a job changed it;
- `${lfvar.rank_zero:a,b}` a on the process that writes, b on the others.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from lfvar.config.precision import fastest_precision
from lfvar.config.stamp import is_rank_zero, run_stamp
from lfvar.data.files import kept_checkpoints
from lfvar.errors import ArtefactError, ConfigError

CARD_FILE = "run_card.json"
CHECKPOINT_FOLDER = "checkpoints"


def register_resolvers() -> None:
    """Add our resolvers to OmegaConf; calling it again changes nothing."""
    OmegaConf.register_new_resolver("lfvar.run_dir", _run_dir, replace=True)
    OmegaConf.register_new_resolver("lfvar.output_dir", _output_dir, replace=True)
    OmegaConf.register_new_resolver("lfvar.precision", fastest_precision, replace=True)
    OmegaConf.register_new_resolver(
        "lfvar.wandb_offline", lambda: os.environ.get("WANDB_MODE", "offline") != "online", replace=True
    )
    OmegaConf.register_new_resolver("lfvar.sweep_dir", _sweep_dir, replace=True)
    OmegaConf.register_new_resolver("lfvar.sweep_subdir", _sweep_subdir, replace=True)
    OmegaConf.register_new_resolver("lfvar.direction", lambda mode: f"{mode}imize", replace=True)
    OmegaConf.register_new_resolver("lfvar.cwd", lambda: str(_user_folder()), replace=True)
    OmegaConf.register_new_resolver(
        "lfvar.rank_zero", lambda first, other: first if is_rank_zero(os.environ) else other, replace=True
    )


def run_folder(cfg: DictConfig) -> Path:
    """Return the folder this run writes to (it may not exist yet).

    Inside a command it is what Hydra was told; in a notebook or test it follows from `cfg` by the same rule.
    """
    return Path(_output_dir(_root_=cfg))


def resume_folder(cfg: DictConfig) -> Path | None:
    """Return the run folder that `resume` names; None without `resume` or where it names a checkpoint file.

    Raises:
        ConfigError: There is nothing at that path, or it is no run folder.
    """
    resume = _optional(cfg, "resume")
    if resume is None:
        return None
    path = (_user_folder() / str(resume)).resolve()
    if path.is_file():
        return None
    if not path.is_dir():
        raise ConfigError(
            f"resume={resume}: there is nothing at {path}",
            cure="give a run folder (its run goes on there) or a .ckpt file (a new folder goes on from it);"
            " quote a path that holds '=': resume='\"…/epoch=3.ckpt\"'",
        )
    if not (path / CARD_FILE).is_file():
        raise ConfigError(
            f"resume={resume}: {path} is no run folder, it holds no {CARD_FILE}",
            cure="give the folder that holds run_card.json, e.g. runs/<stage>/<name>/<stamp>, or a .ckpt file",
        )
    return path


def resume_checkpoint(cfg: DictConfig) -> Path | None:
    """Return the checkpoint to go on from: the file `resume` names, or the latest one in its run folder.

    Without `resume`, that of the run's own folder: it is there where a scheduler started the run again.

    Raises:
        ConfigError: `resume` names neither.
        ArtefactError: The run folder holds no checkpoint yet.
    """
    if "resume" not in cfg:
        return None
    resume = _optional(cfg, "resume")
    if resume is None:
        return _latest(run_folder(cfg) / CHECKPOINT_FOLDER)
    folder = resume_folder(cfg)
    if folder is None:
        return (_user_folder() / str(resume)).resolve()
    latest = _latest(folder / CHECKPOINT_FOLDER)
    if latest is not None:
        return latest
    found = sorted((folder / CHECKPOINT_FOLDER).glob("*.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise ArtefactError(
            f"resume={resume}: no *.ckpt in {folder / CHECKPOINT_FOLDER}: the run stopped before its first checkpoint",
            cure="start it again without resume",
        )
    return found[-1]


def _latest(folder: Path) -> Path | None:
    """The checkpoint of the last step: `last.ckpt`; where a kill prevented it, the newest that was kept beside it."""
    last = folder / "last.ckpt"
    if last.is_file():
        return last
    return next(reversed(kept_checkpoints(folder)), None)


def _run_dir(*, _root_: DictConfig) -> str:
    if _root_.get("check"):
        return str(_check_folder())
    resumed = resume_folder(_root_)
    if resumed is not None:
        return str(resumed)
    return str(_runs(_root_) / _name(_root_, "stage") / _name(_root_, "name") / _stamp_of(_root_))


def _stamp_of(root: DictConfig) -> str:
    """Return the run's stamp; outside a command every composed config is one run and keeps its own."""
    if HydraConfig.initialized():
        return run_stamp(os.environ)
    kept: dict[str, str] = OmegaConf.get_cache(root)["lfvar.stamp"]  # travels with the config, copies included
    return kept.setdefault("stamp", run_stamp(os.environ))


def _output_dir(*, _root_: DictConfig) -> str:
    if HydraConfig.initialized():
        return str(HydraConfig.get().runtime.output_dir)
    return _run_dir(_root_=_root_)


def _sweep_dir(*, _root_: DictConfig) -> str:
    if _root_.get("check"):
        return str(_check_folder())
    # Not below stage and name: a sweep may run over either, and all its jobs belong in one folder.
    return str(_runs(_root_) / "sweeps" / run_stamp(os.environ))


def _sweep_subdir(*, _root_: DictConfig) -> str:
    resumed = None if _root_.get("check") else resume_folder(_root_)
    return str(_root_.hydra.job.num) if resumed is None else str(resumed)  # joining an absolute path gives that path


def _check_folder() -> Path:
    """Return where Hydra may write while nothing is run; the command removes it."""
    return Path(tempfile.gettempdir()) / f"lfvar-check-{run_stamp(os.environ)}"


def _runs(root: DictConfig) -> Path:
    return (_user_folder() / str(root.paths.runs)).absolute()


def _name(root: DictConfig, key: str) -> str:
    value = _optional(root, key)
    if value is None:
        raise ConfigError(
            f"{key} is not set: there is nothing to run yet",
            cure=f"choose an experiment, e.g. experiment=vqvae (--help lists them), or set {key}",
        )
    text = str(value)
    if text in ("", ".", "..") or "/" in text or "\\" in text:
        raise ConfigError(f"{key}={text!r} cannot name a folder", cure=f"set {key} to one word, without slashes")
    return text


def _optional(root: DictConfig, key: str) -> Any:
    if key not in root or OmegaConf.is_missing(root, key):
        return None
    return root[key]


def _user_folder() -> Path:
    if HydraConfig.initialized():
        return Path(HydraConfig.get().runtime.cwd)
    return Path.cwd()
