"""YAML has no tuples and no paths: turn lists and text into them where a parameter asks for one.

The node is rewritten in Hydra's own terms (`_target_: builtins.tuple`), so that Hydra still builds it as one tree.
"""

import typing
from typing import Any

from lfvar.config.annotations import fits, tuple_annotation, wants_path
from lfvar.config.targets import SPECIAL_KEYS, find_target, signature_of


def coerce(value: Any) -> Any:
    """Return `value` (plain data) with each argument of each `_target_` in the type its signature asks for."""
    if isinstance(value, list):
        return [coerce(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "_target_" not in value:
        return {key: coerce(item) for key, item in value.items()}
    signature = signature_of(find_target(str(value["_target_"]), ""))
    is_recursive = value.get("_recursive_", True) is not False
    result = {}
    for key, item in value.items():
        known = signature is not None and key in signature.annotations and key not in SPECIAL_KEYS
        if known and is_recursive and signature is not None:
            result[key] = _as_annotated(coerce(item), signature.annotations[key])
        else:
            result[key] = coerce(item) if is_recursive else item
    return result


def _as_annotated(value: Any, annotation: Any) -> Any:
    if isinstance(value, list):
        wanted = tuple_annotation(annotation)
        if wanted is None:
            return value
        members = typing.get_args(wanted)
        if len(members) == 2 and members[1] is Ellipsis:
            items = [_as_annotated(item, members[0]) for item in value]
        elif len(members) == len(value):
            items = [_as_annotated(item, member) for item, member in zip(value, members, strict=True)]
        else:
            items = value
        return {"_target_": "builtins.tuple", "_args_": [items]}
    if isinstance(value, str) and wants_path(annotation) and fits(value, annotation):
        return {"_target_": "pathlib.Path", "_args_": [value]}
    return value
