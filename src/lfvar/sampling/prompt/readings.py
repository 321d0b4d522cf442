"""What an adjective or degree asks for, once its strength, its noun and its negation are known."""

from __future__ import annotations

from typing import NamedTuple

from lfvar.sampling.prompt.cursor import Cursor
from lfvar.sampling.prompt.vocabulary import ADJECTIVES, NOUNS, PLAIN, STRENGTHS, Meaning

_CLEARLY = (2, 3)
"""Strengths that "not" can take back; "not slightly" and "not extremely" may mean either direction."""


class Modifier(NamedTuple):
    """An adjective or degree as it stands in the sentence."""

    strength: str
    """"": none."""
    word: str

    def __str__(self) -> str:
        return f"{self.strength} {self.word}".strip()


def read_modifier(cursor: Cursor, modifier: Modifier, noun: str, negation: str) -> Meaning:
    """An attribute and how much of it.

    Args:
        cursor: To refuse the sentence with.
        modifier: The adjective or degree.
        noun: The noun it stands before; "": none.
        negation: "not", "no", "without" or "".

    Raises:
        PromptError: When they do not go together.
    """
    meaning = NOUNS[noun].read(modifier.word) if noun else ADJECTIVES.get(modifier.word)
    if meaning is None and noun:
        cursor.refuse(f'"{modifier.word}" does not go with "{noun}"', _suggest_adjectives(noun))
    if meaning is None:
        nouns = [f'"{modifier.word} {name}"' for name, entry in NOUNS.items() if entry.read(modifier.word)]
        cursor.refuse(f'"{modifier.word}" needs a noun', f"say {', '.join(nouns[:4])}")
    level = meaning.level
    if modifier.strength:
        if meaning.fixed:
            cursor.refuse(f'"{modifier}": "{modifier.word}" says how strong it is', f'leave "{modifier.strength}" out')
        level = STRENGTHS[modifier.strength] * (1 if level > 0 else -1)
    if negation:
        level = _negate(cursor, level, modifier, negation)
    return Meaning(meaning.attribute, level)


def read_noun(cursor: Cursor, noun: str, negation: str) -> Meaning:
    """What a noun asks for that stands alone: "with asymmetry", "without redness".

    Raises:
        PromptError: When the noun needs an adjective.
    """
    entry = NOUNS[noun]
    if entry.attribute is None:
        cursor.refuse(f'"{noun}" needs an adjective', _suggest_adjectives(noun))
    level = entry.direction * PLAIN
    return Meaning(entry.attribute, -level if negation else level)


def _negate(cursor: Cursor, level: int, modifier: Modifier, negation: str) -> int:
    """A little to the other side: what is not dark is rather pale, but need not be pale."""
    if level == 0 or (modifier.strength and abs(level) not in _CLEARLY):
        cursor.refuse(f'"{negation} {modifier}" may mean more or less', "say which, without a negation")
    return -1 if level > 0 else 1


def _suggest_adjectives(noun: str) -> str:
    entry = NOUNS[noun]
    words = [word for word, meaning in ADJECTIVES.items() if meaning.attribute in entry.carries]
    degrees = ["high", "low"] if entry.attribute else []
    return "say " + ", ".join(f'"{word} {noun}"' for word in [*degrees, *entry.own, *words][:5])
