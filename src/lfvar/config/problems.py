"""A list of what is wrong with a config, told in one go instead of one per start."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from lfvar.errors import ConfigError


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Args:
        found: The full path of the setting, its value and why that is wrong.
        cure: What to do about it.
    """

    found: str
    cure: str


def raise_problems(problems: Sequence[Problem]) -> None:
    """Raise one ConfigError that holds all of `problems`; return if there are none."""
    if not problems:
        return
    if len(problems) == 1:
        raise ConfigError(problems[0].found, cure=problems[0].cure)
    lines = [f"  {number}. {problem.found}\n     -> {problem.cure}" for number, problem in enumerate(problems, 1)]
    raise ConfigError(
        f"{len(problems)} settings are wrong:\n" + "\n".join(lines),
        cure="see the arrow under each; `check=true` repeats this check without starting anything",
    )


def suggest(wrong: str, known: Iterable[str]) -> str:
    """Say which of the `known` names was probably meant; with none near, list them."""
    names = sorted(set(known))
    near = get_close_matches(wrong, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    if not names:
        return "remove it: nothing is accepted here"
    return "known here: " + ", ".join(names)
