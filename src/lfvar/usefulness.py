"""The table of a usefulness sweep: printed when the sweep ends, and again by `python -m lfvar.usefulness FOLDER`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from lfvar.errors import LfvarError

TABLE_FILE = "usefulness.md"


def write_table(folder: Path) -> str:
    """Make the table of the finished classifiers below `folder`, and write it there as `usefulness.md`.

    Raises:
        DataError: When there is none, or they cannot be compared.
        ArtefactError: When a run card is damaged.
    """
    from lfvar.metrics.usefulness import read_runs, usefulness_table

    table = usefulness_table(read_runs(folder))
    (folder / TABLE_FILE).write_text(table, encoding="utf-8")
    return table


class TableOfSweep(Callback):
    """Prints and writes the table after the last job; Hydra builds it from `hydra.callbacks`."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Called by Hydra. Jobs that failed are not in the table; without a single one there is none."""
        folder = Path(config.hydra.sweep.dir)
        if config.get("check") or not folder.is_dir():
            return
        try:
            print(f"\n{write_table(folder)}\n{folder / TABLE_FILE}", flush=True)
        except LfvarError as error:
            print(f"no table: {error}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m lfvar.usefulness", description=__doc__)
    parser.add_argument("folder", type=Path, help="of the sweep: runs/sweeps/<time>")
    folder = parser.parse_args(arguments).folder
    try:
        print(write_table(folder))
    except LfvarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
