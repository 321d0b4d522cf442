"""`python -m lfvar.studio ckpt=RUN`: the studio; without ckpt, with the demo model."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from omegaconf import DictConfig

from lfvar.config import command, make_card, print_card
from lfvar.errors import ConfigError


def studio(cfg: DictConfig) -> None:
    """Open what a validated config names, and serve it until Ctrl-C.

    Raises:
        ConfigError: When the extra `studio` is not installed, or settings do not fit.
        ArtefactError: When a checkpoint is missing, damaged or does not belong.
    """
    lost = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if lost:
        raise ConfigError(f"the studio needs {' and '.join(lost)}", cure="pip install 'lfvar[studio]'")
    if cfg.check:
        print_card(make_card(cfg))
        return
    from lfvar.studio.opening import open_workbench, warm_up
    from lfvar.studio.serve import serve

    workbench = open_workbench(cfg)
    warm_up(workbench)
    serve(workbench, host=cfg.host, port=cfg.port, token=cfg.token, show=cfg.open)


@command("studio")
def main(cfg: DictConfig) -> None:
    """The command."""
    studio(cfg)


if __name__ == "__main__":
    sys.exit(main())
