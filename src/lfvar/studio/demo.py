"""The demo model: loaded where `make demo` left it, or trained first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from lfvar.config.command import EXIT_INTERRUPTED
from lfvar.config.stamp import STAMP_VARIABLE
from lfvar.errors import ArtefactError

_DONE = "step.json"  # what `lfvar.pipeline` leaves in the folder of a finished step


def demo_words(folder: Path) -> list[str]:
    """The command of `make demo`, up to the transformer."""
    return [
        *("-m", "lfvar.pipeline", "experiment=demo", f"folder={folder}"),
        *(f"paths.runs={folder / 'runs'}", f"paths.prepared={folder / 'prepared'}", "until=transformer"),
    ]


def find_demo(folder: Path) -> Path | None:
    """The run folder of the newest demo transformer that is finished; None where there is none."""
    finished = [
        path.parent
        for path in folder.glob(f"transformer-*/{_DONE}")
        if (path.parent / "checkpoints" / "best.ckpt").is_file()
    ]
    return max(finished, key=lambda path: (path / _DONE).stat().st_mtime, default=None)


def require_demo(folder: Path) -> Path:
    """The demo transformer, trained now if it is not there; either is said.

    Raises:
        ArtefactError: When training failed; its own message stands above.
        KeyboardInterrupt: When it was stopped; the next start goes on from there.
    """
    found = find_demo(folder)
    if found is not None:
        print(f"no ckpt given: this is the demo model of {found}, trained on phantom images", flush=True)
        return found
    print(
        f"no ckpt given, and no demo model in '{folder}': training it now, about ten minutes on two cores.\n"
        "Ctrl-C stops; the next start goes on from there.",
        flush=True,
    )
    environment = {key: value for key, value in os.environ.items() if key != STAMP_VARIABLE}
    code = subprocess.run([sys.executable, *demo_words(folder)], env=environment, check=False).returncode
    if code == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    found = find_demo(folder)
    if code or found is None:
        raise ArtefactError(
            f"the demo model could not be trained (exit code {code})",
            cure="mend what it says above, or give ckpt=<run folder of experiment=var>",
        )
    return found
