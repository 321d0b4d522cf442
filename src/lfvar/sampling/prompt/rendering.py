"""A request as one English sentence, which reads back as the same request."""

from __future__ import annotations

from collections.abc import Sequence

from lfvar.data.records import HAM10000_CLASSES
from lfvar.sampling.prompt.lesion_types import is_diagnosis, name_types
from lfvar.sampling.prompt.places import PRINTED
from lfvar.sampling.prompt.request import PromptError, Request
from lfvar.sampling.prompt.vocabulary import ATTRIBUTES, LEVELS, NUMBER_WORDS, PLAIN
from lfvar.sampling.prompt.words import normalise

_STRENGTH_OF = {1: "slightly", PLAIN: "", 3: "very", 4: "extremely"}
_BY_NOUN = ("colour asymmetry", "contrast")
"""Attributes whose adjectives are clumsy."""
_CURE = "ask for quantiles of lfvar.sampling.prompt.vocabulary.LEVELS, for all features of an attribute alike"


def render(request: Request, classes: Sequence[str] = HAM10000_CLASSES) -> str:
    """Write a request as a sentence; `parse` of it, with the same classes, gives the same request.

    Args:
        request: What to say.
        classes: Lesion types of the model.

    Raises:
        PromptError: When no sentence says it: a quantile between levels, a part of an attribute's features, a position
            that no place has.
    """
    levels = find_levels(request)
    adjectives = [phrase for name, level in levels.items() if (phrase := _as_adjective(name, level))]
    properties = [_as_property(name, level) for name, level in levels.items() if not _as_adjective(name, level)]
    lesion = ", ".join(adjectives) + (" " if adjectives else "") + name_label(request.label, classes)
    if levels or not is_diagnosis(lesion):
        lesion = f"{_article(lesion)} {lesion}"
    if properties:
        lesion += f" with {_enumerate(properties)}"
    place = f" {name_position(request)}" if request.position is not None else ""
    return f"{name_count(request.count, capital=True)} of a skin area with {lesion}{place}."


def find_levels(request: Request) -> dict[str, int]:
    """The level of each attribute asked for, by name, in the order in which they print.

    Raises:
        PromptError: When the quantiles are not those of levels.
    """
    left = dict(request.quantiles)
    found = {}
    for name, attribute in ATTRIBUTES.items():
        features = {feature: direction for feature, direction in attribute.features if feature in left}
        if not features:
            continue
        for level in LEVELS:
            if all(left.get(feature) == LEVELS[way * level] for feature, way in attribute.features):
                found[name] = level
        if name not in found:
            asked = ", ".join(f"{feature} at {left[feature]:g}" for feature in features)
            raise PromptError(f"no words say {asked}", cure=_CURE)
        for feature in features:
            del left[feature]
    if left:
        raise PromptError(f"no words ask for {', '.join(left)}", cure=_CURE)
    return found


def describe(name: str, level: int) -> str:
    """An attribute's level in words: "very large", "high contrast"."""
    return _as_adjective(name, level) or _as_property(name, level)


def name_label(label: str | None, classes: Sequence[str] = HAM10000_CLASSES) -> str:
    """The noun of a type; a type that is none of the classes is called by its own words."""
    if label is None:
        return "lesion"
    return name_types(tuple(classes)).name(label) if label in classes else normalise(label)


def name_position(request: Request) -> str:
    """The place of a request that has one.

    Raises:
        PromptError: When the position is that of no place.
    """
    if request.position is None or request.position not in PRINTED:
        raise PromptError(
            f"no words say position {request.position}", cure=f"use one of {', '.join(map(str, PRINTED))}"
        )
    return PRINTED[request.position]


def name_count(count: int, *, capital: bool = False) -> str:
    """An image, three images."""
    number = NUMBER_WORDS[count - 1] if count <= len(NUMBER_WORDS) else str(count)
    words = "an image" if count == 1 else f"{number} images"
    return words[0].upper() + words[1:] if capital else words


def _as_adjective(name: str, level: int) -> str:
    """In front of the lesion; empty when it is said after it."""
    if name == "size" and level == 0:
        return "medium-sized"
    choices = ATTRIBUTES[name].more if level > 0 else ATTRIBUTES[name].less
    if level == 0 or name in _BY_NOUN or not choices:
        return ""
    return f"{_STRENGTH_OF[abs(level)]} {choices[0]}".strip()


def _as_property(name: str, level: int) -> str:
    if level == 0:
        return f"medium {name}"
    return f"{_STRENGTH_OF[abs(level)]} {'high' if level > 0 else 'low'} {name}".strip()


def _article(words: str) -> str:
    return "an" if words[0] in "aeiou" and not words.startswith("uni") else "a"


def _enumerate(phrases: Sequence[str]) -> str:
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"
