"""Jobs of a sweep that start processes of their own.

Under DDP, Lightning starts rank 1, 2, … by running our command line again with `hydra.run.dir=<this run's folder>`
(`_hydra_subprocess_cmd` in lightning/fabric/strategies/launchers/subprocess_script.py). Inside a sweep that goes
wrong three times: the command line still says `--multirun`, so the child starts the whole sweep again; Hydra's
`run.dir` is not the folder of the job; and after the job the environment still says that there are ranks, so the next
job waits for processes nobody starts. A job ends when all of its processes have.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import open_dict, read_write

from lfvar.config.children import Children
from lfvar.config.stamp import is_lightnings_child
from lfvar.processes import end_with_parent

_RANK_VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")
_KEPT_FLAGS = ("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp")
_OF_THE_SWEEP = ("hydra.mode", "hydra.sweep", "hydra.run.dir", "hydra/sweeper", "hydra/launcher", "hydra.launcher")
_GRACE = 5.0  # seconds for the children of a job that failed to say why, too
_PATIENCE = 60.0  # for those of one that is done, to be done as well


def pin_argv_for_children() -> None:
    """Make `sys.argv` and Hydra's run folder those of the running job, so that child processes join this job.

    Outside a sweep the command line is already right, and nothing changes.
    """
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return
    hydra = HydraConfig.get()
    own = [override for override in hydra.overrides.hydra if not override.lstrip("+~").startswith(_OF_THE_SWEEP)]
    number = [f"hydra.job.num={hydra.job.num}", f"hydra.job.id={hydra.job.id}"]
    sys.argv[1:] = [*_flags(sys.argv[1:]), *own, *hydra.overrides.task, *number, "hydra.mode=RUN"]
    node: Any = HydraConfig.instance().cfg  # a DictConfig, whatever Hydra's annotations say
    with read_write(node.hydra), open_dict(node.hydra):
        node.hydra.run.dir = hydra.runtime.output_dir


@contextmanager
def job_processes(last_words: Callable[[str], None] = lambda reason: None) -> Iterator[None]:
    """Around one job: pin the command line for its children, and afterwards end them and forget the ranks it started.

    Args:
        last_words: Called with what happened when this process has to be ended, see `Children`.
    """
    arguments = list(sys.argv)
    before = {name: os.environ.get(name) for name in _RANK_VARIABLES}
    pin_argv_for_children()
    if is_lightnings_child(os.environ):
        end_with_parent(os.getppid())  # else a child of one that was killed waits for it, for many minutes
    children, patience = Children(last_words), _GRACE
    try:
        yield
        patience = _PATIENCE
    finally:
        sys.argv[:] = arguments
        children.end(patience)
        has_started_ranks = before["LOCAL_RANK"] is None and "LOCAL_RANK" in os.environ
        if has_started_ranks and HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
            _leave_process_group()
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _leave_process_group() -> None:
    """End the process group of a finished job: its other ranks are gone, and the next job would wait for them."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _flags(arguments: list[str]) -> list[str]:
    """Keep the options that say where configs are; drop `--multirun` and overrides."""
    kept = []
    for index, argument in enumerate(arguments):
        if argument in _KEPT_FLAGS:
            kept += arguments[index : index + 2]
        elif argument.startswith(tuple(f"{flag}=" for flag in _KEPT_FLAGS)):
            kept.append(argument)
    return kept
