"""Look up what a `_target_` names, and what it accepts."""

import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any

from lfvar.config.problems import suggest
from lfvar.errors import ConfigError

SPECIAL_KEYS = ("_target_", "_args_", "_partial_", "_recursive_", "_convert_")


@dataclass(frozen=True)
class Signature:
    """The parameters of a callable, with their annotations resolved.

    Args:
        parameters: By name; `*args` and `**kwargs` are left out.
        annotations: By name; `Any` where there is none or it cannot be resolved.
        takes_any_keyword: True if `**kwargs` is accepted.
        takes_any_position: True if `*args` is accepted.
    """

    parameters: Mapping[str, inspect.Parameter]
    annotations: Mapping[str, Any]
    takes_any_keyword: bool
    takes_any_position: bool

    def positional(self) -> list[str]:
        """Names that may be given by position, in order."""
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return [name for name, parameter in self.parameters.items() if parameter.kind in kinds]

    def required(self) -> list[str]:
        """Names without a default value."""
        return [name for name, parameter in self.parameters.items() if parameter.default is inspect.Parameter.empty]


def find_target(name: str, path: str) -> Callable[..., Any]:
    """Import what `name` ("package.module.Class") means.

    Args:
        name: The dotted name.
        path: Where in the config it stands, for the message.

    Raises:
        ConfigError: It cannot be imported, does not exist, or is not callable.
    """
    where = f"{path}._target_" if path else "_target_"
    parts = name.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise ConfigError(
            f"{where}={name!r} is not a dotted name", cure="write it as package.module.Class, e.g. lfvar.nn.vqvae.VQVAE"
        )
    module: types.ModuleType | None = None
    depth = 0
    for depth in range(len(parts), 0, -1):
        module_name = ".".join(parts[:depth])
        try:
            module = importlib.import_module(module_name)
            break
        except ModuleNotFoundError as error:
            # Only "this very part is no module" means: look for an attribute. A missing dependency is another story.
            if error.name is None or not (module_name == error.name or module_name.startswith(error.name + ".")):
                raise _import_failed(where, name, error) from error
        except Exception as error:
            raise _import_failed(where, name, error) from error
    if module is None:
        raise ConfigError(
            f"{where}={name!r}: there is no package {parts[0]!r}",
            cure=f"check the spelling, or install it: pip install {parts[0]}",
        )
    found: Any = module
    for position in range(depth, len(parts)):
        if not hasattr(found, parts[position]):
            owner = ".".join(parts[:position])
            raise ConfigError(
                f"{where}={name!r}: {owner!r} has no {parts[position]!r}",
                cure=_suggest_member(parts[position], found),
            )
        found = getattr(found, parts[position])
    if not callable(found):
        raise ConfigError(
            f"{where}={name!r} is a {type(found).__name__}, not a class or function",
            cure="name a class or function, or write the value itself",
        )
    return typing.cast(Callable[..., Any], found)


def _import_failed(where: str, name: str, error: Exception) -> ConfigError:
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    is_foreign = missing is not None and not missing.startswith("lfvar")
    cure = f"install it: pip install {missing}" if is_foreign else "run `python -m lfvar.doctor` to see what is broken"
    return ConfigError(f"{where}={name!r} cannot be imported: {type(error).__name__}: {error}", cure=cure)


def _suggest_member(wrong: str, owner: Any) -> str:
    known = [name for name in dir(owner) if not name.startswith("_")]
    if isinstance(owner, types.ModuleType) and hasattr(owner, "__path__"):
        known += [module.name for module in pkgutil.iter_modules(owner.__path__)]
    return suggest(wrong, known[:40] if len(known) > 40 and not _is_near(wrong, known) else known)


def _is_near(wrong: str, known: list[str]) -> bool:
    return suggest(wrong, known).startswith("did you mean")


def signature_of(target: Callable[..., Any]) -> Signature | None:
    """Read the signature of `target`; None where Python cannot tell (some classes written in C)."""
    try:
        raw = inspect.signature(target)
    except (TypeError, ValueError):
        return None
    hints = _hints_of(target)
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = {name: parameter for name, parameter in raw.parameters.items() if parameter.kind not in variadic}
    kinds = {parameter.kind for parameter in raw.parameters.values()}
    annotations = {}
    for name, parameter in parameters.items():
        hint = hints.get(name, parameter.annotation)
        annotations[name] = Any if hint is inspect.Parameter.empty or isinstance(hint, str) else hint
    return Signature(
        parameters=parameters,
        annotations=annotations,
        takes_any_keyword=inspect.Parameter.VAR_KEYWORD in kinds,
        takes_any_position=inspect.Parameter.VAR_POSITIONAL in kinds,
    )


def _hints_of(target: Callable[..., Any]) -> dict[str, Any]:
    source: Any = target
    if isinstance(target, type):
        constructor = vars(target).get("__init__") or getattr(target, "__init__", None)
        source = target if is_dataclass(target) else constructor
        if source is object.__init__:
            source = target.__new__
    try:
        return typing.get_type_hints(inspect.unwrap(source))
    except Exception:  # names that exist for type checkers only: no check is better than a wrong one
        return {}
