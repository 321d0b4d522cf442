import numpy as np
import pytest

from lfvar.sampling.skin import cover_with_skin


def skin(height=64, width=64, seed=0):
    """Pink, lighter to the right, with grain of σ 6."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 20, width)[None, :, None]
    return np.clip(np.array([200, 150, 140]) + ramp + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)


def disc(height=64, width=64, y=32, x=32, radius=12):
    rows, columns = np.indices((height, width))
    return np.hypot(rows - y, columns - x) < radius


def test_a_lesion_becomes_skin_with_the_grain_and_tone_of_what_is_near():
    hole, bare = disc(), skin()
    image = np.where(hole[..., None], np.uint8([60, 30, 20]), bare)
    covered = cover_with_skin(image, hole)
    assert np.array_equal(covered[~hole], image[~hole])
    inner = disc(radius=9)
    assert np.abs(covered[inner].mean(0) - bare[inner].mean(0)).max() < 3
    assert 0.7 < covered[inner].std(0).mean() / bare[inner].std(0).mean() < 1.3  # a membrane alone has 0.3
    right, left = inner & (np.indices(inner.shape)[1] > 32), inner & (np.indices(inner.shape)[1] < 32)
    assert covered[right].mean() > covered[left].mean() + 1  # the light goes on


def test_texture_comes_from_skin_alone():
    """Half of the image is another, striped lesion: its stripes are not moved."""
    hole, bare = disc(x=44, radius=8), skin()
    image = bare.copy()
    image[:, :24] = np.where(np.arange(64) % 2 == 0, 255, 0)[:, None, None]
    image[hole] = 10
    covered = cover_with_skin(image, hole | (np.indices(hole.shape)[1] < 24))
    assert covered[hole].std(0).mean() < 12


@pytest.mark.parametrize("shape", [(48, 64), (90, 61), (300, 200)])
def test_any_shape_and_only_the_hole(shape):
    hole = disc(*shape, y=20, x=25, radius=10)
    image = skin(*shape)
    covered = cover_with_skin(image, hole)
    changed = (covered != image).any(axis=-1)
    assert not changed[~hole].any()
    assert changed[hole].mean() > 0.5


def test_without_skin_it_is_flat_and_without_a_hole_it_is_the_image():
    image = skin()
    flat = cover_with_skin(image, np.ones((64, 64), bool))
    assert flat.std(axis=(0, 1)).max() < 1
    assert np.array_equal(cover_with_skin(image, np.zeros((64, 64), bool)), image)


def test_what_is_far_away_is_not_looked_at():
    near, hole = skin(200, 300), disc(200, 300, y=40, x=40, radius=8)
    far = near.copy()
    far[:, 150:] = 0
    assert np.array_equal(cover_with_skin(near, hole)[:, :150], cover_with_skin(far, hole)[:, :150])
