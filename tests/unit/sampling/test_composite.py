import cv2
import numpy as np
import pytest
from PIL import Image

from lfvar.data.framing import Frame, choose_frame, cut_frame, cut_mask
from lfvar.sampling.composite import composite, feather_inward, mask_in_original, match_skin, paste_into_original


def disc(size, centre, radius):
    y, x = np.mgrid[:size, :size]
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2


def noise(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def test_feather_rises_inward_only():
    mask = disc(64, (30, 32), 20)
    alpha = feather_inward(mask, 6)
    assert (alpha[~mask] == 0).all()
    assert (alpha[mask] > 0).all()
    assert (alpha[disc(64, (30, 32), 13)] == 1).all()
    row = alpha[32, 30:]
    assert (np.diff(row) <= 0).all()  # monotone from the centre out
    half = np.zeros((8, 8), bool)
    half[:, 3:] = True  # a straight border: depths are known
    t = np.array([0.5, 1.5, 2.5]) / 2
    expected = np.clip(t, 0, 1) ** 2 * (3 - 2 * np.clip(t, 0, 1))
    assert np.allclose(feather_inward(half, 2)[4, 3:6], expected)
    assert (feather_inward(half, 2)[:, 7] == 1).all()  # the image's edge is no border
    assert np.array_equal(feather_inward(mask, 0), mask.astype(np.float32))


def test_small_lesions_are_painted_too():
    for radius in (0, 1, 2):
        alpha = feather_inward(disc(32, (10, 10), radius), 10)
        assert alpha.max() == 1, radius


def test_composite_keeps_every_byte_outside():
    source, painted, mask = noise(0, 48, 48), noise(1, 48, 48), disc(48, (20, 25), 12)
    result = composite(source, painted, mask, 0.1)
    assert np.array_equal(result[~mask], source[~mask])
    core = feather_inward(mask, 4.8) == 1
    assert np.array_equal(result[core], painted[core])
    assert np.array_equal(composite(source, painted, np.ones_like(mask), 0.1), painted)


def test_an_edit_goes_back_into_the_photograph():
    original = cv2.normalize(cv2.GaussianBlur(noise(2, 90, 120), (0, 0), 5), None, 0, 255, cv2.NORM_MINMAX)
    mask = np.zeros((90, 120), bool)
    mask[30:60, 40:80] = True
    frame = choose_frame(mask)
    square = cut_frame(original, frame, 45)
    back = paste_into_original(original, mask, frame, square, feather=0.0)
    assert np.array_equal(back[~mask], original[~mask])
    assert np.abs(back.astype(int) - original)[mask].mean() < 3  # the same place, the same way up
    shifted = paste_into_original(original, mask, Frame(frame.x0 + 6, frame.y0, 90, 90), square, feather=0.0)
    assert np.abs(shifted.astype(int) - original)[mask].mean() > 12


@pytest.mark.parametrize("frame", [Frame(-13, -7, 97, 97), Frame(10, 20, 70, 50), Frame(0, -31, 110, 110)])
def test_a_part_is_what_it_would_be_in_the_whole(frame):
    """Only what the mask shows is enlarged; the twin enlarges everything and cuts afterwards."""
    original, square = noise(3, 60, 80), noise(4, 32, 32)
    mask = np.zeros((60, 80), bool)
    mask[22:55, 12:] = True
    whole = np.asarray(Image.fromarray(square).resize((frame.width, frame.height), Image.Resampling.LANCZOS))
    expected = original.copy()
    for y, x in zip(*np.nonzero(mask), strict=True):
        if 0 <= y - frame.y0 < frame.height and 0 <= x - frame.x0 < frame.width:
            expected[y, x] = whole[y - frame.y0, x - frame.x0]
    result = paste_into_original(original, mask, frame, square, feather=0.0)
    assert np.abs(result.astype(int) - expected).max() <= 1
    assert np.array_equal(result[~mask], original[~mask])


def test_a_frame_past_the_edge_and_masks_that_miss_it():
    original, square = noise(5, 40, 60), noise(6, 16, 16)
    everything = np.ones((40, 60), bool)
    result = paste_into_original(original, everything, Frame(-10, -10, 30, 30), square, feather=0.1)
    assert np.array_equal(result[20:], original[20:])
    assert np.array_equal(result[:, 20:], original[:, 20:])
    assert not np.array_equal(result[:15, :15], original[:15, :15])
    away = paste_into_original(original, everything, Frame(200, 200, 30, 30), square, feather=0.1)
    assert np.array_equal(away, original)
    with pytest.raises(ValueError, match="photograph is"):
        paste_into_original(original, everything[1:], Frame(0, 0, 30, 30), square, feather=0.1)


def test_masks_go_there_and_back():
    mask = disc(300, (140, 160), 60)[:220]
    frame = choose_frame(mask)
    small = cut_mask(mask, frame, 64)
    back = mask_in_original(small, frame, *mask.shape)
    overlap = (back & mask).sum() / (back | mask).sum()
    assert overlap > 0.97
    assert np.array_equal(cut_mask(back, frame, 64), small)


def test_another_skin_tone_is_taken_off():
    """An offset that goes evenly across the image is known around the mask, and so is it inside."""
    y, x = np.mgrid[:48, :48]
    mask = disc(48, (22, 25), 10)
    source = np.full((48, 48, 3), 150, np.uint8)
    lesion = np.where(disc(48, (22, 25), 11)[..., None], np.array([90, 60, 50]), source)
    tilt = (x - y)[..., None] / 2 + np.array([20, -10, 5])
    matched = match_skin(source, np.round(lesion + tilt).astype(np.uint8), mask, 3)
    assert np.abs(matched.astype(int) - lesion)[mask].max() <= 2
    assert np.array_equal(matched[~mask], np.round(lesion + tilt).astype(np.uint8)[~mask])
    assert np.array_equal(match_skin(source, source + np.uint8(9), np.ones_like(mask), 3), source + np.uint8(9))
