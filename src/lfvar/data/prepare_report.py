"""What a preparation came to, for the terminal."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Column, Table
from rich.text import Text

from lfvar.data.splits import SPLITS


@dataclass(frozen=True)
class PrepareReport:
    """Counts of one run."""

    name: str
    folder: Path
    manifest_hash: str
    num_listed: int
    num_prepared: int
    """In the manifest: new and kept."""
    num_new: int
    """Opened in this run; the others were kept from an earlier one. Rejected ones that were opened count too."""
    rejected: Mapping[str, int]
    """Images per reason."""
    counts: Mapping[str, Mapping[str, int]]
    """Images per split and type."""
    warnings: tuple[str, ...]
    seconds: float
    num_workers: int

    @property
    def num_rejected(self) -> int:
        """Rows of `rejected.csv`."""
        return sum(self.rejected.values())

    @property
    def images_per_second(self) -> float:
        """Rate of this run's own work."""
        return self.num_new / self.seconds if self.seconds > 0 else 0.0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(f"{self.name}: {self.num_prepared} of {self.num_listed} images prepared in '{self.folder}'")
        yield Text(
            f"{self.num_new} opened now ({self.images_per_second:.0f}/s, {self.num_workers} "
            f"worker{'s' if self.num_workers > 1 else ''}, {self.seconds:.1f} s), the others kept"
        )
        labels = list(self.counts[SPLITS[0]])
        table = Table("images", *(Column(name, justify="right") for name in (*labels, "all")))
        for split in SPLITS:
            numbers = [self.counts[split][label] for label in labels]
            if any(numbers):
                table.add_row(split, *map(str, numbers), str(sum(numbers)))
        yield table
        if self.rejected:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.rejected.items())
            yield Text(f"rejected: {reasons} (see rejected.csv)")
        yield from (Text(f"warning: {warning}") for warning in self.warnings)
        yield Text(f"manifest {self.manifest_hash[:12]}")

    def __str__(self) -> str:
        console = Console(width=200, file=io.StringIO(), color_system=None)
        with console.capture() as captured:
            console.print(self)
        return captured.get().rstrip()
