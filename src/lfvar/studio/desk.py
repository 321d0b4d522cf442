"""One request is worked on at a time, a few wait, and whoever asked can stop it at any moment."""

from __future__ import annotations

import queue
import secrets
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from lfvar.errors import LfvarError
from lfvar.studio.refusal import Refusal, missing

State = Literal["waiting", "running", "done", "stopped", "failed"]


class Stopped(BaseException):  # not an Exception: nothing on the way may take it for an error and go on
    """Whoever asked does not want it any more."""


@dataclass
class Ticket:
    """A request on its way."""

    id: str
    session: str
    work: Callable[[Ticket], Any]
    state: State = "waiting"
    progress: float = 0.0
    """From 0 to 1."""
    note: str = ""
    """What is being done."""
    error: str = ""
    parts: list[Any] = field(default_factory=list)
    """What is there already, while the rest is being made."""
    stop: threading.Event = field(default_factory=threading.Event)
    finished: threading.Event = field(default_factory=threading.Event)

    def report(self, progress: float, note: str) -> None:
        """Say how far it is; the place where a request that was stopped ends.

        Raises:
            Stopped: When it was.
        """
        if self.stop.is_set():
            raise Stopped
        self.progress, self.note = progress, note


class Desk:
    """The queue and the thread that works on it.

    Args:
        waiting: How many requests may wait.
        keep: How many finished tickets are remembered.
    """

    def __init__(self, waiting: int, keep: int = 256) -> None:
        self.waiting = waiting
        self._keep = keep
        self._queue: queue.Queue[Ticket | None] = queue.Queue()
        self._tickets: dict[str, Ticket] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="studio-desk", daemon=True)
        self._thread.start()

    def submit(self, session: str, work: Callable[[Ticket], Any]) -> Ticket:
        """Put a request into the queue.

        Raises:
            Refusal: When the queue is full.
        """
        with self._lock:
            ahead = sum(ticket.state == "waiting" for ticket in self._tickets.values())
            if ahead >= self.waiting:
                raise Refusal(
                    f"the studio is busy: {ahead} requests are waiting", cure="try again in a moment", status=429
                )
            ticket = Ticket(secrets.token_urlsafe(12), session, work)
            self._tickets[ticket.id] = ticket
            over = [key for key, old in self._tickets.items() if old.finished.is_set()]
            for key in over[: max(0, len(self._tickets) - self._keep)]:
                del self._tickets[key]
        self._queue.put(ticket)
        return ticket

    def get(self, session: str, key: str) -> Ticket:
        """A ticket of a page.

        Raises:
            Refusal: When there is none.
        """
        ticket = self._tickets.get(key)
        if ticket is None or ticket.session != session:
            raise missing("that request")
        return ticket

    def ahead(self, ticket: Ticket) -> int:
        """How many come before a waiting one, the running one included."""
        count = 0
        for other in list(self._tickets.values()):  # in the order of arrival
            if other is ticket:
                break
            count += other.state in ("waiting", "running")
        return count

    def stop(self, ticket: Ticket) -> None:
        """Stop a request: one that waits at once, one that runs before its next step."""
        ticket.stop.set()
        with self._lock:
            if ticket.state == "waiting":
                ticket.state = "stopped"
                ticket.finished.set()

    def stop_session(self, session: str) -> None:
        """Stop and forget everything that a page asked for."""
        for key, ticket in list(self._tickets.items()):
            if ticket.session == session:
                self.stop(ticket)
                with self._lock:
                    self._tickets.pop(key, None)

    def close(self) -> None:
        """Stop everything and end the thread."""
        for ticket in list(self._tickets.values()):
            self.stop(ticket)
        self._queue.put(None)
        self._thread.join(timeout=10)

    def _work(self) -> None:
        while (ticket := self._queue.get()) is not None:
            with self._lock:
                if ticket.state != "waiting":
                    continue
                ticket.state = "running"
            self._do(ticket)

    def _do(self, ticket: Ticket) -> None:
        state: State = "done"
        try:
            ticket.work(ticket)
            ticket.progress = 1.0
        except Stopped:
            state = "stopped"
        except LfvarError as error:
            state, ticket.error = "failed", f"{error.message}. {error.cure[:1].upper()}{error.cure[1:]}."
        except Exception:  # a bug of ours: the page says so, the terminal has the traceback, and the studio goes on
            traceback.print_exc()
            state, ticket.error = "failed", "The studio made a mistake; its terminal shows which."
        finally:
            ticket.work = _nothing  # whatever it held on to may go
            with self._lock:
                ticket.state = state
            ticket.finished.set()


def _nothing(ticket: Ticket) -> None:
    """What a finished ticket still has to do."""
