"""The trainer of a run, from its config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from omegaconf import DictConfig

from lfvar.callbacks.checkpoint import WholeFiles
from lfvar.config import build, build_each
from lfvar.errors import ConfigError


def build_trainer(cfg: DictConfig, folder: Path) -> Trainer:
    """The trainer with its callbacks and loggers; all of them write below the run folder."""
    try:
        trainer: Trainer = build(
            cfg.trainer,
            callbacks=build_each(cfg.callbacks),
            logger=build_each(cfg.logger) or False,
            plugins=[WholeFiles()],
            default_root_dir=folder,
            **count_steps(cfg),
        )
    except MisconfigurationException as error:
        raise ConfigError(f"trainer: {error}", cure="change the settings below trainer or callbacks") from error
    leave_requeueing_to_us(trainer)
    require_startable(trainer)
    return trainer


def leave_requeueing_to_us(trainer: Trainer) -> None:
    """Keep Lightning from saving and requeueing at a signal: `LastCheckpoint` does, and not in the middle of a step."""
    environment = trainer._accelerator_connector.cluster_environment  # strategies of one device have none of their own
    if isinstance(environment, SLURMEnvironment):
        environment.auto_requeue = False


def count_steps(cfg: DictConfig) -> dict[str, Any]:
    """What makes `trainer.val_check_interval` count optimizer steps across passes; Lightning counts batches."""
    accumulate = int((cfg.get("optim") or {}).get("accumulate", 1))
    interval = cfg.trainer.get("val_check_interval")
    across_passes = cfg.trainer.get("check_val_every_n_epoch", 1) is None
    if not isinstance(interval, int) or not across_passes:
        return {}
    return {"val_check_interval": interval * accumulate}


def require_startable(trainer: Trainer) -> None:
    """Refuse to start processes of a job where Lightning could not: it runs the command line of its process again.

    Raises:
        ConfigError: When the job runs in the worker of a launcher.
    """
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return
    launcher = str(HydraConfig.get().launcher._target_).rpartition(".")[2]
    if launcher != "BasicLauncher" and getattr(trainer.strategy, "launcher", None) is not None:
        raise ConfigError(
            f"a job of {launcher} cannot start the {trainer.world_size} processes of this trainer",
            cure="run jobs one after another (no hydra/launcher), or on one device each (trainer=gpu), or let SLURM"
            " start the processes: trainer=slurm hydra/launcher=submitit_slurm hydra.launcher.tasks_per_node=N",
        )
