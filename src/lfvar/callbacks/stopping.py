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

    @property
    def listening(self) -> bool:
        """Whether signals are taken over."""
        return bool(self._before)

    def listen(self, *, ctrl_c: bool = True) -> None:
        """Take over the signals, in the main thread.

        Lightning puts its own handler of SIGTERM before ours whenever it starts to train, validate or test, and it
        ends runs in the middle: so this is called before Lightning starts, and again after.

        Args:
            ctrl_c: Whether Ctrl-C waits as well; where nothing is lost by it, it need not.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        if not self._before:
            self._asked = 0
        for number in SIGNALS:
            if number == signal.SIGINT and not ctrl_c:
                continue
            before = self._before.setdefault(number, signal.getsignal(number))
            # submitit lets SIGTERM pass, and asks with a signal of its own
            leave = number == signal.SIGTERM and in_submitit()
            signal.signal(number, _handler(before) if leave else self._note)

    def join(self) -> None:
        """Get ready to tell the other processes; to be called by all of them."""
        if self._group is None and place_among_processes()[1] > 1:
            # A group of its own: on the CPU, so that no GPU waits for it, and beside all other traffic.
            self._group = dist.new_group(backend="gloo")

    def release(self) -> None:
        """Give the signals back for now: Lightning may set our handlers again when it ends."""
        if threading.current_thread() is threading.main_thread():
            for number, before in self._before.items():
                signal.signal(number, _handler(before))

    def restore(self) -> None:
        """Give the signals back for good."""
        self.release()
        self._before = {}

    def close(self) -> None:
        """Receive the last message, so that no process leaves while another one sends; to be called by all."""
        self._receive()
        if self._group is not None:
            dist.destroy_process_group(self._group)
            self._group = None

    def agreed(self) -> int:
        """The signal to stop for, the same on all processes; 0: none. To be called once per step, by all of them."""
        if self._group is None:
            return self._asked
        found = self._receive()
        told = torch.tensor(self._asked)
        work = dist.all_reduce(told, op=dist.ReduceOp.MAX, group=self._group, async_op=True)
        assert work is not None
        self._message = (work, told)
        return found

    def agreed_by_now(self) -> int:
        """As `agreed`, of signals up to this moment: all processes wait for each other."""
        self.join()
        self._receive()
        told = torch.tensor(self._asked)
        if self._group is not None:
            dist.all_reduce(told, op=dist.ReduceOp.MAX, group=self._group)
        return int(told)

    def hand_on(self, number: int) -> None:
        """Let the handler have it that was there before ours, if it is submitit's: it starts the job again."""
        handler = self._before.get(signal.Signals(number))
        if in_submitit() and callable(handler):
            handler(number, sys._getframe())

    def _receive(self) -> int:
        """What the last message says, waiting for it; 0 without one."""
        if self._message is None:
            return 0
        work, told = self._message
        self._message = None
        work.wait()
        return int(told)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self._asked:
            self._asked, self._asked_at = number, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._asked_at > 1:  # torchrun repeats the first at once
            self.release()
            raise KeyboardInterrupt


def _handler(before: Any) -> Any:
    """What a signal's handler was, in a form that can be set; Python knows none for those set outside of it."""
    return before if before is not None else signal.SIG_DFL


def in_submitit() -> bool:
    """Whether submitit started this process."""
    return "SUBMITIT_EXECUTOR" in os.environ
