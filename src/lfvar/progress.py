"""Progress of long work: a bar with rate and time left in a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class ProgressBar:
    """Counts items to standard error.

    Args:
        total: Number of items.
        title: What is being done.
        interval: Seconds between lines where there is no terminal.
        stream: Where to; None is standard error.
    """

    def __init__(self, total: int, title: str, *, interval: float = 5.0, stream: TextIO | None = None) -> None:
        self.total = total
        self.title = title
        self.done = 0
        self._skipped = 0
        self._interval = interval
        self._stream = stream if stream is not None else sys.stderr
        self._start = self._last = time.monotonic()
        console = Console(file=self._stream)
        self._bar = (
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=console,
            )
            if console.is_terminal and total > 0
            else None
        )
        self._task = self._bar.add_task(title, total=total, rate="") if self._bar else None

    def skip(self, count: int) -> None:
        """This many items were done before the bar started: they count, but not towards the rate."""
        self.done += count
        self._skipped += count
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=count)

    def advance(self, count: int = 1, note: str = "") -> None:
        """Say that more items are done.

        Args:
            count: How many.
            note: A few words on how it goes, such as a loss.
        """
        self.done += count
        now = time.monotonic()
        rate = (self.done - self._skipped) / max(now - self._start, 1e-9)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=count, rate=f"{rate:.1f}/s  {note}")
        elif now - self._last >= self._interval:
            self._last = now
            left = (self.total - self.done) / max(rate, 1e-9)
            line = f"{self.title}: {self.done}/{self.total}, {rate:.1f}/s, {left:.0f} s left"
            print(f"{line}  {note}".rstrip(), file=self._stream, flush=True)

    def __enter__(self) -> ProgressBar:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
