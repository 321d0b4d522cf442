"""The lesion types of one dataset in the words of another: a model trained on one can be tested on the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from lfvar.data.records import HAM10000_CLASSES
from lfvar.errors import ConfigError

Types = Literal["native", "ham10000"]
"""`native`: the dataset's own types. `ham10000`: the seven of HAM10000, in their order."""


def check_types(types: str) -> None:
    """Refuse what is neither.

    Raises:
        ConfigError: When `types` is not one of `Types`.
    """
    if types not in get_args(Types):
        raise ConfigError(f"data.source.types is '{types}'", cure=f"use {' or '.join(get_args(Types))}")


def choose_classes(types: str, native: Sequence[str]) -> tuple[str, ...]:
    """Lesion types in the order of their label indices; all seven of HAM10000, also those that the dataset lacks."""
    return HAM10000_CLASSES if types == "ham10000" else tuple(native)


def translate(label: str, types: str, mapping: Mapping[str, str]) -> str:
    """The label of a native type.

    A type without a counterpart gets a label that is no class, which `prepare` rejects and quotes as the reason.
    """
    if types == "native":
        return label
    return mapping.get(label, f"{label} (no HAM10000 type)")
