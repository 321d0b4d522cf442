"""Does a value from YAML fit the annotation of the parameter it is given to?

Plain annotations (numbers, text, Literal, lists, tuples, dicts, paths and unions of those) are judged by pydantic, in
its strict JSON mode: JSON has no tuples, so a list may fill one, an int may fill a float, and nothing else is bent:
"10" is no int. Other classes are judged by `isinstance` and `issubclass`; what cannot be judged passes.
"""

import collections.abc
import enum
import json
import pathlib
import types
import typing
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

_PLAIN_LEAVES = (int, float, str, bool, type(None), pathlib.Path)
_LISTS = (list, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_UNIONS = (typing.Union, types.UnionType)


@dataclass(frozen=True)
class BuiltLater:
    """Stands for a nested `_target_` node while its parent is checked: what the node will be when built."""

    target: Any
    is_partial: bool


def fits(value: Any, annotation: Any) -> bool:
    """Tell whether `value` may be given where `annotation` is asked for.

    Args:
        value: Plain data; nested `_target_` nodes are replaced by `BuiltLater`.
        annotation: A resolved annotation.
    """
    annotation = _strip(annotation)
    if annotation is Any or isinstance(annotation, (str, typing.TypeVar, typing.ForwardRef)):
        return True
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in _UNIONS:
        return any(fits(value, member) for member in arguments)
    if isinstance(value, BuiltLater):
        return _built_fits(value, annotation)
    if is_plain(annotation):
        return _pydantic_fits(value, annotation)
    if origin in _LISTS:
        return _list_fits(value, origin, arguments)
    if origin in _DICTS:
        return isinstance(value, dict) and (
            len(arguments) != 2 or all(fits(item, arguments[1]) for item in value.values())
        )
    if origin is collections.abc.Callable or annotation is collections.abc.Callable:
        return False  # plain data cannot be called
    return _instance_fits(value, origin or annotation)


def is_plain(annotation: Any) -> bool:
    """Tell whether `annotation` consists of plain data only, so that pydantic can judge it."""
    annotation = _strip(annotation)
    if annotation is Any:
        return True
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return True
    if origin in _UNIONS or origin in _LISTS or origin in _DICTS:
        return all(argument is Ellipsis or is_plain(argument) for argument in arguments)
    if isinstance(annotation, type):
        return annotation in _PLAIN_LEAVES or annotation in _LISTS + _DICTS or issubclass(annotation, enum.Enum)
    return False


def describe(annotation: Any) -> str:
    """Write `annotation` for a person: `int or null`, `one of 'a', 'b'`, `tuple[int, ...]`."""
    annotation = _strip(annotation)
    if annotation is type(None):
        return "null"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in _UNIONS:
        return " or ".join(dict.fromkeys(describe(member) for member in arguments))
    if origin is typing.Literal:
        return "one of " + ", ".join(repr(argument) for argument in arguments)
    if isinstance(annotation, type) and not arguments:
        if issubclass(annotation, enum.Enum):
            return "one of " + ", ".join(repr(member.value) for member in annotation)
        module = annotation.__module__
        return annotation.__qualname__ if module == "builtins" else f"{module}.{annotation.__qualname__}"
    return str(annotation).replace("typing.", "").replace("collections.abc.", "")


def tuple_annotation(annotation: Any) -> Any | None:
    """Return the tuple inside `annotation` (itself or a member of a union); None where a list will do."""
    annotation = _strip(annotation)
    origin = typing.get_origin(annotation)
    if origin in _UNIONS:
        members = [_strip(member) for member in typing.get_args(annotation)]
        if any(member is list or typing.get_origin(member) is list for member in members):
            return None
        return next((found for member in members if (found := tuple_annotation(member)) is not None), None)
    return annotation if annotation is tuple or origin is tuple else None


def wants_path(annotation: Any) -> bool:
    """Tell whether text from YAML must become a `pathlib.Path` to honour `annotation`."""
    annotation = _strip(annotation)
    if typing.get_origin(annotation) in _UNIONS:
        members = [_strip(member) for member in typing.get_args(annotation)]
        return str not in members and any(wants_path(member) for member in members)
    return annotation is pathlib.Path


def _strip(annotation: Any) -> Any:
    while True:
        if typing.get_origin(annotation) is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        else:
            return type(None) if annotation is None else annotation


def _pydantic_fits(value: Any, annotation: Any) -> bool:
    try:
        text = json.dumps(value)
    except TypeError:  # a nested _target_ inside plain data: judged where it is built
        return not _holds_built(value) or _is_open(annotation)
    try:
        _adapter(annotation).validate_json(text, strict=True)
    except ValidationError:
        return False
    except PydanticUserError:
        return True
    return True


@lru_cache(maxsize=512)
def _cached_adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        return _cached_adapter(annotation)
    except TypeError:  # unhashable, e.g. a Literal of lists
        return TypeAdapter(annotation)


def _holds_built(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_holds_built(item) for item in value.values())
    if isinstance(value, list):
        return any(_holds_built(item) for item in value)
    return isinstance(value, BuiltLater)


def _is_open(annotation: Any) -> bool:
    """A container of anything may hold built objects."""
    arguments = [argument for argument in typing.get_args(annotation) if argument is not Ellipsis]
    return not arguments or _strip(arguments[-1]) is Any


def _built_fits(value: BuiltLater, annotation: Any) -> bool:
    origin = typing.get_origin(annotation) or annotation
    if value.is_partial:
        return origin is collections.abc.Callable or not is_plain(annotation)
    if not isinstance(value.target, type):
        return True  # a function may return anything
    if origin is typing.Literal:
        return False
    if origin is collections.abc.Callable or not isinstance(origin, type):
        return True
    if issubclass(value.target, type) or value.target is object:
        return True
    try:
        return issubclass(value.target, origin)
    except TypeError:  # a protocol that is not checkable while running
        return True


def _list_fits(value: Any, origin: Any, arguments: tuple[Any, ...]) -> bool:
    if not isinstance(value, list):
        return False
    members = [argument for argument in arguments if argument is not Ellipsis]
    if origin is tuple and Ellipsis not in arguments:
        return len(value) == len(members) and all(map(fits, value, members))
    return not members or all(fits(item, members[0]) for item in value)


def _instance_fits(value: Any, annotation: Any) -> bool:
    if (
        not isinstance(annotation, type)
        or getattr(annotation, "_is_protocol", False)
        or typing.is_typeddict(annotation)
    ):
        return True
    try:
        return isinstance(value, annotation)
    except TypeError:
        return True
