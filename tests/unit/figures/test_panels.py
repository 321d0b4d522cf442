import numpy as np

from lfvar.figures.panels import GAP, HEADING, OUTLINE, draw_reconstructions, outline, to_pixels


def test_table_holds_every_tile_where_it_belongs():
    image = np.stack([np.full((3, 8, 8), -1.0), np.full((3, 8, 8), 1.0)])
    mask = np.zeros((2, 8, 8), bool)
    mask[:, 2:6, 2:6] = True
    picture = draw_reconstructions(image, mask, [image * 0, image], (1, 8), side=32)
    assert picture.shape == (HEADING + 2 * (32 + GAP) - GAP, 5 * (32 + GAP) - GAP, 3)
    centre = HEADING + 16
    assert (picture[centre, 16] == 0).all()  # black original
    assert (picture[centre, 2 * 35 + 16] == 128).all()  # grey after the first scale
    assert (picture[centre, 4 * 35 + 16] == 0).all()  # no error
    assert (picture[centre + 35, 16] == 255).all()  # second row is white


def test_outline_follows_the_mask():
    mask = np.zeros((8, 8), bool)
    mask[2:6, 2:6] = True
    drawn = outline(np.zeros((8, 8, 3), np.uint8), mask, 32)
    ys, xs = np.nonzero(drawn[..., 1] > OUTLINE[1] // 2)
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (8, 23, 8, 23)
    assert not drawn[10:22, 10:22].any()


def test_pixels_are_rounded_and_clipped():
    assert to_pixels(np.array([[[-1.2]], [[0.0]], [[1.0]]])).tolist() == [[[0, 128, 255]]]
