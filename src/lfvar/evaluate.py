"""Stage 4: `python -m lfvar.evaluate target=tokenizer|transformer|generated …`.

Writes report.json, report.md, tables of single rows, and pictures into a run folder.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from omegaconf import DictConfig

from lfvar.config import command
from lfvar.errors import ConfigError

Target = Callable[[DictConfig], Any]


def evaluate(cfg: DictConfig) -> Any:
    """Evaluate what a validated config names; callable from tests and notebooks.

    Args:
        cfg: The composed root config of `conf/evaluate.yaml`.

    Returns:
        The report; None with `check=true`.

    Raises:
        ConfigError: When the target is unknown, or a setting does not fit it.
    """
    # `generated=PATH` says by itself what is evaluated.
    target = "generated" if cfg.target is None and cfg.generated is not None else cfg.target
    if target not in TARGETS:
        found = "target is not set" if target is None else f"target={target} is nothing that can be evaluated"
        raise ConfigError(found, cure=f"set target to one of: {', '.join(TARGETS)}")
    return TARGETS[target](cfg)


def _in_module(name: str) -> Target:
    """`evaluate_<name>_run` of `lfvar.evaluation.<name>`, imported when it is called."""

    def run(cfg: DictConfig) -> Any:
        return getattr(import_module(f"lfvar.evaluation.{name}"), f"evaluate_{name}_run")(cfg)

    return run


TARGETS: Mapping[str, Target] = {name: _in_module(name) for name in ("tokenizer", "transformer", "generated")}
"""What can be evaluated; each takes the config and returns its report."""


@command("evaluate")
def main(cfg: DictConfig) -> Any:
    """The command."""
    return evaluate(cfg)


if __name__ == "__main__":
    sys.exit(main())
