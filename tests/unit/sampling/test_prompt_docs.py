"""docs/prompts.md: its examples parse, and it lists every word there is."""

import re
from pathlib import Path

import pytest

from lfvar.data.records import HAM10000_CLASSES
from lfvar.sampling.prompt import PromptError, parse, render
from lfvar.sampling.prompt.lesion_types import DIAGNOSES
from lfvar.sampling.prompt.vocabulary import ATTRIBUTES, GRADES, MODIFIERS, NOUNS, STRENGTHS
from lfvar.sampling.prompt.words import normalise

PAGE = (Path(__file__).parents[3] / "docs" / "prompts.md").read_text()


def lines(kind):
    return [line for block in re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("text", lines("prompt"))
def test_examples_parse(text):
    request = parse(text)
    assert parse(render(request)) == request


@pytest.mark.parametrize("text", lines("prompt-error"))
def test_errors_are_errors(text):
    with pytest.raises(PromptError):
        parse(text)


def test_messages_are_as_printed():
    printed = re.findall(r'^prompt "(.*?)": .*\n  what to do: .*$', PAGE, re.MULTILINE)
    assert len(printed) == 2
    for text in printed:
        with pytest.raises(PromptError) as caught:
            parse(text)
        assert str(caught.value) in PAGE


def test_every_word_is_listed():
    words = f" {normalise(PAGE)} "
    singular = [noun for noun in NOUNS if not (noun.endswith("s") and noun[:-1] in NOUNS)]
    names = [name for diagnosis in DIAGNOSES.values() for name in diagnosis.names]
    phrases = [*MODIFIERS, *STRENGTHS, *GRADES, *singular, *ATTRIBUTES, *HAM10000_CLASSES, *names]
    skipped = {"multi coloured", "average sized", "actinic keratosis and intraepithelial carcinoma"}
    skipped |= {"scc", "benign keratotic lesion", "vascular skin lesion", "bowen disease", "bowens disease"}
    missing = [phrase for phrase in phrases if f" {phrase} " not in words and phrase not in skipped]
    assert not missing


def test_the_table_of_features_is_right():
    for name, attribute in ATTRIBUTES.items():
        row = re.search(rf"^\| {name} \|.*$", PAGE, re.MULTILINE).group()
        listed = {(feature, {"↑": 1, "↓": -1}[arrow]) for feature, arrow in re.findall(r"`(\w+)` ([↑↓])", row)}
        assert listed == set(attribute.features), name
