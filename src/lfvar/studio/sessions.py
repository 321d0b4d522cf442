"""Pages that are open: each has a folder for what it uploaded, which is deleted when the page closes."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lfvar.studio.limits import Limits
from lfvar.studio.refusal import Refusal, missing


@dataclass(frozen=True)
class Upload:
    """A file that somebody gave."""

    name: str
    """As it was called there; only ever shown."""
    path: Path
    shape: tuple[int, int]
    """Height and width."""
    sha256: str
    mask_of: str | None = None
    """The upload, or the dataset's image, that it is the mask of; None: a photograph."""

    @property
    def view(self) -> Path:
        """The photograph as the page shows it."""
        return self.path.with_suffix(".view")


@dataclass
class Session:
    """One open page."""

    id: str
    folder: Path
    limits: Limits
    seen: float
    uploads: OrderedDict[str, Upload] = field(default_factory=OrderedDict)
    results: OrderedDict[str, Any] = field(default_factory=OrderedDict)
    """What requests made, by ticket."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def new_file(self) -> Path:
        """A free place in the folder; no name that somebody gave is ever part of a path.

        Raises:
            Refusal: When the page was closed meanwhile.
        """
        if not self.folder.is_dir():
            raise missing("this page")
        return self.folder / secrets.token_hex(16)

    def add_upload(self, upload: Upload) -> str:
        """Keep a file, and drop the oldest beyond the limit; returns its name here."""
        key = secrets.token_urlsafe(12)
        with self.lock:
            self.uploads[key] = upload
            while len(self.uploads) > self.limits.uploads:
                _, old = self.uploads.popitem(last=False)
                for path in (old.path, old.view):
                    path.unlink(missing_ok=True)
        return key

    def upload(self, key: str) -> Upload:
        """A file of this page.

        Raises:
            Refusal: When there is none of that name.
        """
        with self.lock:
            if key not in self.uploads:
                raise missing("that file")
            return self.uploads[key]

    def add_result(self, key: str, result: Any) -> None:
        """Keep what a request made, and drop the oldest of its kind beyond the limit: edits end no blind test."""
        with self.lock:
            self.results[key] = result
            alike = [other for other, made in self.results.items() if type(made) is type(result)]
            for other in alike[: -self.limits.results]:
                del self.results[other]


class Sessions:
    """All open pages.

    Args:
        limits: How many, and how long they may be silent.
        on_close: Called with the id of a page that closes, to stop its work.
        clock: Seconds, for tests.
    """

    def __init__(
        self,
        limits: Limits,
        on_close: Callable[[str], None] = lambda session_id: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits
        self.folder = Path(tempfile.mkdtemp(prefix="lfvar-studio-"))  # readable by nobody else
        self._on_close = on_close
        self._clock = clock
        self._open: dict[str, Session] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._open)

    def open(self) -> Session:
        """A new page.

        Raises:
            Refusal: When too many are open.
        """
        self.sweep()
        with self._lock:
            if len(self._open) >= self.limits.pages:
                raise Refusal(
                    f"{self.limits.pages} pages of this studio are open already",
                    cure="close one, or try again in some minutes",
                    status=429,
                )
            session = Session(
                secrets.token_urlsafe(24), self.folder / secrets.token_hex(16), self.limits, self._clock()
            )
            session.folder.mkdir(mode=0o700)
            self._open[session.id] = session
        return session

    def get(self, session_id: str) -> Session:
        """An open page, which is thereby seen.

        Raises:
            Refusal: When it is closed.
        """
        with self._lock:
            session = self._open.get(session_id)
        if session is None:
            raise missing("this page")
        session.seen = self._clock()
        return session

    def close(self, session_id: str) -> None:
        """Forget a page and delete its files; nothing happens for one that is closed."""
        with self._lock:
            session = self._open.pop(session_id, None)
        if session is not None:
            self._on_close(session_id)
            shutil.rmtree(session.folder, ignore_errors=True)

    def sweep(self) -> None:
        """Close pages that have been silent for too long."""
        limit = self._clock() - 60 * self.limits.idle_minutes
        for session in [session for session in list(self._open.values()) if session.seen < limit]:
            self.close(session.id)

    def close_all(self) -> None:
        """Delete everything."""
        for session_id in list(self._open):
            self.close(session_id)
        with suppress(OSError):
            shutil.rmtree(self.folder)
