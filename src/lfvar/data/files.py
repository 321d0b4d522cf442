"""Files on disk: replaced whole or not at all, and named by what they contain."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from pathlib import Path

TEMPORARY_MARK = ".tmp-"
"""Part of the name of every file that is not finished yet; what a killed run leaves behind carries it."""

_FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def replace_file(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Write `data` to `path` so that a reader sees the old file or the new one, never a part.

    Args:
        path: Where; the temporary file lies beside it, so that the rename stays on one file system.
        data: The whole content.
        sync: Wait until the content is on the disk, for the few files that everything hangs on.
    """
    temporary = path.with_name(f".{path.name}{TEMPORARY_MARK}{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def remove_temporary_files(folder: Path) -> None:
    """Remove what a killed run left half-written in `folder`."""
    for path in folder.glob(f".*{TEMPORARY_MARK}*"):
        path.unlink(missing_ok=True)


def kept_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints that are kept beside `last.ckpt` and named by their steps, oldest first."""
    steps = {path: path.stem.removeprefix("step-") for path in folder.glob("step-*.ckpt")}
    return sorted((path for path, step in steps.items() if step.isdigit()), key=lambda path: int(steps[path]))


def hash_bytes(data: bytes) -> str:
    """The SHA-256 of `data` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def is_full_disk(error: OSError) -> bool:
    """Whether `error` says that there is no room left (disk, quota or file size limit)."""
    return error.errno in _FULL_DISK
