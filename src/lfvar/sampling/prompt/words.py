"""From a sentence to words, and help with words nobody knows."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from lfvar.sampling.prompt.request import PromptError
from lfvar.sampling.prompt.vocabulary import HINTS

MAX_LENGTH = 1000
"""Characters; longer texts are no sentence (a file's content, say)."""

_TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|[,;]|\.(?=\s+\w)")
_SPELLINGS = {
    ";": ",",
    "color": "colour",
    "colors": "colours",
    "colored": "coloured",
    "coloring": "colouring",
    "multicolored": "multicoloured",
    "center": "centre",
    "asymmetrical": "asymmetric",
    "symmetrical": "symmetric",
    "naevus": "nevus",
    "naevi": "nevi",
    "seborrheic": "seborrhoeic",
    "hemangioma": "haemangioma",
    "hemangiomas": "haemangiomas",
    "synthesize": "synthesise",
    "photograph": "photo",
    "photographs": "photos",
}
_SHORT = 3  # characters; shorter words are near to everything


class Token(NamedTuple):
    """A word or a comma."""

    word: str
    start: int
    end: int


def split(text: str) -> list[Token]:
    """Words in lower case and one spelling, and commas; a full stop only where words follow it.

    Hyphens, underscores and other marks part words, so a class named `seborrheic_keratosis` is two words.
    """
    return [Token(_spell(found.group()), found.start(), found.end()) for found in _TOKEN.finditer(text)]


def normalise(text: str) -> str:
    """The words of a phrase or class name, joined by spaces."""
    return " ".join(token.word for token in split(text) if token.word not in {",", "."})


def check_words(text: str, tokens: Sequence[Token], known: Collection[str]) -> None:
    """Refuse a sentence with words that mean nothing anywhere in it.

    Raises:
        PromptError: Names each, with the nearest known words.
    """
    if not tokens:
        raise PromptError("the prompt is empty", cure='say what to make, such as "a large, dark melanoma"')
    if len(text) > MAX_LENGTH:
        raise PromptError(f"the prompt has {len(text)} characters", cure=f"use at most {MAX_LENGTH}")
    unknown = [token for token in tokens if token.word not in known and not token.word.isdecimal()]
    if not unknown:
        return
    if unknown[0].word == ".":
        raise PromptError(f'prompt "{text}" has words after its full stop', cure="write one sentence; join with commas")
    named = ", ".join(f'"{text[token.start : token.end]}"' for token in unknown)
    raise PromptError(
        f'prompt "{text}": {named} {"is" if len(unknown) == 1 else "are"} unknown',
        cure=f"{'; '.join(advise(token.word, known) for token in unknown)}; docs/prompts.md lists all words",
    )


def _spell(word: str) -> str:
    plain = re.sub("['’]", "", word.casefold())
    return _SPELLINGS.get(plain, plain)


def advise(word: str, known: Collection[str] = ()) -> str:
    """What to write instead of a word: a hint, or the nearest known words."""
    if word in HINTS:
        return f'for "{word}" {HINTS[word]}'
    candidates = [other for other in known if len(other) > _SHORT or len(word) <= _SHORT]
    near = difflib.get_close_matches(word, sorted(candidates), n=3, cutoff=0.7)
    if near:
        return f'for "{word}" did you mean {" or ".join(f"{other!r}" for other in near)}?'
    return f'no known word is near "{word}"' if known else "docs/prompts.md has the grammar"
