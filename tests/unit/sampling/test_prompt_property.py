"""Every sentence of the grammar parses to what it says; printing and parsing again changes nothing."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lfvar.data.records import HAM10000_CLASSES
from lfvar.measure.schema import FEATURE_NAMES
from lfvar.sampling.prompt import PromptError, Request, parse, render
from lfvar.sampling.prompt.lesion_types import name_types
from lfvar.sampling.prompt.places import OF_IMAGE, PLACES, PREPOSITIONS, PRINTED
from lfvar.sampling.prompt.vocabulary import (
    ADJECTIVES,
    ATTRIBUTES,
    GRADES,
    LESIONS,
    LEVELS,
    NOUNS,
    NUMBERS,
    PHRASES,
    PICTURES,
    SKIN,
    STRENGTHS,
    VERBS,
)

NAMES = name_types(HAM10000_CLASSES)
FAST = settings(
    max_examples=200,
    deadline=None,  # the machine may be busy
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@st.composite
def strengthened(draw, meaning, word):
    """A word with or without a strength or a "not": (phrase, level)."""
    level = meaning.level
    if not meaning.fixed and draw(st.booleans()):
        strength = draw(st.sampled_from(sorted(STRENGTHS)))
        return f"{strength} {word}", STRENGTHS[strength] * (1 if level > 0 else -1)
    if not meaning.fixed and draw(st.booleans()):
        return draw(st.sampled_from((f"not {word}", f"not very {word}"))), -1 if level > 0 else 1
    return word, level


@st.composite
def adjectives(draw, attribute):
    words = [word for word, meaning in ADJECTIVES.items() if meaning.attribute == attribute]
    word = draw(st.sampled_from(words))
    return draw(strengthened(ADJECTIVES[word], word))


@st.composite
def properties(draw, attribute):
    """What follows the lesion: with a noun."""
    pairs = [
        (word, noun, meaning)
        for noun, entry in NOUNS.items()
        for word in (*ADJECTIVES, *GRADES, *entry.own)
        if (meaning := entry.read(word)) and meaning.attribute == attribute
    ]
    bare = [noun for noun, entry in NOUNS.items() if entry.attribute == attribute]
    if bare and draw(st.booleans()):
        noun = draw(st.sampled_from(bare))
        intro = draw(st.sampled_from(("with", "having", "without", "with no")))
        return f"{intro} {noun}", NOUNS[noun].direction * (-2 if intro in ("without", "with no") else 2)
    word, noun, meaning = draw(st.sampled_from(pairs))
    phrase, level = draw(strengthened(meaning, word))
    negated = phrase.removeprefix("not ")
    return f"{'without' if negated != phrase else 'with'} {negated} {noun}", level


@st.composite
def sentences(draw):
    """A sentence and the request it makes."""
    attributes = draw(st.permutations(sorted(ATTRIBUTES)))[: draw(st.integers(0, 6))]
    before, after, levels = [], [], {}
    for attribute in attributes:
        has_adjective = any(meaning.attribute == attribute for meaning in ADJECTIVES.values())
        kind = draw(st.sampled_from(("before", "after", "noun"))) if has_adjective else "noun"
        phrase, levels[attribute] = draw(properties(attribute) if kind == "noun" else adjectives(attribute))
        if kind == "before":
            before.append(phrase)
        elif kind == "after":
            after.append(draw(st.sampled_from((", {}", " that is {}", ", which is {}", " and {}"))).format(phrase))
        else:
            after.append(f"{draw(st.sampled_from((' ', ', ', ' and ', ', but ')))}{phrase}")
    position = None
    if draw(st.booleans()):
        place = draw(st.sampled_from(sorted(PLACES)))
        position = PLACES[place]
        located = f"{draw(st.sampled_from(('', 'located ')))}{draw(st.sampled_from(PREPOSITIONS))} the {place}"
        after.insert(draw(st.integers(0, len(after))), f" {located}{draw(st.sampled_from(('', f' {OF_IMAGE[0]}')))}")
    singular = [name for name, found in NAMES.labels.items() if len(found) == 1 and name not in NAMES.plurals]
    generic = [name for name, is_plural in LESIONS.items() if not is_plural]
    head = draw(st.sampled_from(singular + generic))
    label = NAMES.labels[head][0] if head in NAMES.labels else None
    start, count = draw(openings())
    joint = draw(st.sampled_from((" ", ", ", " and ")))
    text = f"{start} {joint.join([*before, ''])}{head}{''.join(after)}{draw(st.sampled_from(('', '.')))}"
    quantiles = {
        name: LEVELS[way * level] for attribute, level in levels.items() for name, way in ATTRIBUTES[attribute].features
    }
    return text, Request(label, quantiles, position, count)


@st.composite
def openings(draw):
    """Up to the article of the lesion: (text, count)."""
    verb = draw(st.sampled_from(("", *VERBS)))
    number, count = draw(st.sampled_from([("a", 1), ("", 1), ("17", 17), *NUMBERS.items()]))
    pictures = [name for name, is_plural in PICTURES.items() if is_plural == (number not in ("a", ""))]
    if draw(st.booleans()):
        skin = f"a {draw(st.sampled_from(SKIN))} with " if draw(st.booleans()) else ""
        return f"{verb} {number} {draw(st.sampled_from(pictures))} of {skin}a", count
    return f"{verb} {number or 'the'}", count


@given(sentences())
@FAST
def test_a_sentence_means_what_it_says_and_survives_printing(made):
    text, request = made
    assert parse(text) == request
    assert parse(render(request)) == request
    assert render(parse(render(request))) == render(request)
    assert Request.from_dict(json.loads(json.dumps(request.as_dict()))) == request


@given(
    st.dictionaries(st.sampled_from(sorted(ATTRIBUTES)), st.sampled_from(sorted(LEVELS))),
    st.sampled_from((None, *HAM10000_CLASSES)),
    st.sampled_from((None, *PRINTED)),
    st.integers(1, 10_000),
)
@FAST
def test_every_request_can_be_said(levels, label, position, count):
    quantiles = {name: LEVELS[way * level] for key, level in levels.items() for name, way in ATTRIBUTES[key].features}
    request = Request(label, quantiles, position, count)
    assert parse(render(request)) == request


WORDS = st.sampled_from(sorted({*PHRASES, *PLACES, *PREPOSITIONS, *NAMES.labels, "xyzzy", ".", "0", "3"}))


@given(st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=12).map(" ".join)))
@FAST
def test_any_other_text_is_read_or_refused_with_a_cure(text):
    try:
        request = parse(text)
    except PromptError as refusal:
        message, cure = refusal.message, refusal.cure
        request = None
    if request is None:
        assert message
        assert cure
    else:
        assert parse(render(request)) == request


@pytest.mark.parametrize(
    "request_",
    [
        Request(quantiles={"clinical_relative_area": 0.6}),
        Request(quantiles={"histogram_mean": 0.15}),
        Request(quantiles={"histogram_mean": 0.15, "clinical_colour_lightness": 0.85}),
        Request(quantiles={"clinical_colour_count": 0.85}),
        Request(position=(0.4, 0.4)),
    ],
)
def test_what_no_sentence_says_is_refused(request_):
    with pytest.raises(PromptError):
        render(request_)


def test_order_of_words_does_not_show():
    one, other = parse("a large dark nevus with redness"), parse("a dark, red, large nevus")
    assert one.as_dict() == other.as_dict()
    assert json.dumps(one.as_dict()) == json.dumps(other.as_dict())
    assert list(one.quantiles) == [name for name in FEATURE_NAMES if name in one.quantiles]
