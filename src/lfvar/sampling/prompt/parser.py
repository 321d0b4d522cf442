"""From a sentence to a request, by recursive descent over the grammar of docs/prompts.md.

sentence    = [verb] [[number] image showing] [[article] skin showing] lesion {tail}
lesion      = [number] {["not"] description [joint]} (type ["lesion"] | "lesion")
tail        = [joint] (position | ["that is" | with] ["not" | "no" | "without"] description)
description = [article] (modifier {[joint] modifier} [noun] | noun)
modifier    = [strength] (adjective | degree)
position    = ["located"] ("in" | "at" | "on" | …) ["the"] place ["of the image"] | "centred"
joint       = "," | "and" | "but" | "or" (after a negation only)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from lfvar.data.records import HAM10000_CLASSES
from lfvar.sampling.prompt import places
from lfvar.sampling.prompt import vocabulary as known
from lfvar.sampling.prompt.claims import Claims
from lfvar.sampling.prompt.cursor import Cursor
from lfvar.sampling.prompt.lesion_types import TypeNames, name_types
from lfvar.sampling.prompt.readings import Modifier, read_modifier, read_noun
from lfvar.sampling.prompt.request import Request
from lfvar.sampling.prompt.words import Token, check_words, split

_MAX_WORDS = 8  # of the phrases that are not names of types


def parse(text: str, classes: Sequence[str] = HAM10000_CLASSES) -> Request:
    """Read a sentence.

    Args:
        text: One English sentence.
        classes: Lesion types of the model; each is known by its own name and by the names of its diagnosis.

    Raises:
        PromptError: When a word is unknown (the nearest known ones are named), when the sentence contradicts itself
            (both places are named), or when it is built in a way the grammar does not have.
    """
    names = name_types(tuple(classes))
    tokens = split(text)
    check_words(text, tokens, _known_words(names.classes))
    return _Parser(text, tokens, names).read()


@lru_cache(maxsize=16)
def _known_words(classes: tuple[str, ...]) -> frozenset[str]:
    """Every word that occurs in any phrase."""
    phrases = (*known.PHRASES, *places.PLACE_WORDS, *name_types(classes).labels)
    return frozenset(word for phrase in phrases for word in phrase.split())


class _Number(NamedTuple):
    value: int
    is_stated: bool
    """False for a mere article."""


class _Parser(Cursor):
    """One sentence, a method per rule. A rule that does not fit stays where it was and returns None or False."""

    def __init__(self, text: str, tokens: Sequence[Token], names: TypeNames) -> None:
        super().__init__(text, tokens, max(_MAX_WORDS, *(len(name.split()) for name in names.labels)))
        self.names = names
        self.claims = Claims(text)
        self.head = ""
        self.negation = ""
        """Of the description just read; "or" goes on with it."""

    def read(self) -> Request:
        self.take(known.VERBS)
        is_pictured = self.picture()
        self.skin()
        self.lesion(is_pictured)
        while not self.ended:
            self.tail()
        return self.claims.request()

    def number(self) -> _Number | None:
        """Read how many; an article is one."""
        word = self.take(known.NUMBERS)
        if word:
            return _Number(known.NUMBERS[word], True)
        if self.article():
            return _Number(1, False)
        if self.ended or not self.tokens[self.at].word.isdecimal():
            return None
        digits = self.tokens[self.at].word
        self.at += 1
        if digits in self.names.labels and not self.measure(known.PICTURES):  # classes may be called 0, 1, 2
            self.at -= 1
            return None
        if not 1 <= int(digits) <= known.MAX_COUNT:
            self.refuse(f"it asks for {digits} images", f"ask for 1 to {known.MAX_COUNT}")
        return _Number(int(digits), True)

    def picture(self) -> bool:
        """Read "three images of"."""
        start = self.at
        number = self.number()
        noun = self.take(known.PICTURES)
        if not noun:
            self.at = start
            return False
        self.count(number, noun, known.PICTURES[noun])
        if not self.take(known.SHOWING):
            self.expect('"of"')
        return True

    def count(self, number: _Number | None, noun: str, is_plural: bool) -> None:
        if is_plural and not (number and number.is_stated):
            self.refuse(f'it does not say how many "{noun}"', f'say a number, such as "three {noun}"')
        self.claims.count = number.value if number else 1

    def skin(self) -> None:
        """Read "a skin area with"."""
        start = self.at
        self.take(known.ARTICLES)
        if not (self.take(known.SKIN) and self.take(known.SHOWING)):
            self.at = start

    def lesion(self, is_pictured: bool) -> None:
        """Read "a large, dark melanoma"."""
        start = self.at
        number = self.number()
        if is_pictured and number and number.value > 1:
            self.refuse(f'"{self.since(start)}" lesions in an image', 'an image shows one: say "three images of a …"')
        while not self.is_head():
            self.negation = self.read_negation(self.joint(), known.NOT)
            if not self.description(False, before_head=True):
                self.expect('an attribute, a lesion type or "lesion"')
        self.take(known.JOINTS)
        is_plural = self.read_head()
        if not is_pictured:
            self.count(number, self.head, is_plural)
        self.negation = ""

    def is_head(self) -> bool:
        """Whether the lesion is named here (after a joint, maybe); a class may have an attribute's name."""
        start = self.at
        self.take(known.JOINTS)
        name = max(self.measure(self.names.labels), self.measure(known.LESIONS))
        other = max(self.measure(known.MODIFIERS), self.measure(known.NOUNS))
        self.at = start
        return 0 < name >= other

    def read_head(self) -> bool:
        """Read the type; whether it is a plural."""
        name = self.take(self.names.labels)
        if name:
            self.claims.label = self.label_of(name)
            self.abbreviation(name)
        generic = self.take(known.LESIONS)
        self.head = name or generic
        return name in self.names.plurals or known.LESIONS.get(generic, False)

    def abbreviation(self, name: str) -> None:
        """Pass over the same type in other words: "melanoma (mel)"."""
        start = self.at
        other = self.take(self.names.labels)
        if other == name or self.names.labels.get(other) != self.names.labels[name]:
            self.at = start

    def label_of(self, name: str) -> str:
        labels = self.names.labels[name]
        if len(labels) > 1:
            self.refuse(f'"{name}" may be {" or ".join(labels)}', "name the type by the word of its class")
        if not labels:
            self.refuse(f'there is no type "{name}" here', f"the types are {', '.join(self.names.classes)}")
        return labels[0]

    def refuse_second_lesion(self) -> None:
        start = self.at
        self.number()
        if self.is_head():
            self.take(known.JOINTS)
            other = self.take(self.names.labels) or self.take(known.LESIONS)
            self.claims.contradict(self.head, other, "an image shows one lesion")
        self.at = start

    def joint(self) -> str:
        """Read a comma, "and", "but" or "or", the words also after a comma."""
        self.take((",",))
        return self.take((*known.JOINTS, *known.OR))

    def read_negation(self, joint: str, *tables: Sequence[str]) -> str:
        """Read what negates the description to come: "not", "no", "without"; "or" goes on with the last."""
        if joint in known.OR and not self.negation:
            self.refuse(f'"{joint}" after something that is not negated', 'write "and", or a prompt for each')
        for table in tables:
            if self.take(table):
                return table[0]
        return self.negation if joint in known.OR else ""

    def tail(self) -> None:
        """Read what follows the lesion: in the upper left, with high contrast."""
        joint = self.joint()
        self.refuse_second_lesion()
        self.take(known.THAT_IS)
        if self.position():
            self.negation = ""
            return
        with_noun = bool(self.take(known.WITH))
        last, self.negation = self.negation, self.read_negation(joint, known.WITHOUT, known.NO, known.NOT)
        listed_after = "" if with_noun or self.negation or last in known.NOT else last
        with_noun = with_noun or self.negation in (*known.WITHOUT, *known.NO)
        if not self.description(with_noun, listed_after=listed_after):
            self.expect('a noun such as "high contrast"' if with_noun else "an attribute or a position")

    def description(self, with_noun: bool, *, before_head: bool = False, listed_after: str = "") -> bool:
        """Read "very dark", "an irregular border" or "asymmetry".

        Args:
            with_noun: Adjectives alone are not enough ("with dark").
            before_head: The lesion is yet to come: no article, and no noun without an adjective.
            listed_after: "no" or "without" when the description only follows one in a list.
        """
        start = self.at
        if not before_head:
            self.article()
        modifiers = self.modifiers(with_noun)
        noun = self.take(known.NOUNS) if (modifiers or not before_head) and not self.is_head() else ""
        if not modifiers and not noun:
            self.at = start
            return False
        if noun and listed_after:
            self.go_on_with_list(listed_after, self.since(start), is_bare=not modifiers)
        if modifiers and not noun and with_noun:
            self.expect(f'a noun after "{modifiers[-1]}", such as "colour" or "border",')
        if not modifiers and self.negation in known.NOT:
            self.refuse(f'"not" stands before the noun "{noun}"', f'say "without {noun}"')
        for modifier in modifiers:
            attribute, level, _ = read_modifier(self, modifier, noun, self.negation)
            self.claims.say(attribute, level, " ".join(filter(None, (self.negation, str(modifier), noun))))
        if not modifiers:
            attribute, level, _ = read_noun(self, noun, self.negation)
            self.claims.say(attribute, level, f"{self.negation} {noun}".strip())
        return True

    def go_on_with_list(self, negation: str, phrase: str, is_bare: bool) -> None:
        """In "without asymmetry, redness" the second is negated, too; what is not as clear is refused."""
        if negation in known.NO or not is_bare:
            self.refuse(
                f'"{phrase}" after "{negation} …" may or may not be negated',
                f'say "with {phrase}" or "{negation} {phrase}"',
            )
        self.negation = negation

    def modifiers(self, with_noun: bool) -> list[Modifier]:
        """Read one that stands alone, or all that share the noun to come."""
        found: list[Modifier] = []
        while True:
            start = self.at
            if found and self.joint() in known.OR and not self.negation:
                self.refuse('"or" after something that is not negated', 'write "and", or a prompt for each')
            modifier = self.modifier()
            if modifier is None:
                self.at = start
                return found
            found.append(modifier)
            if not with_noun and modifier.word in known.ADJECTIVES:
                return found

    def modifier(self) -> Modifier | None:
        start = self.at
        strength = self.take(known.STRENGTHS)
        word = self.take(known.MODIFIERS)
        if not word:  # "a little" is a degree, too
            self.at, strength = start, ""
            word = self.take(known.MODIFIERS)
        return Modifier(strength, word) if word else None

    def article(self) -> bool:
        """Read an article; "a little" has none."""
        is_degree = max(self.measure(known.STRENGTHS), self.measure(known.GRADES)) > 1
        return not is_degree and bool(self.take(known.ARTICLES))

    def position(self) -> bool:
        """Read "located in the upper left of the image"."""
        start = self.at
        is_located = bool(self.take(places.LOCATED))
        if self.take(places.CENTRED):
            self.claims.place(places.PLACES["centre"], self.since(start))
            return True
        if not self.take(places.PREPOSITIONS):
            if is_located:
                self.expect('"in"')
            return False
        self.take(known.ARTICLES)
        place = self.take(places.PLACES)
        if not place:
            self.expect('a place such as "upper left" or "centre"')
        self.take(places.OF_IMAGE)
        self.claims.place(places.PLACES[place], self.since(start))
        return True
