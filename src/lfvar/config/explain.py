"""Turn what Hydra and OmegaConf say about a config into our two lines: what was found, what to do."""

import re
from collections.abc import Iterator
from typing import Any

from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigKeyError,
    InterpolationKeyError,
    InterpolationToMissingValueError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)

from lfvar.config.locate import conf_folder
from lfvar.config.problems import suggest
from lfvar.config.targets import SPECIAL_KEYS, find_target, signature_of
from lfvar.errors import ConfigError, LfvarError

_OVERRIDING_GROUPS = ("experiment", "debug", "sweep")

_CURES = {
    "Ambiguous value": "add -m to run one job for each value, or write a list: key=[1,2]",
    "Additional config directory": "check the path: it counts from the folder you are in",
    "Could not delete": "check the spelling; --cfg job prints every setting",
}


def explain(error: BaseException) -> LfvarError:
    """Return `error` as an error a user can act on.

    Args:
        error: Raised by Hydra or OmegaConf; one of ours somewhere in its chain of causes is returned as it is.
    """
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, LfvarError):
            return link
    for link in chain:
        if isinstance(link, OverrideParseException):
            return _bad_override(link)
        if isinstance(link, MissingConfigException):
            return _missing_config(link)
    in_file = _file_of(chain)
    for link in chain:
        if isinstance(link, OmegaConfBaseException):
            return _bad_value(link, in_file)
    for link in chain:
        if isinstance(link, ConfigCompositionException) and "No match in the defaults list" in str(link):
            return _bad_group(link)
    detail = _first_line(error)
    cure = next((cure for words, cure in _CURES.items() if words in detail), "see --help; LFVAR_DEBUG=1 tells more")
    return ConfigError(detail, cure=cure)


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _bad_override(error: OverrideParseException) -> ConfigError:
    override = error.override or ""
    return ConfigError(
        f"{override!r} on the command line cannot be read: {_first_line(error)}",
        cure="write key=value without spaces around =; quote a value that holds = , or spaces twice: key='\"a=b, c\"'",
    )


def _missing_config(error: MissingConfigException) -> ConfigError:
    if error.missing_cfg_file is None or "/" not in error.missing_cfg_file:
        return ConfigError(
            _first_line(error),
            cure="check the name; --config-dir=<folder> adds a folder of your own, `--info searchpath` shows all",
        )
    group, _, name = error.missing_cfg_file.rpartition("/")
    options = [option for option in error.options or () if option]
    return ConfigError(
        f"{group}={name}: there is no {group}/{name}.yaml",
        cure=f"{suggest(name, options)} (--config-dir=<folder> adds a folder of your own)",
    )


def _bad_group(error: ConfigCompositionException) -> ConfigError:
    found = re.search(r"(?:override|delete) '([^']+)'", str(error))
    key = found.group(1) if found else ""
    groups = [folder.name for folder in conf_folder().iterdir() if folder.is_dir()]
    if key in groups:
        return ConfigError(f"this command does not use the group {key!r}", cure="see --help for what it takes")
    return ConfigError(f"{_first_line(error)}", cure=suggest(key.partition("@")[0], groups))


def _bad_value(error: OmegaConfBaseException, in_file: str) -> ConfigError:
    path = str(error.full_key or error.key or "")
    detail = _first_line(error)
    if isinstance(error, MissingMandatoryValue):
        return ConfigError(f"{in_file}{path or detail} is missing (??? in its YAML)", cure=f"set {path}=<value>")
    if isinstance(error, (InterpolationKeyError, InterpolationToMissingValueError)):
        return ConfigError(
            f"{in_file}{path}: {detail}",
            cure=f"set the key that {path} refers to, or write a value in place of the ${{…}}",
        )
    if _is_unknown_key(error):
        return ConfigError(f"{in_file}{path} is no key of the config", cure=_suggest_key(error, path))
    if isinstance(error, ValidationError):
        return ConfigError(f"{in_file}{path}: {detail}", cure=f"set {path} to a value of the right kind")
    return ConfigError(
        f"{in_file}{path + ': ' if path else ''}{detail}", cure="see --help, or --cfg job for all settings"
    )


def _is_unknown_key(error: OmegaConfBaseException) -> bool:
    text = str(error)
    return isinstance(error, (ConfigKeyError, AttributeError)) and ("is not in struct" in text or "not in '" in text)


def _keys_beside(error: OmegaConfBaseException, path: str) -> list[str]:
    parent = error.parent_node
    keys = [str(key) for key in parent] if isinstance(parent, DictConfig) and not parent._is_missing() else []
    kind = OmegaConf.get_type(parent) if parent is not None else None
    keys += list(getattr(kind, "__dataclass_fields__", {}))
    if "." not in path:
        keys += _OVERRIDING_GROUPS
    return [key for key in keys if key != "hydra" and key not in SPECIAL_KEYS]


def _parameters_of(node: Any) -> list[str]:
    """Name the parameters of the `_target_` beside a wrong key: `+` adds those that no YAML sets."""
    if not isinstance(node, DictConfig) or node._is_missing() or "_target_" not in node:
        return []
    try:
        signature = signature_of(find_target(str(node["_target_"]), ""))
    except ConfigError:
        return []
    return list(signature.parameters) if signature is not None else []


def _suggest_key(error: OmegaConfBaseException, path: str) -> str:
    parent, _, key = path.rpartition(".")
    prefix = f"{parent}." if parent else ""
    known = _keys_beside(error, path)
    parameters = _parameters_of(error.parent_node)
    if key in parameters:
        return f"write +{path}=<value>: it is a parameter that no YAML sets yet, and + adds a key"
    said = suggest(key, [*known, *parameters])
    if said.startswith("did you mean"):
        near = said.split("'")[1]
        return f"did you mean '{prefix}{near}'?" if near in known else f"did you mean '+{prefix}{near}'?"
    return said


def _file_of(chain: list[BaseException]) -> str:
    for link in chain:
        found = re.match(r"In '([^']+)':", str(link))
        if found and isinstance(link, HydraException):
            return f"{found.group(1)}.yaml: "
    return ""


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
