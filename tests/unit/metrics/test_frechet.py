import numpy as np
import pytest
import scipy.linalg

from lfvar.metrics.frechet import compare, feature_distance, frechet_distance, half_splits


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def random_covariance(generator, dimensions, rank):
    factor = generator.standard_normal((dimensions, rank))
    return factor @ factor.T / rank


def test_one_dimension_by_hand():
    # d² = (μ_a − μ_b)² + (σ_a − σ_b)²
    found = frechet_distance(np.array([1.0]), np.array([[4.0]]), np.array([3.0]), np.array([[25.0]]))
    assert found == pytest.approx(4 + 9)


def test_commuting_covariances_by_hand(generator):
    rotation = np.linalg.qr(generator.standard_normal((5, 5)))[0]
    a, b = generator.random(5), generator.random(5)
    mean_a, mean_b = generator.standard_normal((2, 5))
    expected = ((mean_a - mean_b) ** 2).sum() + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    found = frechet_distance(mean_a, rotation * a @ rotation.T, mean_b, rotation * b @ rotation.T)
    assert found == pytest.approx(expected)


def test_equals_the_general_matrix_root(generator):
    a, b = random_covariance(generator, 6, 9), random_covariance(generator, 6, 9)
    zero = np.zeros(6)
    expected = np.trace(a) + np.trace(b) - 2 * np.trace(scipy.linalg.sqrtm(a @ b)).real
    assert frechet_distance(zero, a, zero, b) == pytest.approx(expected)
    assert frechet_distance(zero, b, zero, a) == pytest.approx(expected)


def test_rank_deficient_covariances(generator):
    cov = random_covariance(generator, 200, 5)
    zero = np.zeros(200)
    assert frechet_distance(zero, cov, zero, cov) == pytest.approx(0, abs=1e-9 * np.trace(cov))
    apart = np.diag([1.0, 0, 0, 4.0]), np.diag([0, 9.0, 0, 0])  # no direction in common: the traces add up
    assert frechet_distance(np.zeros(4), apart[0], np.zeros(4), apart[1]) == pytest.approx(14)


@pytest.mark.parametrize(("n", "m", "d"), [(50, 40, 8), (9, 30, 20), (6, 7, 300), (2, 2, 3), (8, 8, 8)])
def test_features_by_both_ways(generator, n, m, d):
    a, b = generator.standard_normal((n, d)), 1 + 2 * generator.standard_normal((m, d))
    expected = frechet_distance(a.mean(0), np.atleast_2d(np.cov(a.T)), b.mean(0), np.atleast_2d(np.cov(b.T)))
    assert feature_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert feature_distance(a, a) == pytest.approx(0, abs=1e-9 * a.size)


def test_a_shift_costs_its_square(generator):
    a = generator.standard_normal((40, 6))
    assert feature_distance(a, a + 3) == pytest.approx(6 * 9)


def test_what_has_no_distance(generator):
    a = generator.standard_normal((10, 4))
    with pytest.raises(ValueError, match="at least 2"):
        feature_distance(a[:1], a)
    with pytest.raises(ValueError, match="are"):
        feature_distance(a, a[:, :2])
    assert np.isnan(feature_distance(np.where(a > 1, np.nan, a), a))


def test_halves_are_disjoint_and_repeatable():
    splits = half_splits(11, 5, seed=3)
    assert len(splits) == 5
    for a, b in splits:
        assert len(a) == len(b) == 5
        assert not set(a) & set(b)
    again = half_splits(11, 5, seed=3)
    assert all(np.array_equal(one[0], other[0]) for one, other in zip(splits, again, strict=True))
    assert not np.array_equal(half_splits(11, 1, seed=4)[0][0], splits[0][0])
    assert half_splits(3, 5, seed=0) == []


def test_a_perfect_copy_is_at_the_floor_and_a_bad_one_above(generator):
    real = generator.standard_normal((60, 10))
    found = compare(real, {"copy": real, "shifted": real + 1, "collapsed": np.repeat(real[:1], 60, 0)})
    assert (found.count, found.half_count, found.num_splits, found.dimensions) == (60, 30, 10, 10)
    assert found.floor.mean > 0.5  # two halves of the same images are not the same
    assert found.variants["copy"].same_images == pytest.approx(0, abs=1e-9)
    assert found.variants["copy"].across_halves.mean == pytest.approx(found.floor.mean)
    assert found.variants["shifted"].across_halves.mean > found.floor.mean + 8
    assert found.variants["collapsed"].across_halves.mean > found.floor.mean + 2


def test_too_few_images_have_no_floor(generator):
    real = generator.standard_normal((3, 4))
    found = compare(real, {"copy": real})
    assert found.half_count == found.num_splits == 0
    assert np.isnan(found.floor.mean)
    assert found.variants["copy"].same_images == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="features of 'copy'"):
        compare(real, {"copy": real[:2]})
