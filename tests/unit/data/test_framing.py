import numpy as np
import pytest

from lfvar.data.framing import Frame, choose_frame, cut_frame, cut_mask, fraction_in_view, lesion_box


def box_mask(height: int, width: int, left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros((height, width), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def test_lesion_box():
    assert lesion_box(box_mask(450, 600, 10, 20, 30, 50)) == (10, 20, 30, 50)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((290, 215, 310, 235), Frame(75, 0, 450, 450)),  # in the middle
        ((0, 0, 40, 40), Frame(0, 0, 450, 450)),  # shifted, but kept inside
        ((560, 400, 600, 450), Frame(150, 0, 450, 450)),
        ((400, 100, 500, 200), Frame(150, 0, 450, 450)),
        ((100, 100, 540, 200), Frame(95, 0, 450, 450)),  # 440 wide: its margin would not fit, the square stays inside
    ],
)
def test_default_is_the_largest_square_moved_onto_the_lesion(box, expected):
    assert choose_frame(box_mask(450, 600, *box)) == expected


def test_portrait_images_move_along_the_other_axis():
    assert choose_frame(box_mask(600, 450, 0, 560, 40, 600)) == Frame(0, 150, 450, 450)


def test_relative_size_survives():
    small, large = box_mask(450, 600, 290, 215, 310, 235), box_mask(450, 600, 200, 125, 400, 325)
    areas = [cut_mask(mask, choose_frame(mask), 90).sum() for mask in (small, large)]
    assert areas == [16, 1600]


def test_longer_lesions_grow_the_square_towards_the_skin():
    frame = choose_frame(box_mask(450, 600, 20, 300, 570, 450))  # touches the lower edge: 550 wide, all skin above
    assert (frame.width, frame.height) == (550, 550)
    assert frame.x0 == 20
    assert frame.y0 == -100
    assert frame.padding(450, 600) == (100, 0, 0, 0)
    assert choose_frame(box_mask(450, 600, 0, 0, 600, 450)) == Frame(0, -75, 600, 600)


def test_whole_lesion_is_always_in_view():
    rng = np.random.default_rng(0)
    for _ in range(200):
        height, width = rng.integers(20, 90, 2)
        left, right = np.sort(rng.choice(width + 1, 2, replace=False))
        top, bottom = np.sort(rng.choice(height + 1, 2, replace=False))
        mask = box_mask(height, width, left, top, right, bottom)
        for min_side in (0.3, 1.0):
            frame = choose_frame(mask, margin=1.5, min_side=min_side)
            assert fraction_in_view(mask, frame) == 1
            assert frame.width == frame.height
            assert frame.width <= max(height, width)
            if max(right - left, bottom - top) <= min(height, width):
                assert frame.padding(height, width) == (0, 0, 0, 0)


def test_min_side_zooms_in_with_a_margin():
    mask = box_mask(450, 600, 100, 100, 200, 150)
    assert choose_frame(mask, min_side=0.1, margin=1.5) == Frame(75, 50, 150, 150)
    assert choose_frame(mask, min_side=0.5, margin=1.5) == Frame(37, 12, 225, 225)


def test_centre_and_squash():
    mask = box_mask(450, 600, 0, 0, 50, 50)
    assert choose_frame(mask, "centre") == Frame(75, 0, 450, 450)
    assert fraction_in_view(mask, choose_frame(mask, "centre")) == 0
    assert choose_frame(mask, "squash") == Frame(0, 0, 600, 450)
    assert fraction_in_view(box_mask(450, 600, 50, 0, 100, 10), choose_frame(mask, "centre")) == 0.5


def test_cut_shows_the_right_pixels():
    image = np.random.default_rng(0).integers(0, 256, (45, 60, 3), dtype=np.uint8)
    assert np.array_equal(cut_frame(image, Frame(7, 0, 45, 45), 45), image[:, 7:52])


def test_padding_mirrors_image_and_mask_alike():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    mask = image[..., 0] > 127
    frame = Frame(0, -8, 60, 60)
    cut = cut_frame(image, frame, 60)
    assert np.array_equal(cut[8:48], image)
    assert np.array_equal(cut[:8], image[:8][::-1])
    assert np.array_equal(cut[48:], image[-12:][::-1])
    assert np.array_equal(cut_mask(mask, frame, 60), cut[..., 0] > 127)


def test_image_is_antialiased():
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    small = cut_frame(stripes, Frame(0, 0, 64, 64), 16)[2:-2, 2:-2]
    assert np.abs(small.astype(int) - 127).max() < 10  # point sampling gives 0 or 255


def test_mask_is_averaged_over_area():
    mask = np.zeros((8, 8), dtype=bool)
    mask[0, :2] = mask[1, 0] = True  # three quarters of the first block
    mask[0, 2] = True  # one quarter of the second
    mask[0, 4:6] = True  # half of the third
    assert cut_mask(mask, Frame(0, 0, 8, 8), 4)[0].tolist() == [True, False, True, False]
