"""The processes that Lightning starts for one job: when one fails, and when the job ends.

A thread of Lightning's looks after them (`_ChildProcessObserver` in lightning/fabric/strategies/launchers/
subprocess_script.py). It kills this process up to five seconds after one of them failed, which may then be in the next
job of its sweep, and nothing ends them when this process alone fails. So it is relieved of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

_OBSERVER = "child-process-observer"  # the name of Lightning's thread
_LOOK_SECONDS = 0.5
_HANG_SECONDS = 30.0


class Children:
    """Ranks that this process started for its job.

    When one fails, this process learns it from its next message to it, and ends the job in its own words. Where it
    never does (NCCL waits for many minutes), it is ended.

    Args:
        last_words: Called with what happened, before this process ends itself.
        hang_seconds: How long this process has to notice by itself.
    """

    def __init__(self, last_words: Callable[[str], None], *, hang_seconds: float = _HANG_SECONDS) -> None:
        self.processes: list[subprocess.Popen[Any]] = []
        self._last_words = last_words
        self._hang_seconds = hang_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="lfvar-children")
        self._thread.start()

    def end(self, patience: float) -> None:
        """Wait for them, and kill those that are still there after `patience` seconds."""
        self._over.set()
        self._thread.join()
        self._adopt()
        deadline = time.monotonic() + patience
        try:
            for process in self.processes:
                process.wait(max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            pass  # they wait for a message that will never come
        finally:
            for process in self.processes:
                if process.poll() is None:
                    process.kill()
                    process.wait()

    def _watch(self) -> None:
        failed_at = None
        while not self._over.wait(_LOOK_SECONDS):
            self._adopt()
            failed = [f"rank {rank} with code {process.returncode}" for rank, process in self._failed()]
            if not failed:
                continue
            failed_at = failed_at or time.monotonic()
            if time.monotonic() - failed_at > self._hang_seconds:
                self._give_up(f"{', '.join(failed)} ended, and rank 0 still waits for it")

    def _adopt(self) -> None:
        for thread in threading.enumerate():
            if thread.name == _OBSERVER:
                observer: Any = thread
                self.processes += observer._child_processes
                observer._child_processes = []  # of nobody none failed: the thread ends

    def _failed(self) -> list[tuple[int, subprocess.Popen[Any]]]:
        return [(rank, process) for rank, process in enumerate(self.processes, 1) if process.poll()]

    def _give_up(self, reason: str) -> None:
        try:
            self._last_words(reason)
        finally:
            for process in self.processes:
                process.kill()
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(1)  # the main thread may wait in a library that no signal wakes
