"""Stage 0: `python -m lfvar.prepare data=ham10000 data.root=PATH image_size=256`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from lfvar.config import build, command, is_rank_zero, make_card, print_card

if TYPE_CHECKING:
    from lfvar.data.manifest import Manifest


def prepare(cfg: DictConfig) -> Manifest:
    """Prepare the dataset of a config, or go on where a killed run stopped, and print what came out."""
    from lfvar.data.manifest import Manifest
    from lfvar.data.prepare import prepare as run

    arguments = _arguments(cfg)
    report = run(**arguments)
    print(report, flush=True)
    return Manifest.read(arguments["folder"])


def require_prepared(cfg: DictConfig) -> Manifest:
    """The manifest of the prepared data of a config, prepared now if nothing has been yet.

    The first process prepares; the others wait for its manifest.

    Raises:
        DataError: As `lfvar.data.prepare.prepare`.
        ArtefactError: When the folder was prepared with other settings.
    """
    manifest = find_prepared(cfg)
    while manifest is None:
        if is_rank_zero(os.environ):
            print(f"nothing is prepared at {cfg.data.folder} yet: preparing {cfg.data.name} now", flush=True)
            prepare(cfg)
        else:
            time.sleep(2.0)
        manifest = find_prepared(cfg)
    return manifest


def find_prepared(cfg: DictConfig) -> Manifest | None:
    """The manifest of the prepared data of a config; None when nothing is prepared.

    Raises:
        ArtefactError: When the folder was prepared with other settings.
    """
    from lfvar.data.prepare import check_prepared

    return check_prepared(**_arguments(cfg))


def _arguments(cfg: DictConfig) -> dict[str, Any]:
    data = cfg.data
    given = [f"data={data.name}", f"data.root={data.root}" if data.root else "", f"image_size={cfg.image_size}"]
    return {
        "source": build(data.source),
        "name": str(data.name),
        "config": build(data.prepare),
        "split": build(data.split),
        "folder": Path(data.folder),
        "command": " ".join(["python -m lfvar.prepare", *filter(None, given)]),
    }


@command("prepare")
def main(cfg: DictConfig) -> None:
    """The command."""
    if cfg.check:
        print_card(make_card(cfg))
        return
    prepare(cfg)


if __name__ == "__main__":
    sys.exit(main())
