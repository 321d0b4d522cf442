"""What every place that starts processes needs: how many, work spread over them, an end when their parent is gone."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import cache, partial
from multiprocessing import get_context
from multiprocessing.synchronize import Lock
from typing import Any, Generic, TypeVar

from lfvar.errors import DataError, LfvarError

Chunk = TypeVar("Chunk")
Done = TypeVar("Done")


def usable_cores() -> int:
    """Cores that this process may use, which a scheduler or container can make fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores_of_process(num_processes: int, environment: Mapping[str, str]) -> int:
    """Cores for one of several processes of a run on this machine.

    SLURM may have given each process its own already; they are not shared then.

    Args:
        num_processes: How many there are on this machine.
        environment: Usually `os.environ`.
    """
    cores, per_task = usable_cores(), environment.get("SLURM_CPUS_PER_TASK", "")
    return max(cores // num_processes, min(cores, int(per_task)) if per_task.isdigit() else 0, 1)


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


class Workers(Generic[Chunk, Done]):
    """Spawned processes that do pieces of work, on the cores that this one may use; a context.

    Args:
        open_worker: Makes a process' worker, by the number of the process. Picklable.
        processes: How many; with 1 the work is done here.
        cure: What to do when one of them dies.
    """

    def __init__(self, open_worker: Callable[[int], Callable[[Chunk], Done]], processes: int, *, cure: str) -> None:
        self.processes, self.cure = processes, cure
        self._here = open_worker(0) if processes == 1 else None
        if self._here is None:
            context = get_context("spawn")  # CUDA does not survive a fork
            counter, lock = context.Value("i", 0, lock=False), context.Lock()
            start = (os.getpid(), counter, lock, processes, open_worker)
            self._pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_enter, initargs=start)

    def __enter__(self) -> Workers[Chunk, Done]:
        return self

    def __exit__(self, *error: object) -> None:
        if self._here is None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def spread(self, chunks: Iterable[Chunk]) -> Iterator[Done]:
        """Do pieces of work; a few more than there are processes are taken ahead.

        Returns:
            What the workers return, as it comes: not in the order of the chunks.

        Raises:
            DataError: A process died.
        """
        if self._here is not None:
            yield from map(self._here, chunks)
            return
        waiting = iter(chunks)
        running: set[Future[Done]] = set()
        try:
            while True:
                for chunk in waiting:
                    running.add(self._pool.submit(_work, chunk))
                    if len(running) > self.processes:
                        break
                if not running:
                    return
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
        except BrokenProcessPool as error:
            raise DataError("a process died, most likely for lack of memory", cure=self.cure) from error


_worker: Callable[[Any], Any] | None = None  # of a spawned process


def _enter(parent: int, counter: Any, lock: Lock, processes: int, open_worker: Callable[[int], Any]) -> None:
    """Set up a spawned process."""
    global _worker
    import torch

    end_with_parent(parent)
    with lock:
        number = counter.value
        counter.value += 1
    torch.set_num_threads(max(1, usable_cores() // processes))
    try:
        _worker = open_worker(number)
    except LfvarError as error:  # what an initialiser raises is lost: the first piece of work says it
        _worker = partial(_fail, error)


def _fail(error: LfvarError, chunk: Any) -> Any:
    raise error


def _work(chunk: Any) -> Any:
    assert _worker is not None
    return _worker(chunk)
