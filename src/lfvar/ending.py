"""How every command ends: what it left and where, how long it took, and what to do next."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

IN_PIPELINE = "LFVAR_IN_PIPELINE"
"""Environment variable of steps of a pipeline, which knows what comes next."""


def show_ending(files: Mapping[str, str | Path], seconds: float, *, next_command: str | None = None) -> None:
    """Print the last lines of a command.

    Args:
        files: What was made, by what it is; files and folders that exist.
        seconds: How long it took.
        next_command: What most people do now.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    width = max(map(len, files), default=0)
    console.print()
    for name, path in files.items():
        line = Text.assemble((f"{name:<{width}}", "bold"), f"  {show_path(path)}", (f"  {show_size(path)}", "dim"))
        console.print(line, soft_wrap=True)  # a path in two lines cannot be copied
    console.print(f"done in {show_seconds(seconds)}")
    if next_command is not None and IN_PIPELINE not in os.environ:
        console.print(Text.assemble(("next: ", "bold"), next_command), soft_wrap=True)


def show_path(path: str | Path) -> str:
    """A path as short as it can be typed here."""
    path = Path(path)
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def show_size(path: str | Path) -> str:
    """How much lies there: bytes of a file, files of a folder."""
    path = Path(path)
    if path.is_dir():
        count = sum(1 for _ in path.iterdir())
        return f"{count} file{'s' if count != 1 else ''}"
    try:
        size = float(path.stat().st_size)
    except OSError:
        return ""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def show_seconds(seconds: float) -> str:
    """A duration as people say it."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
