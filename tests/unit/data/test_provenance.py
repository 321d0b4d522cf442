"""Notes inside PNG files: pixels stay, bytes repeat, other programs find the words they look for."""

from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from lfvar.data.imageio import XMP, encode_png, read_image, read_png_text, write_png
from lfvar.data.provenance import Provenance, read_provenance

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
MADE = Provenance(
    {"transformer": "a" * 64},
    seed=3,
    type="mel",
    measurements={f"feature_{number}": number / 3 for number in range(120)},
    prompt="a “large” mélanome",
)


def test_pixels_stay_and_bytes_repeat(tmp_path):
    write_png(tmp_path / "image.png", PIXELS, MADE.to_text())
    assert np.array_equal(read_image(tmp_path / "image.png"), PIXELS)
    assert encode_png(PIXELS, MADE.to_text()) == (tmp_path / "image.png").read_bytes()
    assert encode_png(PIXELS, {}) == encode_png(PIXELS)


def test_what_is_written_is_read(tmp_path):
    write_png(tmp_path / "image.png", PIXELS, MADE.to_text())
    facts = read_provenance(tmp_path / "image.png")
    assert (facts["seed"], facts["type"], facts["prompt"]) == (3, "mel", MADE.prompt)
    assert facts["measurements"]["feature_1"] == pytest.approx(1 / 3, rel=1e-5)


def test_other_programs_find_their_words(tmp_path):
    write_png(tmp_path / "image.png", PIXELS, MADE.to_text())
    with Image.open(tmp_path / "image.png") as opened:
        opened.load()
        assert opened.text["Software"].startswith("lfvar ")
        assert "not for diagnosis" in opened.text["Disclaimer"]
        packet = ElementTree.fromstring(opened.text[XMP].partition("?>")[2].rpartition("<?")[0])
    said = [value for element in packet.iter() for name, value in element.items() if "DigitalSourceType" in name]
    assert said == ["http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"]
    data = (tmp_path / "image.png").read_bytes()
    assert b"tEXtDisclaimer" in data  # plain, for whoever looks with a text editor
    assert b"zTXtlfvar" in data  # long


def test_a_photograph_in_it_is_said():
    assert "photograph" in Provenance({}, source="ISIC_1").to_text()["Disclaimer"]
    assert "photograph" not in Provenance({}).to_text()["Disclaimer"]


def test_foreign_files_have_none(tmp_path):
    write_png(tmp_path / "plain.png", PIXELS)
    write_png(tmp_path / "foreign.png", PIXELS, {"lfvar": "hello"})
    Image.fromarray(PIXELS).save(tmp_path / "photo.jpg")
    assert read_provenance(tmp_path / "plain.png") is None
    assert read_provenance(tmp_path / "foreign.png") is None
    assert read_provenance(tmp_path / "photo.jpg") is None
    assert read_png_text(tmp_path / "plain.png") == {}
    assert XMP not in read_png_text(tmp_path / "foreign.png")
