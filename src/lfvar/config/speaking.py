"""Which process of a run says an error: one that all of them meet is said once, one of a single process with its rank.

Processes that are connected ask each other; the first says everything, and leaves a note of it for the others.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from lfvar.config.stamp import is_lightnings_child, is_rank_zero
from lfvar.errors import LfvarError

_WAIT = timedelta(seconds=3)  # ranks that fail together do so within the time that one batch takes
_LOST = (
    ("gloo", "Connection closed by peer"),
    ("gloo", "Connection reset by peer"),
    ("gloo", "Broken pipe"),
    ("NCCL", "ncclRemoteError"),
)


def speaks(
    text: str, environment: Mapping[str, str], *, shared: bool = True, store: Any = None, wait: timedelta = _WAIT
) -> bool:
    """Whether this process says an error.

    Args:
        text: The error; two processes that have the same one share it.
        environment: Usually `os.environ`.
        shared: Whether processes that are not connected yet most likely all meet it, as they do settings and files.
        store: What processes exchange notes in (default: that of the process group, where there is one).
        wait: How long the first process may take to say the same.
    """
    store = _store() if store is None else store
    note = f"lfvar/said/{hashlib.sha256(text.encode()).hexdigest()}"
    if is_rank_zero(environment):
        if store is not None:
            _ask(lambda: store.set(note, "1"))
        return True
    if store is None:
        return not shared or _is_alone(environment)
    return not _ask(lambda: store.wait([note], wait))


def rank_name(environment: Mapping[str, str]) -> str:
    """What a process is called in messages: `rank 3`, or `rank 1 of node 2` where no more is known."""
    distributed = _connected()
    rank = environment.get("RANK") or environment.get("SLURM_PROCID")
    if distributed is not None:
        return f"rank {distributed.get_rank()}"
    if rank is not None:
        return f"rank {rank}"
    node = environment.get("NODE_RANK", "0")
    return f"rank {environment.get('LOCAL_RANK', '0')}" + (f" of node {node}" if node != "0" else "")


def lost_connection(error: BaseException) -> LfvarError | None:
    """Our words for an error that says no more than that another process of the run is gone; None for all others."""
    if _connected() is None or not isinstance(error, RuntimeError):
        return None
    found = next((words for library, words in _LOST if library in str(error) and words in str(error)), None)
    if found is None:
        return None
    return LfvarError(
        f"another process of this run is gone ({found})",
        cure="mend what that one says; if it says nothing, it was killed, most likely for lack of memory",
    )


def _connected() -> Any:
    """`torch.distributed` where this process belongs to a group."""
    distributed = sys.modules.get("torch.distributed")
    return (
        distributed if distributed is not None and distributed.is_available() and distributed.is_initialized() else None
    )


def _store() -> Any:
    distributed = _connected()
    return None if distributed is None else distributed.distributed_c10d._get_default_store()


def _ask(question: Any) -> bool:
    try:
        question()
    except RuntimeError:  # nobody said it in time, or who keeps the notes is gone (torch.distributed.DistError)
        return False
    return True


def _is_alone(environment: Mapping[str, str]) -> bool:
    """Whether nobody else is known to meet this error, before processes are connected."""
    if is_lightnings_child(environment):
        return True  # the process that started this one came through here unharmed
    # Most likely all of them: each machine says it once, as it may be about its disks.
    return environment.get("LOCAL_RANK", environment.get("SLURM_LOCALID", "0")) == "0"
