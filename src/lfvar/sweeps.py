"""The table of a sweep: printed when the sweep ends, and again by `python -m lfvar.sweeps FOLDER`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lfvar.config.sweep import markdown, markdown_over, write_tables
from lfvar.errors import LfvarError


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: write `sweep.csv` and `sweep.md` again, and print what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m lfvar.sweeps", description=__doc__)
    parser.add_argument("folder", type=Path, help="of the sweep: runs/sweeps/<time>")
    parser.add_argument("metrics", nargs="*", help="columns (default: what checkpoints were chosen by)")
    parser.add_argument("--over", metavar="KEY", help="means over jobs that differ in this setting alone, e.g. seed")
    given = parser.parse_args(arguments)
    try:
        jobs = write_tables(given.folder)
    except LfvarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(markdown_over(jobs, given.over, given.metrics) if given.over else markdown(jobs, given.metrics))
    return 0


if __name__ == "__main__":
    sys.exit(main())
