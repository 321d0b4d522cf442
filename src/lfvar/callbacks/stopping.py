"""Signals that end a run at the end of a step, on all of its processes alike."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lfvar.lit.collective import place_among_processes

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Ctrl-C; what schedulers and people send to end a process; what schedulers can be told to send before that."""


class StopRequest:
    """Notes the signals a process gets, and tells all processes of the run at the same step.

    A signal is only noted, for the step that is under way to end; a second Ctrl-C ends the process at once. Processes
    tell each other in a message that travels while the next step is computed, so that nobody waits: they stop one step
    after the first of them was asked to.
    """

    def __init__(self) -> None:
        self._asked = 0
        self._asked_at = 0.0
        self._before: dict[signal.Signals, Any] = {}
        self._group: dist.ProcessGroup | None = None
        self._message: tuple[dist.Work, Tensor] | None = None

    def install(self) -> None:
        """Take over the signals, in the main thread; to be called by all processes."""
        self._asked, self._message = 0, None
        if place_among_processes()[1] > 1:
            # A group of its own: on the CPU, so that no GPU waits for it, and beside all other traffic.
            self._group = dist.new_group(backend="gloo")
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            before = signal.getsignal(number)
            if number == signal.SIGTERM and in_submitit():
                continue  # submitit lets it pass, and asks with a signal of its own
            self._before[number] = before
            signal.signal(number, self._note)

    def restore(self) -> None:
        """Give the signals back."""
        for number, before in self._before.items():
            signal.signal(number, before if before is not None else signal.SIG_DFL)
        self._before = {}

    def close(self) -> None:
        """Receive the last message, so that no process leaves while another one sends; to be called by all."""
        if self._message is not None:
            self._message[0].wait()
            self._message = None
        if self._group is not None:
            dist.destroy_process_group(self._group)
            self._group = None

    def agreed(self) -> int:
        """The signal to stop for, the same on all processes; 0: none. To be called once per step, by all of them."""
        if self._group is None:
            return self._asked
        found = 0
        if self._message is not None:
            work, told = self._message
            work.wait()
            found = int(told)
        told = torch.tensor(self._asked)
        work = dist.all_reduce(told, op=dist.ReduceOp.MAX, group=self._group, async_op=True)
        assert work is not None
        self._message = (work, told)
        return found

    def hand_on(self, number: int) -> None:
        """Let the handler have it that was there before ours, if it is submitit's: it starts the job again."""
        handler = self._before.get(signal.Signals(number))
        if in_submitit() and callable(handler):
            handler(number, sys._getframe())

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self._asked:
            self._asked, self._asked_at = number, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._asked_at > 1:  # torchrun repeats the first at once
            self.restore()
            raise KeyboardInterrupt


def in_submitit() -> bool:
    """Whether submitit started this process."""
    return "SUBMITIT_EXECUTOR" in os.environ
