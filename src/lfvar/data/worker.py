"""Manners of a worker process: no life after its parent."""

from __future__ import annotations

import os
import threading
import time
from functools import cache

from lfvar.data.pairs import Outcome, PairTask, prepare_pair
from lfvar.data.records import Record, Source


def prepare_in_worker(parent: int, source: Source, record: Record, stem: str, task: PairTask) -> Outcome:
    """`prepare_pair` in a process that `parent` started."""
    if os.getppid() == parent:  # not so on other machines, with a Dask or Ray backend
        _end_with_parent(parent)
    return prepare_pair(source, record, stem, task)


@cache
def _end_with_parent(parent: int) -> None:
    """End soon after a parent that was killed: loky's workers would wait five minutes and keep its terminal open."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
