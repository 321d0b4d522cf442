"""Names of lesion types: full names, abbreviations and lay words, for any list of classes.

A class is always known by its own name. Beyond that, a name stands for a diagnosis; a diagnosis without a class of its
own falls to the class of the wider one it belongs to: seborrhoeic keratosis is bkl in HAM10000, a class in ISIC 2017.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from lfvar.sampling.prompt.request import PromptError
from lfvar.sampling.prompt.words import normalise


class Diagnosis(NamedTuple):
    """What dermatologists tell apart."""

    names: tuple[str, ...]
    """As `words.normalise` leaves them, singular; the first is printed."""
    wider: str | None = None
    """The diagnosis that includes it."""
    printed: str | None = None
    """Printed instead of the first name: the commoner part of a class that gathers several."""


DIAGNOSES: Mapping[str, Diagnosis] = {
    "mel": Diagnosis(("melanoma", "mel", "mm", "malignant melanoma", "melanoma skin cancer")),
    "nv": Diagnosis(("nevus", "nv", "ml", "melanocytic nevus", "mole")),
    "common_nevus": Diagnosis(("common nevus",), "nv"),
    "atypical_nevus": Diagnosis(("atypical nevus", "dysplastic nevus", "clark nevus", "atypical mole"), "nv"),
    "bcc": Diagnosis(("basal cell carcinoma", "bcc", "basalioma", "rodent ulcer")),
    "scc": Diagnosis(("squamous cell carcinoma", "scc")),
    "akiec": Diagnosis(
        (
            "actinic keratosis or intraepithelial carcinoma",
            "actinic keratosis and intraepithelial carcinoma",
            "akiec",
        ),
        printed="actinic keratosis",
    ),
    "ak": Diagnosis(("actinic keratosis", "ak", "solar keratosis"), "akiec"),
    "iec": Diagnosis(
        ("intraepithelial carcinoma", "iec", "bowens disease", "bowen disease", "squamous cell carcinoma in situ"),
        "akiec",
    ),
    "bkl": Diagnosis(("benign keratosis", "bkl", "benign keratosis like lesion", "benign keratotic lesion")),
    "sk": Diagnosis(("seborrhoeic keratosis", "sk", "seborrhoeic wart"), "bkl"),
    "lentigo": Diagnosis(("solar lentigo", "lentigo", "age spot", "liver spot", "sun spot"), "bkl"),
    "lplk": Diagnosis(("lichen planus like keratosis", "lplk"), "bkl"),
    "df": Diagnosis(("dermatofibroma", "df", "fibrous histiocytoma", "histiocytoma")),
    "vasc": Diagnosis(("vascular lesion", "vasc", "angioma", "vascular skin lesion")),
    "haemangioma": Diagnosis(("haemangioma", "cherry angioma"), "vasc"),
    "angiokeratoma": Diagnosis(("angiokeratoma",), "vasc"),
    "pyo": Diagnosis(("pyogenic granuloma", "pyo"), "vasc"),
}


class TypeNames(NamedTuple):
    """All names under a list of classes."""

    labels: Mapping[str, tuple[str, ...]]
    """Name → classes it may mean: one, several (ambiguous) or none (no such class)."""
    plurals: frozenset[str]
    classes: tuple[str, ...]

    def name(self, label: str) -> str:
        """The canonical name of a class; it means nothing else."""
        own = normalise(label)
        key = _diagnosis_of(own)
        if key is not None:
            diagnosis = DIAGNOSES[key]
            for name in (diagnosis.printed, *diagnosis.names):
                if name is not None and self.labels.get(name) == (label,):
                    return name
        return own


@lru_cache(maxsize=16)
def name_types(classes: tuple[str, ...]) -> TypeNames:
    """Collect the names of all types.

    Raises:
        PromptError: When two classes have the same words, or one has none.
    """
    own: dict[str, str] = {}
    for label in classes:
        words = normalise(label)
        if not words or words in own:
            other = f"the same words as '{own[words]}'" if words else "no letters or digits"
            raise PromptError(f"class '{label}' has {other}", cure="rename the class")
        own[words] = label
    homes: dict[str, list[str]] = {}
    for words, label in own.items():
        key = _diagnosis_of(words)
        if key is not None:
            homes.setdefault(key, []).append(label)
    labels: dict[str, tuple[str, ...]] = {}
    plurals = set()
    for key, diagnosis in DIAGNOSES.items():
        found = _find_classes(key, homes)
        for name in diagnosis.names:
            labels[name] = found
            for plural in _pluralise(name):
                labels[plural] = found
                plurals.add(plural)
    labels.update({words: (label,) for words, label in own.items()})
    return TypeNames(labels, frozenset(plurals - set(own)), classes)


def is_diagnosis(words: str) -> bool:
    """Whether that is the name of a diagnosis, which may stand without an article: "skin with melanoma"."""
    return _diagnosis_of(words) is not None


def _diagnosis_of(words: str) -> str | None:
    for key, diagnosis in DIAGNOSES.items():
        if words in diagnosis.names:
            return key
    return None


def _find_classes(key: str, homes: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Classes of the diagnosis itself, of the narrowest wider one that has any, or of all narrower ones."""
    at: str | None = key
    while at is not None:
        if at in homes:
            return tuple(homes[at])
        at = DIAGNOSES[at].wider
    return tuple(
        label for other, diagnosis in DIAGNOSES.items() if diagnosis.wider == key for label in homes.get(other, ())
    )


def _pluralise(name: str) -> tuple[str, ...]:
    if name.endswith("sis"):
        return (name[:-2] + "es",)
    if name.endswith("nevus"):
        return (name[:-2] + "i", name + "es")
    if name.endswith("lentigo"):
        return (name[:-1] + "ines", name + "s")
    if name.endswith(("disease", "in situ")):
        return ()
    return (name + "s",)
