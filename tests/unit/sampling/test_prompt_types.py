"""Names of types under several lists of classes."""

import pytest

from lfvar.data.records import HAM10000_CLASSES
from lfvar.sampling.prompt import PromptError, Request, parse, render

DERMOFIT = ("ak", "bcc", "df", "iec", "mel", "ml", "pyo", "scc", "sk", "vasc")
ISIC2017 = ("melanoma", "nevus", "seborrheic_keratosis")
PH2 = ("common_nevus", "atypical_nevus", "melanoma")
LETTERS = ("A", "b", "no", "3", "dark", "Type 2b", "a_b")
LISTS = [HAM10000_CLASSES, DERMOFIT, ISIC2017, PH2, LETTERS]


@pytest.mark.parametrize(
    ("name", "classes", "label"),
    [
        ("seborrhoeic keratosis", HAM10000_CLASSES, "bkl"),
        ("seborrhoeic keratosis", ISIC2017, "seborrheic_keratosis"),
        ("seborrheic keratosis", DERMOFIT, "sk"),
        ("benign keratosis", DERMOFIT, "sk"),
        ("actinic keratosis", HAM10000_CLASSES, "akiec"),
        ("solar keratosis", DERMOFIT, "ak"),
        ("squamous cell carcinoma in situ", DERMOFIT, "iec"),
        ("squamous cell carcinoma", DERMOFIT, "scc"),
        ("cherry angioma", DERMOFIT, "vasc"),
        ("pyogenic granuloma", HAM10000_CLASSES, "vasc"),
        ("pyogenic granuloma", DERMOFIT, "pyo"),
        ("mole", ISIC2017, "nevus"),
        ("dysplastic naevus", PH2, "atypical_nevus"),
        ("atypical mole", HAM10000_CLASSES, "nv"),
        ("common_nevus", PH2, "common_nevus"),
        ("type 2b", LETTERS, "Type 2b"),
    ],
)
def test_names_go_to_the_narrowest_class(name, classes, label):
    assert parse(f"a large {name}", classes).label == label


@pytest.mark.parametrize("classes", LISTS, ids=lambda classes: classes[0])
def test_every_class_is_its_own_word_and_prints(classes):
    for label in classes:
        assert parse(f"an image of a skin area with a {label}", classes) == Request(label)
        request = Request(label, {"clinical_relative_area": 0.85}, (0.3, 0.3), 3)
        for asked in (request, Request(label)):
            assert parse(render(asked, classes), classes) == asked


def test_digits_may_be_classes_and_numbers():
    assert parse("3 images of a 3", LETTERS) == Request("3", count=3)


def test_a_class_takes_its_word_from_attributes():
    assert parse("a large dark", LETTERS).label == "dark"


def test_ambiguous_and_absent_types():
    with pytest.raises(PromptError, match="common_nevus or atypical_nevus"):
        parse("a nevus", PH2)
    with pytest.raises(PromptError, match="ak or iec"):
        parse("an akiec", DERMOFIT)
    with pytest.raises(PromptError) as caught:
        parse("a dermatofibroma", PH2)
    assert "common_nevus, atypical_nevus, melanoma" in caught.value.cure


def test_classes_must_differ_in_words():
    with pytest.raises(PromptError, match="same words"):
        parse("a nevus", ("a_b", "A-B"))
    with pytest.raises(PromptError, match="no letters"):
        parse("a nevus", ("nevus", "--"))


def test_a_label_of_another_list_prints_as_itself():
    assert render(Request("ml")) == "An image of a skin area with ml."
    assert parse(render(Request("ml")), DERMOFIT) == Request("ml")
