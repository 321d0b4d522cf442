import numpy as np
import pytest

from generated_folders import draw
from lfvar.measure.symmetry import SYMMETRIES, move_image
from lfvar.metrics.memorisation import (
    PIXEL_SIDE,
    closest_pairs,
    compare_distances,
    nearest_by_features,
    nearest_inside_mask,
    shrink,
)


def drawn(count, seed, size=32):
    images, masks = zip(*(draw("nv", seed + i, size) for i in range(count)), strict=True)
    return np.stack(images).astype(float), np.stack(masks)


def test_distance_inside_the_mask_by_hand():
    images, masks = drawn(5, 0, 12)
    train, _ = drawn(7, 50, 12)
    found = nearest_inside_mask(images, masks, train)
    for n in range(5):
        by_hand = [
            [np.sqrt(((images[n] - move_image(t, *s))[masks[n]] ** 2).mean()) for s in SYMMETRIES] for t in train
        ]
        best = np.min(by_hand, axis=1)
        assert found.distance_N[n] == pytest.approx(best.min(), rel=1e-3)
        assert found.index_N[n] == best.argmin()


def test_a_turned_copy_in_other_skin_is_found():
    train, masks = drawn(20, 0)
    turned = move_image(train[7], 3, True).copy()
    mask = move_image(masks[7], 3, True)
    turned[~mask] = 0
    found = nearest_inside_mask(turned[None], mask[None], train)
    assert found.index_N[0] == 7
    assert found.distance_N[0] < 0.5
    nothing = nearest_inside_mask(turned[None], np.zeros_like(mask)[None], train)
    assert np.isinf(nothing.distance_N[0])
    with pytest.raises(ValueError, match="no training images"):
        nearest_inside_mask(turned[None], mask[None], train[:0])


def test_copies_are_caught_and_new_images_are_not():
    train, _ = drawn(60, 0)
    held_out, held_out_masks = drawn(80, 1000)
    fresh, fresh_masks = drawn(80, 2000)
    unseen = nearest_inside_mask(held_out, held_out_masks, train)
    honest = compare_distances("pixels", nearest_inside_mask(fresh, fresh_masks, train), unseen)
    assert not honest.suspicious
    assert honest.nearer == pytest.approx(0.5, abs=0.15)
    copied, copied_masks = fresh.copy(), fresh_masks.copy()
    for i in range(8):
        copied[i], copied_masks[i] = draw("nv", i)[0] + 1.0, draw("nv", i)[1]
    caught = compare_distances("pixels", nearest_inside_mask(copied, copied_masks, train), unseen)
    assert caught.suspicious
    assert caught.num_near >= 8
    assert {i for i, _, _ in closest_pairs(caught.generated, 8)} == set(range(8))
    assert all(i == j for i, j, _ in closest_pairs(caught.generated, 8))


def test_features_and_ranks_by_hand():
    train = np.array([[0.0], [10.0]])
    generated, held_out = (
        nearest_by_features(np.array([[1.0], [9.0], [5.0]]), train),
        nearest_by_features(np.array([[2.0], [13.0], [5.0]]), train),
    )
    assert generated.distance_N.tolist() == [1, 1, 5]
    found = compare_distances("toy", generated, held_out)
    # held-out distances 2, 3, 5: the two ones are nearer than all three, the five ties with one of three
    assert found.nearer == pytest.approx((3 + 3 + 0.5) / 9)
    assert (found.threshold, found.num_near) == (2, 2)
    # Two of three generated before the first of three held-out: the first two of six are both generated.
    assert found.p_value == pytest.approx(3 / 6 * 2 / 5)
    assert found.expected == pytest.approx(1 / 4)
    infinite = nearest_by_features(np.array([[np.inf]]), train)
    with pytest.raises(ValueError, match="a distance each"):
        compare_distances("toy", infinite, held_out)


def test_shrinking():
    images, masks = drawn(2, 0, 64)
    small, small_masks = shrink(images.astype(np.uint8), masks)
    assert small.shape == (2, PIXEL_SIDE, PIXEL_SIDE, 3)
    assert small_masks.mean() == pytest.approx(masks.mean(), abs=0.02)
    assert small.mean() == pytest.approx(images.mean(), abs=0.6)
    same, _ = shrink(images[:, :8, :8].astype(np.uint8), masks[:, :8, :8])
    assert np.array_equal(same, images[:, :8, :8])


def test_the_chance_is_exact():
    rng = np.random.default_rng(0)
    train = np.zeros((1, 1))
    near = []
    for _ in range(3000):
        a, b = rng.random((30, 1)), rng.random((150, 1))
        near.append(compare_distances("toy", nearest_by_features(a, train), nearest_by_features(b, train)))
    for limit in (0.01, 0.05, 0.2):
        assert np.mean([found.p_value < limit for found in near]) <= limit + 2 * np.sqrt(limit / 3000)
    assert np.mean([found.share_near for found in near]) == pytest.approx(near[0].expected, rel=0.15)
