"""Errors a user can act on: where, what was found, what to do.

`LfvarError` and its children are for users; commands print them as two lines and exit 1. A broken invariant of our
own is an `assert` or a built-in exception and keeps its traceback.
"""

import errno


class LfvarError(Exception):
    """Something the user can mend.

    Args:
        message: Where it happened and what was found.
        cure: What to do about it: a setting to change, a command to run.
    """

    def __init__(self, message: str, *, cure: str) -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.message}\n  what to do: {self.cure}"

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the trip from a worker process (exceptions with keyword arguments do not by default)."""
        return (_rebuild, (type(self), self.message, self.cure))


class ConfigError(LfvarError):
    """A setting is misspelt, has a wrong value, or contradicts another one."""


class DataError(LfvarError):
    """A dataset, or a file of it, is missing or not what it should be."""


class ArtefactError(LfvarError):
    """A file we made (manifest, cache, checkpoint) is missing, damaged, or was made by other settings."""


class DivergedError(LfvarError):
    """A loss or gradient is no number any more: what training made since its last checkpoint is lost."""


class DiskFullError(LfvarError):
    """There is no space left where something is to be written."""

    ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
    """Of an `OSError`: no space left, quota exceeded, file too large."""


class Stopped(BaseException):  # as KeyboardInterrupt: no `except Exception` may swallow it
    """A signal ended a run.

    Args:
        signal: Its number.
        message: When, and what became of the run.
    """

    def __init__(self, signal: int, message: str) -> None:
        super().__init__(signal, message)
        self.signal = signal
        self.message = message

    @property
    def exit_code(self) -> int:
        """128 + the signal, as shells have it: 143 for SIGTERM."""
        return 128 + self.signal


def _rebuild(kind: type[LfvarError], message: str, cure: str) -> LfvarError:
    return kind(message, cure=cure)
