"""What a sentence has said so far, and what contradicts it."""

from __future__ import annotations

from lfvar.sampling.prompt.places import Position
from lfvar.sampling.prompt.request import PromptError, Request
from lfvar.sampling.prompt.vocabulary import ATTRIBUTES, LEVELS


class Claims:
    """Collects what is said; the same said twice is said once.

    Args:
        text: The sentence, for messages.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.label: str | None = None
        self.count = 1
        self._levels: dict[str, tuple[int, str]] = {}
        self._position: tuple[Position, str] | None = None

    def say(self, attribute: str, level: int, phrase: str) -> None:
        """Note how much of an attribute is asked for.

        Raises:
            PromptError: When another amount was asked for before.
        """
        before, earlier = self._levels.setdefault(attribute, (level, phrase))
        if before != level:
            self.contradict(earlier, phrase, attribute)

    def place(self, position: Position, phrase: str) -> None:
        """Note where the lesion shall lie.

        Raises:
            PromptError: When it was placed elsewhere before.
        """
        before, earlier = self._position = self._position or (position, phrase)
        if before != position:
            self.contradict(earlier, phrase, "position")

    def contradict(self, earlier: str, later: str, what: str) -> None:
        """Refuse the sentence.

        Raises:
            PromptError: Always.
        """
        raise PromptError(
            f'prompt "{self.text}": "{earlier}" and "{later}" contradict each other ({what})',
            cure="keep one of the two",
        )

    def request(self) -> Request:
        """All of it."""
        quantiles = {
            name: LEVELS[direction * level]
            for attribute, (level, _) in self._levels.items()
            for name, direction in ATTRIBUTES[attribute].features
        }
        return Request(self.label, quantiles, self._position[0] if self._position else None, self.count)
