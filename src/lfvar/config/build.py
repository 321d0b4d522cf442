"""From a composed config to objects: check everything, then build.

`validate` looks at the whole config and reports all it finds; `build` makes the object one node describes.
"""

import functools
import re
from dataclasses import is_dataclass
from typing import Any

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lfvar.config.annotations import BuiltLater
from lfvar.config.coerce import coerce
from lfvar.config.crossfield import check_fields
from lfvar.config.explain import explain
from lfvar.config.problems import Problem, raise_problems, suggest
from lfvar.config.schema import CommandRoot
from lfvar.config.signatures import check_node, check_signatures, is_pure_config
from lfvar.errors import ConfigError, LfvarError

FREE_ROOTS = ("paths", "generate", "evaluate")  # typed by the root schema, built by nobody

# What a constructor raises when a value is wrong; anything else is a bug and keeps its traceback.
_VALUE_ERRORS = (ValueError, TypeError, FileNotFoundError, ImportError)


def validate(cfg: DictConfig) -> None:
    """Check the whole config: nothing runs unvalidated.

    In this order: values that are missing, interpolations, root keys, every `_target_` against its signature, the
    checks frozen dataclasses make of themselves, and settings against each other.

    Args:
        cfg: The root config, as Hydra composed it.

    Raises:
        ConfigError: Holds everything that is wrong, each with its full path and its cure.
    """
    try:
        missing = sorted(OmegaConf.missing_keys(cfg))
    except OmegaConfBaseException as error:
        raise explain(error) from error
    raise_problems([_missing(path) for path in missing])
    config = _plain(cfg)
    problems = _unknown_roots(cfg)
    groups = [key for key, value in config.items() if isinstance(value, dict) and key not in FREE_ROOTS]
    typed = [group for group in groups if is_dataclass(OmegaConf.get_type(cfg, group))]
    problems += check_signatures(config, groups=groups, typed=typed)
    raise_problems(problems)
    problems = [problem for group in groups for problem in _check_themselves(cfg[group], group)]
    problems += check_fields(config)
    raise_problems(problems)


def build(node: DictConfig | ListConfig | dict[str, Any] | None, *, path: str = "", **arguments: Any) -> Any:
    """Build the object that a node with a `_target_` describes, and everything below it.

    Lists become tuples and text becomes a `Path` where the signature asks for that.

    Args:
        node: The node, usually part of the composed config (`cfg.model`).
            None, a group that is switched off, gives None.
        path: The node's place in the config, for messages; found by itself for a part of a composed config.
        **arguments: Given to the outermost `_target_` in addition, e.g. `params=net.parameters()`.

    Raises:
        ConfigError: A signature does not fit, or a constructor rejects a value.
    """
    if isinstance(node, (DictConfig, ListConfig)):
        path = path or str(node._get_full_key(None))
    plain = _plain(node)
    given = {name: BuiltLater(target=None, is_partial=False) for name in arguments}
    raise_problems(list(check_node({**plain, **given} if given else plain, path or "config")))
    rewritten = coerce(plain)
    if isinstance(rewritten, dict):
        rewritten.setdefault("_convert_", "all")
    try:
        if isinstance(rewritten, list):
            return hydra.utils.instantiate(rewritten, _convert_="all")
        if not arguments:
            return hydra.utils.instantiate(rewritten)
        # Hydra would merge arguments into the config, and take a dataclass among them for a config: give them later.
        is_partial = bool(plain.get("_partial_", False))
        for name in arguments:
            rewritten.pop(name, None)
        deferred = hydra.utils.instantiate({**rewritten, "_partial_": True})
        return functools.partial(deferred, **arguments) if is_partial else deferred(**arguments)
    except InstantiationException as error:
        raise _innermost(error, path) from error
    except _VALUE_ERRORS as error:
        raise ConfigError(f"{path}: {error}", cure=f"change the settings below {path}") from error


def build_each(group: DictConfig | dict[str, Any] | None) -> list[Any]:
    """Build every member of a group such as `callbacks`, in order; a member set to null is left out.

    Args:
        group: Name → node; None or empty for a group that is switched off.
    """
    if not group:
        return []
    return [build(node, path="" if OmegaConf.is_config(node) else name) for name, node in _members(group)]


def _members(group: DictConfig | dict[str, Any]) -> list[tuple[str, Any]]:
    return [(str(name), node) for name, node in group.items() if node is not None]


def _plain(cfg: Any) -> Any:
    if not OmegaConf.is_config(cfg):
        return cfg
    try:
        return OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True, enum_to_str=True)
    except OmegaConfBaseException as error:
        raise explain(error) from error


def _missing(path: str) -> Problem:
    if path == "stage":
        return Problem(
            "stage is not set: there is nothing to run yet",
            "choose an experiment, e.g. experiment=vqvae (--help lists them), or set stage",
        )
    return Problem(
        f"{path} is missing (??? in its YAML)", f"set {path}=<value> on the command line or in the experiment"
    )


def _unknown_roots(cfg: DictConfig) -> list[Problem]:
    schema = OmegaConf.get_type(cfg)
    if not (isinstance(schema, type) and issubclass(schema, CommandRoot)):
        return []
    known = list(schema.__dataclass_fields__)
    return [
        Problem(f"{key} is no key of this command", suggest(key, known)) for key in map(str, cfg) if key not in known
    ]


def _check_themselves(node: Any, path: str) -> list[Problem]:
    """Build frozen dataclasses, which check themselves in `__post_init__` and cost nothing."""
    if OmegaConf.is_list(node):
        return [problem for index, child in enumerate(node) for problem in _check_themselves(child, f"{path}[{index}]")]
    if not OmegaConf.is_dict(node):
        return []
    if "_target_" in node and is_pure_config(_plain(node)):
        try:
            build(node, path=path)
        except ConfigError as error:
            return [Problem(error.message, error.cure)]
        return []
    return [problem for key in node for problem in _check_themselves(node[key], f"{path}.{key}")]


def _innermost(error: InstantiationException, path: str) -> Exception:
    """Find the exception a constructor raised, and where; Hydra wraps it once per level."""
    below = ""
    cause: BaseException = error
    while isinstance(cause, InstantiationException):
        found = re.search(r"^full_key: (.+)$", str(cause), flags=re.MULTILINE)
        below = found.group(1) if found else below
        if cause.__cause__ is None:
            break
        cause = cause.__cause__
    where = path + (below if below.startswith("[") or not path or not below else f".{below}")
    if isinstance(cause, LfvarError):
        return type(cause)(f"{where}: {cause.message}", cure=cause.cure)
    if isinstance(cause, _VALUE_ERRORS):
        return ConfigError(f"{where}: {cause}", cure=f"change the settings below {where}")
    return cause if isinstance(cause, Exception) else error
