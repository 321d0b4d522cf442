"""What the studio says when it does not do something: one sentence, and the status it goes with."""

from __future__ import annotations

from lfvar.errors import LfvarError


class Refusal(LfvarError):  # noqa: N818 (not a failure: an answer)
    """A request that is not done.

    Args:
        message: What was found.
        cure: What to do about it.
        status: Of HTTP: 400 not usable, 404 not there, 409 too late, 413 too large, 429 too much at once.
    """

    def __init__(self, message: str, *, cure: str, status: int = 400) -> None:
        super().__init__(message, cure=cure)
        self.status = status


def missing(what: str) -> Refusal:
    """Something that is not there (any more)."""
    return Refusal(f"{what} is not here", cure="reload the page; what an earlier page made is deleted", status=404)
