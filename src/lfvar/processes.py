"""What every place that starts processes needs: how many, and an end when their parent is gone."""

from __future__ import annotations

import os
import threading
import time
from functools import cache


def usable_cores() -> int:
    """Cores that this process may use, which a scheduler or container can make fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def end_with_parent(parent: int) -> None:
    """End soon after a parent that was killed: loky's workers would wait five minutes and keep its terminal open.

    Args:
        parent: Process that started this one; anything else (a worker of Dask or Ray) is left alone.
    """
    if os.getppid() != parent:
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
