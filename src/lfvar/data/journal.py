"""The journal of a run: one line per finished item, appended at once, so that a killed run loses none.

The first line says what the items were made with. A line that was cut short, by a kill or a full disk, is ignored.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from lfvar.errors import DataError


class Journal:
    """An append-only JSON-lines file that one process at a time may write (unchecked where files cannot be locked).

    Args:
        path: The file.
        header: What its items are made with. A journal with another header is started afresh.

    Raises:
        DataError: When another process is writing it.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self._file = path.open("a+b", buffering=0)  # unbuffered: what append() returned from is with the kernel
        if not _lock(self._file):
            self._file.close()
            raise DataError(
                f"another process is writing to '{path.parent}'", cure="wait until it ends, or choose another folder"
            )
        there, self.items, end = _parse(path.read_bytes())
        if there != header:
            self.items, end = [], 0
        if end < path.stat().st_size:
            self._file.truncate(end)
        if end == 0:
            self.append(header)

    def append(self, item: Mapping[str, Any]) -> None:
        """Add an item; it survives the death of this process from here on."""
        line = json.dumps(item, ensure_ascii=False).encode() + b"\n"
        if self._file.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                os.fsync(self._file.fileno())
        finally:
            self._file.close()


def read_header(path: Path) -> dict[str, Any] | None:
    """The first line of a journal; None when there is no journal, or none with a whole first line."""
    try:
        return _parse(path.read_bytes().partition(b"\n")[0] + b"\n")[0]
    except FileNotFoundError:
        return None


def is_being_written(path: Path) -> bool:
    """Whether a process has the journal at `path` open; taken to be so where files cannot be locked."""
    try:
        with path.open("r+b") as file:  # NFS locks only what could be written
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _lock(file: IO[bytes]) -> bool:
    """Lock a file until it is closed; False when another process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Some network file systems are mounted without locks.
        return error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
    return True


def _parse(content: bytes) -> tuple[dict[str, Any] | None, list[dict[str, Any]], int]:
    """Header, items, and where the last whole line ends."""
    end = content.rfind(b"\n") + 1
    header: dict[str, Any] | None = None
    items: list[dict[str, Any]] = []
    for number, line in enumerate(content[:end].splitlines()):
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if number == 0:
            if not isinstance(value, dict):
                return None, [], 0
            header = value
        elif isinstance(value, dict):
            items.append(value)
    return header, items, end
