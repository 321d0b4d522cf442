import numpy as np
import pytest

from lfvar.figures.panels import GAP
from lfvar.figures.sheets import CAPTION, HEADING, NAME_WIDTH, Sheet, SheetRow, Tile, break_name, draw_sheet

SIDE = 32


def images(count):
    return np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.mark.parametrize("caption", ["", "0.3 L*"])
def test_tiles_are_where_they_belong(caption):
    first, second, third = images(3)
    rows = (SheetRow("nv\nISIC_1", (Tile(first, caption), None)), SheetRow("mel", (Tile(second), Tile(third))))
    picture = draw_sheet(Sheet(("source", "mel"), rows), side=SIDE)
    pitch = SIDE + GAP + (CAPTION if caption else 0)

    def tile(row, column):
        top, left = HEADING + row * pitch, NAME_WIDTH + column * (SIDE + GAP)
        return picture[top : top + SIDE, left : left + SIDE]

    assert np.array_equal(tile(0, 0), first)
    assert np.array_equal(tile(1, 0), second)
    assert np.array_equal(tile(1, 1), third)
    assert len(np.unique(tile(0, 1))) == 1
    written = picture[HEADING : HEADING + SIDE, : NAME_WIDTH - 2]
    assert (written < 128).any()  # the name of the row
    below = picture[HEADING + SIDE : HEADING + pitch, NAME_WIDTH : NAME_WIDTH + SIDE]
    assert (below < 128).any() == bool(caption)
    assert np.array_equal(picture, draw_sheet(Sheet(("source", "mel"), rows), side=SIDE))


def test_rows_must_fit_headings():
    with pytest.raises(ValueError, match="1 tiles for 2 headings"):
        Sheet(("a", "b"), (SheetRow("x", (None,)),))


def test_long_names_are_broken_and_marked():
    assert break_name("a large, dark, asymmetric melanoma", most=4) == ["a large, dark,", "asymmetric melanoma"]
    cut = break_name("word " * 40, most=3)
    assert len(cut) == 3
    assert cut[-1].endswith("…")
