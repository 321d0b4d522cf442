"""Where the reading of a sentence stands, and what to say when it cannot go on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NoReturn

from lfvar.sampling.prompt.request import PromptError
from lfvar.sampling.prompt.words import Token, advise


class Cursor:
    """Reads phrases, the longest that fits.

    Args:
        text: The sentence, for messages.
        tokens: Its words.
        max_words: Of the longest phrase there is.
    """

    def __init__(self, text: str, tokens: Sequence[Token], max_words: int) -> None:
        self.text, self.tokens, self.max_words = text, tokens, max_words
        self.at = 0

    @property
    def ended(self) -> bool:
        """Nothing is left."""
        return self.at == len(self.tokens)

    def measure(self, phrases: Collection[str]) -> int:
        """Words of the longest phrase that starts here; 0: none does."""
        for length in range(min(self.max_words, len(self.tokens) - self.at), 0, -1):
            if " ".join(token.word for token in self.tokens[self.at : self.at + length]) in phrases:
                return length
        return 0

    def take(self, phrases: Collection[str]) -> str:
        """Read the longest phrase that starts here; "": none does."""
        start = self.at
        self.at += self.measure(phrases)
        return self.since(start)

    def since(self, start: int) -> str:
        """What was read from there on."""
        return " ".join(token.word for token in self.tokens[start : self.at])

    def refuse(self, problem: str, cure: str) -> NoReturn:
        """Give the sentence up.

        Raises:
            PromptError: Always.
        """
        raise PromptError(f'prompt "{self.text}": {problem}', cure=cure)

    def expect(self, what: str) -> NoReturn:
        """Say what should have come here.

        Raises:
            PromptError: Always.
        """
        if self.ended:
            self.refuse(f"it ends where {what} should follow", "complete the sentence; docs/prompts.md has the grammar")
        token = self.tokens[self.at]
        self.refuse(f'"{self.text[token.start : token.end]}" stands where {what} should be', advise(token.word))
