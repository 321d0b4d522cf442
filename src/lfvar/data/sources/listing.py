"""Images without a table: a folder is walked, and what its paths look like says what each file is."""

from __future__ import annotations

import os
import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lfvar.errors import ConfigError

EVERY_IMAGE = tuple(f"{{id}}.{suffix}" for suffix in ("jpg", "jpeg", "png", "tif", "tiff", "bmp", "webp"))
"""Every image file at any depth."""

_OURS = {"manifest.parquet", "journal.jsonl", "run_card.json"}
"""A folder with one of these was made by lfvar: its pictures are no input."""
_FIELDS = {"id": "(?P<id>.+)", "label": "(?P<label>[^/]+)"}


@dataclass(frozen=True)
class Found:
    """A file that fits a pattern."""

    path: Path
    id: str
    """What stands for `{id}`; at any depth, so it may hold slashes."""
    label: str | None
    """What stands for `{label}`, the name of one folder or a part of it; None where the pattern has no `{label}`."""


def check_patterns(name: str, value: str | Sequence[str]) -> tuple[str, ...]:
    """Patterns as a tuple.

    Raises:
        ConfigError: When there is none, or one lacks `{id}` or holds anything but `{id}` and `{label}`.
    """
    patterns = (value,) if isinstance(value, str) else tuple(value)
    for pattern in patterns:
        try:
            fields = {field for _, field, _, _ in string.Formatter().parse(pattern) if field is not None}
        except ValueError:
            fields = set()
        if "id" not in fields or not fields <= set(_FIELDS):
            raise ConfigError(
                f"data.source.{name} has '{pattern}'",
                cure="use {id}, and {label} if needed, as in 'images/{label}/{id}.jpg'",
            )
    if not patterns:
        raise ConfigError(f"data.source.{name} is empty", cure="give at least one pattern, such as 'images/{id}.jpg'")
    return patterns


def list_files(root: Path, patterns: Sequence[str]) -> list[Found]:
    """The files below `root` that fit a pattern, sorted by path; the first pattern that fits decides.

    Case does not count. Hidden files and folders are left out, and so are folders that lfvar wrote itself, which lie
    below `root` when a run was started there.
    """
    expressions = [_to_expression(pattern) for pattern in patterns]
    found = []
    for path in sorted(_walk(root)):
        match = next((m for expression in expressions if (m := expression.fullmatch(path))), None)
        if match is not None:
            found.append(Found(root / path, match["id"], match.groupdict().get("label")))
    return found


def _walk(root: Path) -> Iterator[str]:
    """Paths relative to `root`, with slashes on every system."""
    for folder, subfolders, names in os.walk(root):
        if _OURS.intersection(names):
            subfolders.clear()
            continue
        subfolders[:] = [name for name in subfolders if not name.startswith((".", "__MACOSX"))]
        place = Path(folder).relative_to(root)
        yield from ((place / name).as_posix() for name in names if not name.startswith("."))


def _to_expression(pattern: str) -> re.Pattern[str]:
    """`{label}/{id}.jpg` as a regular expression; a field that comes again must read the same."""
    parts: list[str] = []
    seen: set[str] = set()
    for text, field, _, _ in string.Formatter().parse(pattern):
        parts.append(re.escape(text))
        if field is not None:
            parts.append(f"(?P={field})" if field in seen else _FIELDS[field])
            seen.add(field)
    return re.compile("".join(parts), re.IGNORECASE)
