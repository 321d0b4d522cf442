"""The words of prompts and what each means: attributes, strengths, numbers. Places: `places`; types: `lesion_types`.

All words are written as `words.split` leaves them: lower case, British spelling, no hyphens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

LEVELS: Mapping[int, float] = {
    -4: 0.02,
    -3: 0.05,
    -2: 0.15,
    -1: 0.3,
    0: 0.5,
    1: 0.7,
    2: 0.85,
    3: 0.95,
    4: 0.98,
}
"""Quantile of each level: 1 slightly, 2 the plain word, 3 very, 4 extremely; below 0 the opposite, 0 medium."""

PLAIN = 2


@dataclass(frozen=True)
class Attribute:
    """One property that words can ask for."""

    features: tuple[tuple[str, int], ...]
    """What it moves, and which way: 1 when more of the attribute is a higher value, else -1."""
    more: tuple[str, ...] = ()
    """Adjectives for much of it; the first is printed."""
    less: tuple[str, ...] = ()
    """Adjectives for little of it."""


ATTRIBUTES: Mapping[str, Attribute] = {
    "size": Attribute((("clinical_relative_area", 1),), ("large", "big"), ("small",)),
    "darkness": Attribute(
        (("clinical_colour_lightness", -1), ("histogram_mean", -1)), ("dark",), ("pale", "light", "bright")
    ),
    "redness": Attribute((("clinical_colour_redness", 1),), ("red",)),
    "yellowness": Attribute((("clinical_colour_yellowness", 1),), ("yellow",), ("blue",)),
    "colour variegation": Attribute(
        (("clinical_colour_variegation", 1), ("clinical_colour_variegation_chroma", 1)),
        ("variegated", "multicoloured", "multi coloured"),
        ("uniformly coloured", "evenly coloured"),
    ),
    "asymmetry": Attribute(
        (("clinical_asymmetry_shape_min", 1), ("clinical_asymmetry_shape_max", 1)), ("asymmetric",), ("symmetric",)
    ),
    "colour asymmetry": Attribute(
        (("clinical_asymmetry_colour_min", 1), ("clinical_asymmetry_colour_max", 1)),
        ("asymmetrically coloured",),
        ("symmetrically coloured",),
    ),
    "elongation": Attribute((("shape_elongation", -1),), ("elongated",), ("round", "circular")),
    "texture": Attribute(
        (("texture_glcm_contrast", 1), ("texture_glcm_idm", -1)),
        ("structured", "textured"),
        ("structureless", "untextured"),
    ),
    "border irregularity": Attribute(
        (("clinical_border_compactness", 1), ("shape_sphericity", -1)), ("irregular",), ("regular",)
    ),
    "contrast": Attribute((("clinical_contrast_colour", 1),), ("conspicuous",), ("faint", "inconspicuous")),
}
"""By name, which is also the noun that prints; in the order in which they print."""


class Meaning(NamedTuple):
    """What a word says about an attribute."""

    attribute: str
    level: int
    fixed: bool = False
    """It says its own strength, so it takes none."""


ADJECTIVES: Mapping[str, Meaning] = {
    **{word: Meaning(name, PLAIN) for name, attribute in ATTRIBUTES.items() for word in attribute.more},
    **{word: Meaning(name, -PLAIN) for name, attribute in ATTRIBUTES.items() for word in attribute.less},
    "huge": Meaning("size", 3, fixed=True),
    "tiny": Meaning("size", -3, fixed=True),
    "medium sized": Meaning("size", 0, fixed=True),
    "average sized": Meaning("size", 0, fixed=True),
    "reddish": Meaning("redness", 1, fixed=True),
    "yellowish": Meaning("yellowness", 1, fixed=True),
    "bluish": Meaning("yellowness", -1, fixed=True),
}
"""Adjectives that stand alone."""

STRENGTHS: Mapping[str, int] = {
    **dict.fromkeys(("slightly", "somewhat", "mildly", "a little", "a bit"), 1),
    **dict.fromkeys(("moderately", "fairly"), 2),
    **dict.fromkeys(("very", "strongly", "highly", "markedly", "particularly"), 3),
    **dict.fromkeys(("extremely", "exceptionally"), 4),
}
"""Level of the adjective that follows."""

GRADES: Mapping[str, tuple[int, bool]] = {
    **dict.fromkeys(("high", "strong", "marked", "pronounced", "much"), (PLAIN, False)),
    **dict.fromkeys(("low", "little", "weak"), (-PLAIN, False)),
    **dict.fromkeys(("slight", "mild", "some", "a little", "a bit of"), (1, True)),
    **dict.fromkeys(("extreme",), (4, True)),
    **dict.fromkeys(("medium", "average", "moderate"), (0, True)),
}
"""Words of degree before a noun ("high contrast"): level, and whether it takes no strength."""


@dataclass(frozen=True)
class Noun:
    """A noun that names an attribute (contrast), or carries adjectives (border)."""

    attribute: str | None = None
    """What it names; None: a degree before it makes no sense ("high border")."""
    direction: int = 1
    """-1 when it names little of the attribute: symmetry."""
    carries: tuple[str, ...] = ()
    """Attributes whose adjectives may stand before it."""
    own: Mapping[str, Meaning] = field(default_factory=dict)
    """Adjectives that mean this only before this noun."""

    def read(self, word: str) -> Meaning | None:
        """What an adjective or degree before the noun means; None when the two do not go together."""
        if word in self.own:
            return self.own[word]
        if word in ADJECTIVES and ADJECTIVES[word].attribute in self.carries:
            return ADJECTIVES[word]
        if word in GRADES and self.attribute:
            level, fixed = GRADES[word]
            return Meaning(self.attribute, self.direction * level, fixed)
        return None


def _mean(attribute: str, more: tuple[str, ...], less: tuple[str, ...] = ()) -> dict[str, Meaning]:
    return dict.fromkeys(more, Meaning(attribute, PLAIN)) | dict.fromkeys(less, Meaning(attribute, -PLAIN))


_SIZE = Noun(None, 1, ("size",), dict.fromkeys(("medium", "average", "moderate"), Meaning("size", 0, fixed=True)))
_BORDER = Noun(
    None,
    1,
    ("border irregularity",),
    _mean("border irregularity", ("ragged", "jagged", "notched", "uneven"), ("smooth", "even")),
)
_COLOUR = Noun(
    None,
    1,
    ("darkness", "redness", "yellowness", "colour variegation"),
    {
        **_mean(
            "colour variegation", ("many", "several", "multiple", "varied"), ("uniform", "homogeneous", "even", "few")
        ),
        **_mean("colour asymmetry", ("asymmetric",), ("symmetric",)),
    },
)
_SHAPE = Noun(None, 1, ("asymmetry", "elongation", "border irregularity"))
_TEXTURE = Noun("texture", 1, ("texture",), _mean("texture", ("rough", "coarse"), ("smooth", "homogeneous", "uniform")))

NOUNS: Mapping[str, Noun] = {
    **{name: Noun(name) for name in ATTRIBUTES},
    **dict.fromkeys(("size", "sizes"), _SIZE),
    **dict.fromkeys(("border", "borders", "outline", "margin", "margins", "edge", "edges"), _BORDER),
    **dict.fromkeys(("colour", "colours", "colouring", "pigmentation"), _COLOUR),
    **dict.fromkeys(("shape", "shapes"), _SHAPE),
    **dict.fromkeys(("texture", "surface"), _TEXTURE),
    **dict.fromkeys(("paleness", "pallor", "lightness", "brightness"), Noun("darkness", -1)),
    "blueness": Noun("yellowness", -1),
    **dict.fromkeys(("variegation", "colour variation"), Noun("colour variegation")),
    **dict.fromkeys(("colour uniformity", "colour homogeneity"), Noun("colour variegation", -1)),
    "symmetry": Noun("asymmetry", -1),
    "colour symmetry": Noun("colour asymmetry", -1),
    "roundness": Noun("elongation", -1),
    "irregularity": Noun("border irregularity"),
    **dict.fromkeys(("regularity", "border regularity"), Noun("border irregularity", -1)),
    "structure": Noun("texture"),
}

MODIFIERS: Mapping[str, None] = dict.fromkeys(
    (*ADJECTIVES, *GRADES, *(word for noun in NOUNS.values() for word in noun.own))
)
"""Everything that may stand before a noun, and some of it alone."""

LESIONS: Mapping[str, bool] = {
    f"{noun}{ending}": bool(ending) for noun in ("lesion", "skin lesion", "spot", "skin spot") for ending in ("", "s")
}
"""A lesion of any type, and whether it is a plural."""
PICTURES: Mapping[str, bool] = {
    f"{kind}{noun}{ending}": bool(ending)
    for kind in ("", "dermoscopic ", "dermoscopy ", "synthetic ")
    for noun in ("image", "picture", "photo")
    for ending in ("", "s")
}
"""The same for images."""
SKIN = ("skin area", "skin", "skin region", "skin patch", "area of skin", "region of skin", "patch of skin")
ARTICLES = ("a", "an", "the")
VERBS = ("generate", "create", "make", "draw", "paint", "synthesise", "show", "show me", "give me")
SHOWING = ("of", "with", "showing", "containing", "that shows", "that show")
"""Between an image or skin and what is on it."""

JOINTS = (",", "and", "but")
WITH = ("with", "having", "of", "that has", "which has", "that have", "which have")
WITHOUT = ("without",)
THAT_IS = ("that is", "which is", "that are", "which are")
NOT = ("not", "neither")
NO = ("no",)
OR = ("or", "nor")
"""Go on with a negation."""

NUMBER_WORDS = (
    *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
NUMBERS: Mapping[str, int] = {
    **{word: value for value, word in enumerate(NUMBER_WORDS, start=1)},
    **dict.fromkeys(("a dozen", "one dozen"), 12),
    **dict.fromkeys(("a pair of", "a couple of"), 2),
}
MAX_COUNT = 10_000
"""Images one sentence may ask for: a typing error should not fill a disk."""

PHRASES: tuple[str, ...] = tuple(
    phrase
    for table in (
        *(MODIFIERS, STRENGTHS, NOUNS, ARTICLES, VERBS, NUMBERS, SKIN, LESIONS, PICTURES, SHOWING),
        *(JOINTS, WITH, WITHOUT, THAT_IS, NOT, NO, OR),
    )
    for phrase in table
)
"""Everything above."""

HINTS: Mapping[str, str] = {
    **dict.fromkeys(("brown", "tan"), 'say "dark" or "pale", "yellow" or "red"'),
    **dict.fromkeys(("black", "blackish"), 'say "very dark"'),
    **dict.fromkeys(("white", "whitish"), 'say "very pale"'),
    **dict.fromkeys(("pink", "pinkish"), 'say "pale, red" or "reddish"'),
    **dict.fromkeys(("purple", "violet"), 'say "red, blue"'),
    **dict.fromkeys(("blurry", "blurred", "sharp", "fuzzy"), 'how sharp a border is is not measured: say "faint"'),
    **dict.fromkeys(("cancer", "tumour", "malignant", "benign"), "name the lesion type"),
    **dict.fromkeys(("hair", "hairs", "hairy", "ruler"), "only the lesion is described, not what else is in the image"),
}
"""What to say instead of words people may well try."""
