"""One stamp per run, the same in every process of the run: it names the run folder.

A time stamp taken by each process splits the ranks of one run into several folders. So it is taken once, before
Hydra starts, and handed down in the environment; where a scheduler starts the ranks, it is derived from what all of
them see.
"""

import os
import secrets
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from lfvar.errors import ConfigError

STAMP_VARIABLE = "LFVAR_RUN_STAMP"


def run_stamp(environment: Mapping[str, str], *, now: datetime | None = None, parent: int | None = None) -> str:
    """Return the stamp of this run.

    Args:
        environment: Usually `os.environ`.
        now: The time to stamp with (default: the present, UTC).
        parent: The process that started this one (default: ours).

    Raises:
        ConfigError: Ranks are started by hand, so that nothing common to them is known here.
    """
    given = environment.get(STAMP_VARIABLE)
    if given:
        return _valid(given)
    now = now or datetime.now(timezone.utc)
    if "TORCHELASTIC_RUN_ID" in environment:
        return _torchrun_stamp(environment, os.getppid() if parent is None else parent)
    if "SLURM_JOB_ID" in environment:
        return _slurm_stamp(environment, now)
    if _number(environment, "WORLD_SIZE", 1) > 1 or "NODE_RANK" in environment:
        raise ConfigError(
            "several processes of one run seem to be started by hand (WORLD_SIZE or NODE_RANK is set), and each would"
            " make a run folder of its own",
            cure=f"export the same {STAMP_VARIABLE}=<name> for all of them, or start them with torchrun or srun",
        )
    return _fresh(now)


def is_rank_zero(environment: Mapping[str, str]) -> bool:
    """Tell whether this process is the one that writes, from what launchers put in the environment."""
    if "RANK" in environment:
        return _number(environment, "RANK", 0) == 0
    if "LOCAL_RANK" in environment or "NODE_RANK" in environment:
        return _number(environment, "LOCAL_RANK", 0) == 0 and _number(environment, "NODE_RANK", 0) == 0
    if _in_slurm_step(environment):
        return _number(environment, "SLURM_PROCID", 0) == 0
    return True


def is_lightnings_child(environment: Mapping[str, str]) -> bool:
    """Tell whether another rank of the run started this one, which torchrun and srun do themselves."""
    # An interactive shell of SLURM's has its SLURM_PROCID, which children inherit; srun sets no LOCAL_RANK.
    return "RANK" not in environment and _number(environment, "LOCAL_RANK", 0) != 0


def _fresh(now: datetime) -> str:
    # The suffix keeps two runs of the same second apart.
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def _slurm_stamp(environment: Mapping[str, str], now: datetime) -> str:
    array_job, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    job = f"slurm-{array_job}_{task}" if array_job and task else f"slurm-{environment['SLURM_JOB_ID']}"
    if _in_slurm_step(environment):
        # Each srun of a job has its number, which a requeued job counts again from 0: it goes on in the same folder.
        return f"{job}.{environment['SLURM_STEP_ID']}"
    # Several commands of one batch script, without srun, see one and the same environment.
    return f"{job}-{_fresh(now)}"


def _in_slurm_step(environment: Mapping[str, str]) -> bool:
    # The batch script itself counts as step 2**32 - 5 in some versions of SLURM.
    return 0 <= _number(environment, "SLURM_STEP_ID", -1) < 2**31 and "SLURM_PROCID" in environment


def _torchrun_stamp(environment: Mapping[str, str], parent: int) -> str:
    run_id = environment["TORCHELASTIC_RUN_ID"]
    has_id = run_id not in ("", "none")
    if _number(environment, "WORLD_SIZE", 1) == _number(environment, "LOCAL_WORLD_SIZE", 1):
        # One node: all ranks are children of one torchrun, whose start time tells runs of the same id apart.
        started = datetime.fromtimestamp(_start_time(parent), timezone.utc)
        return f"{started:%Y%m%d-%H%M%S}-{parent}"
    if not has_id:
        raise ConfigError(
            "torchrun runs on several nodes without --rdzv-id: the nodes have nothing in common to name the run by",
            cure=f"give torchrun --rdzv-id=<name of this run>, or export {STAMP_VARIABLE}=<name> on every node",
        )
    return _valid(f"torchrun-{run_id}")


def _start_time(process: int) -> float:
    """Return when `process` started, in seconds since 1970; the same number for every caller."""
    stat, system = Path(f"/proc/{process}/stat"), Path("/proc/stat")
    if stat.is_file() and system.is_file():
        ticks = int(stat.read_text().rpartition(")")[2].split()[19])
        boot = next(int(line.split()[1]) for line in system.read_text().splitlines() if line.startswith("btime"))
        return boot + ticks / os.sysconf("SC_CLK_TCK")
    shown = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(process)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    return datetime.strptime(shown.stdout.strip(), "%a %b %d %H:%M:%S %Y").timestamp()


def _valid(stamp: str) -> str:
    if stamp in (".", "..") or any(character in stamp for character in "/\\\n\0"):
        raise ConfigError(
            f"{STAMP_VARIABLE}={stamp!r} cannot name a folder", cure=f"unset {STAMP_VARIABLE}, or take out / and \\"
        )
    return stamp


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    try:
        return int(environment.get(name, default))
    except ValueError:
        return default
