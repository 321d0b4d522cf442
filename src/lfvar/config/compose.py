"""Compose a command's config without starting it: for notebooks and tests."""

from collections.abc import Sequence
from pathlib import Path

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from lfvar.config.build import validate
from lfvar.config.explain import explain
from lfvar.config.locate import conf_folder
from lfvar.config.run import register_resolvers
from lfvar.config.schema import register_schemas


def compose(
    command: str = "train",
    overrides: Sequence[str] = (),
    *,
    config_folder: Path | None = None,
    check: bool = True,
) -> DictConfig:
    """Return the config that `python -m lfvar.<command> <overrides>` would run with.

    Args:
        command: Name of the root config.
        overrides: As on the command line: `["experiment=vqvae", "seed=3"]`.
        config_folder: conf/ (default: ours).
        check: Also run `validate`.

    Raises:
        ConfigError: It cannot be composed, or `validate` finds something wrong.
    """
    register_schemas()
    register_resolvers()
    folder = conf_folder() if config_folder is None else config_folder.absolute()
    try:
        with initialize_config_dir(config_dir=str(folder), version_base="1.3"):
            cfg = hydra_compose(config_name=command, overrides=list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error) from error
    if check:
        validate(cfg)
    return cfg
