"""What sentences mean, and which are refused."""

import pytest

from lfvar.errors import ConfigError
from lfvar.measure.schema import FEATURE_NAMES
from lfvar.sampling.prompt import PromptError, Request, parse
from lfvar.sampling.prompt.vocabulary import ATTRIBUTES, LEVELS

AREA = "clinical_relative_area"
DARK = {"clinical_colour_lightness": 0.15, "histogram_mean": 0.15}
ASYMMETRIC = {"clinical_asymmetry_shape_min": 0.85, "clinical_asymmetry_shape_max": 0.85}
REGULAR = {"clinical_border_compactness": 0.15, "shape_sphericity": 0.85}


def quantile(text, name):
    return parse(text).quantiles[name]


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("An image of a skin area with melanoma.", Request("mel")),
        (
            "a large, dark, asymmetric melanoma in the upper left",
            Request("mel", {AREA: 0.85, **DARK, **ASYMMETRIC}, (0.3, 0.3)),
        ),
        (
            "a small pale regular nevus",
            Request("nv", {AREA: 0.15, "clinical_colour_lightness": 0.85, "histogram_mean": 0.85, **REGULAR}),
        ),
        ("three images of a mole", Request("nv", count=3)),
        ("12 moles", Request("nv", count=12)),
        ("Bowen’s disease", Request("akiec")),
        ("A DOZEN SEBORRHEIC KERATOSES", Request("bkl", count=12)),
        ("lesion", Request()),
        ("melanoma (mel)", Request("mel")),
        ("a light melanoma, centred", Request("mel", dict.fromkeys(DARK, 0.85), (0.5, 0.5))),
    ],
)
def test_whole_sentences(text, request_):
    assert parse(text) == request_


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("extremely small", 0.02),
        ("very small", 0.05),
        ("tiny", 0.05),
        ("small", 0.15),
        ("slightly small", 0.3),
        ("not large", 0.3),
        ("not very large", 0.3),
        ("medium-sized", 0.5),
        ("a bit large", 0.7),
        ("not small", 0.7),
        ("big", 0.85),
        ("huge", 0.95),
        ("extremely large", 0.98),
    ],
)
def test_strength_and_negation(words, expected):
    assert quantile(f"{words} nevus", AREA) == expected
    assert quantile(f"a nevus that is {words}", AREA) == expected


@pytest.mark.parametrize(
    ("words", "attribute", "level"),
    [
        ("with high contrast", "contrast", 2),
        ("with very low contrast", "contrast", -3),
        ("with an extremely irregular border", "border irregularity", 4),
        ("with smooth borders", "border irregularity", -2),
        ("with smooth texture", "texture", -2),
        ("of large size", "size", 2),
        ("with medium size", "size", 0),
        ("with many colors", "colour variegation", 2),
        ("with a uniform colour", "colour variegation", -2),
        ("with asymmetric colour", "colour asymmetry", 2),
        ("with an asymmetric shape", "asymmetry", 2),
        ("with symmetry", "asymmetry", -2),
        ("with high symmetry", "asymmetry", -2),
        ("with very little asymmetry", "asymmetry", -3),
        ("with a little redness", "redness", 1),
        ("with redness", "redness", 2),
        ("without redness", "redness", -2),
        ("without pallor", "darkness", 2),
        ("with no redness", "redness", -2),
        ("without strong redness", "redness", -1),
        ("without irregular borders", "border irregularity", -1),
        ("with an elongated shape", "elongation", 2),
        ("that has rough texture", "texture", 2),
    ],
)
def test_nouns(words, attribute, level):
    expected = {name: LEVELS[way * level] for name, way in ATTRIBUTES[attribute].features}
    assert parse(f"a melanoma {words}") == Request("mel", expected)


def test_modifiers_share_the_noun_they_wait_for():
    shared = parse("a nevus with a smooth, regular border and coarse texture")
    assert shared == parse("a regular, structured nevus")
    assert parse("a nevus with high contrast, large and dark") == parse("a large dark nevus with high contrast")
    assert parse("a high-contrast nevus") == parse("a nevus with high contrast")


def test_how_far_a_negation_reaches():
    both = {"clinical_colour_redness": 0.3, "clinical_colour_lightness": 0.7, "histogram_mean": 0.7}
    assert parse("a neither dark nor red nevus") == parse("a nevus that is not dark or red") == Request("nv", both)
    assert parse("a not dark, red nevus") == Request("nv", both | {"clinical_colour_redness": 0.85})
    listed = parse("a nevus without asymmetry, redness and colour variegation, dark")
    assert listed == parse("a symmetric, uniformly coloured, dark nevus with low redness")


@pytest.mark.parametrize(
    ("place", "position"),
    [
        ("in the centre", (0.5, 0.5)),
        ("in the center of the image", (0.5, 0.5)),
        ("at the top", (0.5, 0.3)),
        ("in the lower half", (0.5, 0.7)),
        ("located on the left-hand side", (0.3, 0.5)),
        ("near the right edge", (0.8, 0.5)),
        ("in the bottom right quadrant", (0.7, 0.7)),
        ("in the top left corner", (0.2, 0.2)),
    ],
)
def test_places(place, position):
    assert parse(f"a nevus {place}") == Request("nv", position=position)


def test_the_same_twice_is_once():
    assert parse("a large, big nevus of large size in the upper left, in the top left") == parse(
        "a large nevus in the upper left"
    )


@pytest.mark.parametrize(
    ("text", "both"),
    [
        ("a large small nevus", ("large", "small")),
        ("a dark nevus, extremely dark", ("dark", "extremely dark")),
        ("a dark nevus with pale colour", ("dark", "pale colour")),
        ("an asymmetric nevus without asymmetry", ("asymmetric", "without asymmetry")),
        ("a melanoma and a nevus", ("melanoma", "nevus")),
        ("a melanoma with high contrast and a large nevus", ("melanoma", "nevus")),
        ("a nevus at the top in the lower left", ("at the top", "in the lower left")),
    ],
)
def test_contradictions_name_both(text, both):
    with pytest.raises(PromptError, match="contradict each other") as caught:
        parse(text)
    assert all(f'"{phrase}"' in caught.value.message for phrase in both)


@pytest.mark.parametrize(
    ("text", "word", "near"),
    [
        ("a large asymetric melanoma", "asymetric", "asymmetric"),
        ("a melanona", "melanona", "melanoma"),
        ("basal cell carcinom", "carcinom", "carcinoma"),
        ("a nevus in the uper left", "uper", "upper"),
        ("a brown nevus", "brown", "dark"),
        ("a benign lesion", "benign", "lesion type"),
        ("a qwertz nevus", "qwertz", "docs/prompts.md"),
    ],
)
def test_unknown_words_come_with_near_ones(text, word, near):
    with pytest.raises(PromptError) as caught:
        parse(text)
    assert f'"{word}"' in caught.value.message
    assert near in caught.value.cure


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("...", "empty"),
        ("nevus " * 400, "characters"),
        ("large dark", "ends where"),
        ("a nevus with", "ends where"),
        ("a nevus and", "ends where"),
        ("a nevus in the", "ends where"),
        ("a very nevus", '"very" stands where'),
        ("a nevus upper left", '"upper" stands where'),
        ("a very tiny nevus", "how strong"),
        ("a smooth nevus", "needs a noun"),
        ("a nevus with dark", "a noun after"),
        ("a nevus with a border", "needs an adjective"),
        ("a nevus with a high border", "does not go with"),
        ("a nevus with dark borders", "does not go with"),
        ("a not extremely dark nevus", "more or less"),
        ("a not slightly dark nevus", "more or less"),
        ("a not medium-sized nevus", "more or less"),
        ("a nevus, not asymmetry", "before the noun"),
        ("a dark or red nevus", "not negated"),
        ("a nevus with smooth or regular borders", "not negated"),
        ("a nevus with no asymmetry and redness", "may or may not"),
        ("a nevus without asymmetry, high contrast", "may or may not"),
        ("images of nevi", "how many"),
        ("nevi", "how many"),
        ("0 images of a nevus", "0 images"),
        ("10001 nevi", "10001 images"),
        ("three images of two nevi", '"two" lesions'),
        ("a nevus. It is large", "full stop"),
        ("a scc", "no type"),
    ],
)
def test_refused(text, problem):
    with pytest.raises(PromptError) as caught:
        parse(text)
    assert problem in caught.value.message


def test_attributes_are_sound():
    features = [name for attribute in ATTRIBUTES.values() for name, _ in attribute.features]
    assert set(features) <= set(FEATURE_NAMES)
    assert len(features) == len(set(features))
    assert [LEVELS[level] for level in sorted(LEVELS)] == sorted(LEVELS.values())
    assert all(LEVELS[-level] == pytest.approx(1 - LEVELS[level]) for level in LEVELS)


def test_request_checks_itself():
    with pytest.raises(ConfigError, match="no measurement"):
        Request(quantiles={"size": 0.5})
    with pytest.raises(ConfigError, match="quantile"):
        Request(quantiles={AREA: float("nan")})
    with pytest.raises(ConfigError, match="position"):
        Request(position=(0.5, 1.5))
    with pytest.raises(ConfigError, match="count"):
        Request(count=0)
