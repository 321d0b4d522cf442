"""Pictures below the cells of a notebook."""

import io
import sys
from types import SimpleNamespace

import numpy as np
from PIL import Image

from lfvar.figures.display import show, to_jpeg
from lfvar.figures.style import make_figure


def test_pixels_come_back_nearly_as_they_were():
    ramp = np.tile(np.linspace(0, 255, 96).astype(np.uint8)[None, :, None], (64, 1, 3))
    opened = np.asarray(Image.open(io.BytesIO(to_jpeg(ramp))))
    assert opened.shape == ramp.shape
    assert np.abs(opened.astype(int) - ramp).max() <= 6


def test_a_figure_is_drawn():
    figure = make_figure(2.0, 3.0)
    figure.add_subplot().plot([0, 1], [0, 1])
    picture = Image.open(io.BytesIO(to_jpeg(figure)))
    assert picture.format == "JPEG"
    assert picture.size == (270, 180)
    assert np.asarray(picture).std() > 5


def test_shown_in_a_notebook(monkeypatch):
    shown = []
    fake = SimpleNamespace(display=shown.append, Image=lambda **given: given)
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    show(np.zeros((8, 8, 3), np.uint8), width=40)
    (given,) = shown
    assert given["width"] == 40
    assert given["format"] == "jpeg"
    assert given["data"][:2] == b"\xff\xd8"
