"""Check every `_target_` of a composed config against the signature it configures.

Hydra accepts any key below a group (and `+key=` adds one anywhere); Python would notice when the object is built,
minutes later, without saying where the value came from. This check runs right after composing.
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from lfvar.config.annotations import BuiltLater, describe, fits
from lfvar.config.problems import Problem, suggest
from lfvar.config.targets import SPECIAL_KEYS, Signature, find_target, signature_of
from lfvar.errors import ConfigError

_MODES = {"_partial_": (True, False), "_recursive_": (True, False), "_convert_": ("none", "partial", "object", "all")}


def check_signatures(config: dict[str, Any], *, groups: Sequence[str] = (), typed: Sequence[str] = ()) -> list[Problem]:
    """Find what no signature accepts.

    Args:
        config: The composed config as plain data, interpolations resolved.
        groups: Root keys whose every value must be read by some `_target_`; others may hold free values.
        typed: Those of `groups` whose own keys are checked by the schema, so that plain values are free there.

    Returns:
        One problem for each wrong setting, in the order of the config.
    """
    problems: list[Problem] = []
    for key, value in config.items():
        if key in typed and isinstance(value, dict):
            for name, child in value.items():
                problems.extend(check_node(child, f"{key}.{name}", must_be_read=isinstance(child, dict)))
        else:
            problems.extend(check_node(value, str(key), must_be_read=key in groups))
    return problems


def check_node(value: Any, path: str, *, must_be_read: bool = False) -> Iterator[Problem]:
    """Yield the problems of one node and of everything below it.

    Args:
        value: Plain data.
        path: The full path of the node, e.g. `model.encoder`.
        must_be_read: A value that no `_target_` reads is a problem.
    """
    if isinstance(value, dict) and "_target_" in value:
        yield from _check_target(value, path)
    elif isinstance(value, dict):
        children = {str(key): child for key, child in value.items()}
        for key, child in children.items():
            if must_be_read and key in SPECIAL_KEYS:
                yield Problem(f"{path}.{key} stands without a _target_", f"add {path}._target_, or remove {path}.{key}")
            elif must_be_read and not _leads_to_target(child) and child not in (None, {}, []):
                siblings = [name for name in children if name != key and _leads_to_target(children[name])]
                yield Problem(
                    f"{path}.{key}={_short(child)} is read by nothing: there is no _target_ at or above it",
                    f"{suggest(key, siblings)} Otherwise add a _target_ or remove it",
                )
            else:
                yield from check_node(child, f"{path}.{key}", must_be_read=must_be_read and isinstance(child, dict))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from check_node(child, f"{path}[{index}]")


def is_pure_config(value: Any) -> bool:
    """Tell whether a node builds nothing but frozen dataclasses, so that building it is free and checks it."""
    if isinstance(value, dict):
        if "_target_" in value and not _is_frozen_dataclass(value["_target_"]):
            return False
        return not value.get("_partial_", False) and all(is_pure_config(child) for child in value.values())
    return all(is_pure_config(child) for child in value) if isinstance(value, list) else True


def _check_target(node: dict[str, Any], path: str) -> Iterator[Problem]:
    given = {str(key): value for key, value in node.items() if key not in SPECIAL_KEYS}
    for key, child in given.items():
        yield from check_node(child, f"{path}.{key}")
    yield from check_node(node.get("_args_"), f"{path}._args_")
    for key, allowed in _MODES.items():
        if key in node and node[key] not in allowed:
            yield Problem(f"{path}.{key}={_short(node[key])}", f"use one of {', '.join(map(str, allowed))}")
    try:
        signature = signature_of(find_target(str(node["_target_"]), path))
    except ConfigError as error:
        yield Problem(error.message, error.cure)
        return
    if signature is None:
        return
    by_position = node.get("_args_") or []
    if not isinstance(by_position, list):
        yield Problem(f"{path}._args_={_short(by_position)} is not a list", "write _args_: [first, second]")
        return
    names = signature.positional()[: len(by_position)]
    if len(names) < len(by_position) and not signature.takes_any_position:
        yield Problem(
            f"{path}._args_ holds {len(by_position)} values; {node['_target_']} takes {len(names)} by position",
            "remove some, or give them by name",
        )
    for index, name in enumerate(names):
        yield from _check_value(by_position[index], f"{path}._args_[{index}]", name, node, signature)
    for key, value in given.items():
        yield from _check_key(key, value, path, node, signature, names)
    if not node.get("_partial_", False):
        for name in signature.required():
            if name not in given and name not in names:
                yield Problem(
                    f"{path}.{name} is not given; {node['_target_']} needs it"
                    f" ({describe(signature.annotations[name])})",
                    f"set {path}.{name}, or {path}._partial_: true if the code gives it later",
                )


def _check_key(
    key: str, value: Any, path: str, node: dict[str, Any], signature: Signature, by_position: list[str]
) -> Iterator[Problem]:
    parameter = signature.parameters.get(key)
    if parameter is None or parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        if not signature.takes_any_keyword:
            named = [name for name in signature.parameters if name not in by_position]
            yield Problem(f"{path}.{key} is no parameter of {node['_target_']}", suggest(key, named))
    elif key in by_position:
        yield Problem(f"{path}.{key} is given twice: by name and in {path}._args_", f"remove {path}.{key}")
    else:
        yield from _check_value(value, f"{path}.{key}", key, node, signature)


def _check_value(value: Any, path: str, name: str, node: dict[str, Any], signature: Signature) -> Iterator[Problem]:
    annotation = signature.annotations[name]
    if node.get("_recursive_", True) is False and _leads_to_target(value):
        return  # handed over unbuilt
    if value is None and signature.parameters[name].default is None:
        return
    if fits(_with_built(value), annotation):
        return
    expected = describe(annotation)
    yield Problem(f"{path}={_short(value)}: expected {expected}, got {_kind(value)}", _cure(value, path, annotation))


def _cure(value: Any, path: str, annotation: Any) -> str:
    if isinstance(value, dict) and isinstance(annotation, type) and is_dataclass(annotation):
        names = ", ".join(field.name for field in fields(annotation))
        return f"set {path}._target_={annotation.__module__}.{annotation.__qualname__} (it takes {names})"
    if isinstance(value, float) and value.is_integer() and fits(int(value), annotation):
        return f"write {path}={int(value)}"
    if isinstance(value, (int, str)) and fits([value], annotation):
        return f"write a list: {path}=[{value}]"
    if isinstance(value, str):
        number = _parsed(value)
        if number is not None and fits(number, annotation):
            return f"write {path}={number}, without quotes"
        if fits(value.lower(), annotation):
            return f"write {path}={value.lower()}"
    if isinstance(value, (bool, int, float)) and fits(str(value), annotation):
        return f'write it in quotes: "{value}" in YAML, {path}=\'"{value}"\' on the command line'
    for example, words in ((0.001, "a number, e.g. 0.001"), (10, "a whole number, e.g. 10"), (True, "true or false")):
        if fits(example, annotation):
            return f"give {path} {words}"
    return f"give {path} one of these kinds: {describe(annotation)}"


def _parsed(text: str) -> int | float | None:
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return None


def _with_built(value: Any) -> Any:
    if isinstance(value, dict) and "_target_" in value:
        try:
            target = find_target(str(value["_target_"]), "")
        except ConfigError:  # reported where the node itself is checked
            return BuiltLater(target=None, is_partial=False)
        return BuiltLater(target=target, is_partial=bool(value.get("_partial_", False)))
    if isinstance(value, dict):
        return {key: _with_built(child) for key, child in value.items()}
    return [_with_built(child) for child in value] if isinstance(value, list) else value


def _leads_to_target(value: Any) -> bool:
    if isinstance(value, dict):
        return "_target_" in value or any(_leads_to_target(child) for child in value.values())
    return isinstance(value, list) and any(_leads_to_target(child) for child in value)


def _is_frozen_dataclass(name: Any) -> bool:
    try:
        target = find_target(str(name), "")
    except ConfigError:
        return False
    # dataclasses keep their settings here; there is no public way to ask
    parameters = getattr(target, "__dataclass_params__", None)
    return isinstance(target, type) and is_dataclass(target) and bool(getattr(parameters, "frozen", False))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _kind(value: Any) -> str:
    if isinstance(value, dict) and "_target_" in value:
        return f"a {value['_target_']}"
    names = {
        "NoneType": "null",
        "dict": "a mapping",
        "list": "a list",
        "str": "text",
        "int": "an int",
        "float": "a float",
    }
    return names.get(type(value).__name__, f"a {type(value).__name__}")
