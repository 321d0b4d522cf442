"""Prompts of a run: what each sentence means for this model, and the table that says so."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from lfvar.errors import ConfigError
from lfvar.measure.profiles import Profiles


@dataclass(frozen=True)
class ReadPrompt:
    """One sentence, understood."""

    text: str
    label: str | None
    values: dict[str, float]
    """Measurements in natural units; the position as `clinical_centroid_x` and `_y`."""
    count: int
    request: dict[str, Any] = field(default_factory=dict)
    """As plain data, for the header of the generated folder."""
    rows: tuple[tuple[str, ...], ...] = ()
    """Of the table that explains it, under `lfvar.sampling.prompt.COLUMNS`."""


def read_prompts(
    texts: Sequence[str], classes: Sequence[str], profiles: Profiles | None, known: Collection[str]
) -> tuple[ReadPrompt, ...]:
    """Understand sentences, or say why not.

    Args:
        texts: One English sentence each.
        classes: Types that the net knows.
        profiles: What "large" or "dark" mean for a type.
        known: Measurements that the net, or the mask, can give.

    Raises:
        ConfigError: When a sentence cannot be read, contradicts itself, asks for what nothing can give, or needs
            profiles and there are none.
    """
    from lfvar.sampling.prompt import explain, parse, resolve

    found = []
    for text in texts:
        request = parse(text, tuple(classes))
        if profiles is None:
            if request.quantiles or request.position:
                raise ConfigError(
                    f"prompt '{text}' needs profiles: its words are quantiles of what lesions of a type measure",
                    cure="measure the images (python -m lfvar.prepare without ~measure), or give profiles=FOLDER",
                )
            found.append(ReadPrompt(text, request.label, {}, request.count, request.as_dict()))
            continue
        values = resolve(request, profiles, known)
        rows = tuple(row.cells for row in explain(request, profiles, known, tuple(classes)))
        found.append(ReadPrompt(text, request.label, values, request.count, request.as_dict(), rows))
    return tuple(found)
