"""How much the studio takes on: what is beyond is refused with a sentence."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """Each at least 1."""

    upload_megabytes: int = 30
    """Largest file."""
    megapixels: int = 32
    """Largest photograph (dermoscopy has up to 24)."""
    uploads: int = 12
    """Files that a page keeps; the oldest goes first."""
    samples: int = 16
    """Images of one request."""
    trials: int = 100
    """Images of one blind test."""
    waiting: int = 8
    """Requests in the queue, over all pages; one more is worked on."""
    pages: int = 16
    """Pages open at once."""
    results: int = 8
    """Finished requests that a page can still look at and download; the oldest goes first."""
    idle_minutes: int = 10
    """A page that says nothing for so long is closed: its files are deleted."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(f"{field.name} must be at least 1, got {getattr(self, field.name)}")
