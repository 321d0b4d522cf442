import numpy as np

from lfvar.figures.panels import GAP, HEADING, to_pixels
from lfvar.figures.samples import LABEL_WIDTH, SampleRow, draw_samples

SIDE = 32


def tile(picture, row, column):
    top, left = HEADING + row * (SIDE + GAP), LABEL_WIDTH + column * (SIDE + GAP)
    return picture[top : top + SIDE, left : left + SIDE]


def test_rows_and_columns_hold_what_they_say():
    draw = np.random.default_rng(0)
    source = draw.uniform(-1, 1, (3, SIDE, SIDE))
    measured, typical = draw.uniform(-1, 1, (2, 2, 3, SIDE, SIDE))
    mask = np.zeros((SIDE, SIDE), bool)
    mask[8:20, 10:25] = True
    rows = [
        SampleRow("melanoma", source, mask, (measured, typical)),
        SampleRow("nevus", None, None, (None, typical)),
        SampleRow("naevus", source, np.zeros_like(mask), (measured, typical)),
    ]
    picture = draw_samples(rows, ("measured", "type"), [4, 5], side=SIDE)
    assert picture.shape == (HEADING + 3 * (SIDE + GAP) - GAP, LABEL_WIDTH + 5 * (SIDE + GAP) - GAP, 3)
    for column, image in enumerate((*measured, *typical), start=1):
        assert np.array_equal(tile(picture, 0, column), to_pixels(image))
    drawn = (tile(picture, 0, 0) != to_pixels(source)).any(axis=-1)
    assert drawn[8, 10:25].all()  # the lesion's border
    assert not drawn[12:16, 14:20].any()
    assert np.array_equal(tile(picture, 2, 0), to_pixels(source))
    assert all(len(np.unique(tile(picture, 1, column))) == 1 for column in (0, 1, 2))
    assert np.array_equal(tile(picture, 1, 3), to_pixels(typical[0]))
    names = picture[HEADING:, :LABEL_WIDTH]
    assert (names < 128).any()
