"""Distances between sets against closed forms, naive twins and torchmetrics."""

import numpy as np
import pytest
import torch

from lfvar.metrics.frechet import feature_distance
from lfvar.metrics.frechet_replicates import frechet_replicates
from lfvar.metrics.intervals import draw_weights, interval_around, mean_interval, share_interval
from lfvar.metrics.kernel_distance import kernel_distance, subset_kernel_distances, weighted_kernel_distances
from lfvar.metrics.neighbours import distance_blocks, kth_distances, nearest
from lfvar.metrics.set_scores import METRICS, ScoreSettings, score_sets
from lfvar.metrics.support import support_values


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def by_metric(scores):
    return {score.metric: score for score in scores}


def test_distances_in_blocks(generator):
    a, b = generator.standard_normal((23, 5)) + 100, generator.standard_normal((11, 5)) + 100
    naive = np.linalg.norm(a[:, None] - b[None], axis=2)
    found = np.concatenate([block for _, block in distance_blocks(a, b, block=7)])
    assert np.allclose(found, naive, atol=1e-6)
    index, distance = nearest(a, b)
    assert np.array_equal(index, naive.argmin(axis=1))
    assert np.allclose(distance, naive.min(axis=1), atol=1e-6)
    own = np.linalg.norm(b[:, None] - b[None], axis=2)
    assert np.allclose(kth_distances(b, 3), np.sort(own, axis=1)[:, 3], atol=1e-6)
    with pytest.raises(ValueError, match="does not exist"):
        kth_distances(b, 11)
    with pytest.raises(ValueError, match="nothing"):
        nearest(a, b[:0])


def test_support_by_hand():
    # Real at 0, 1, 2 and 10: with k = 1 the balls reach 1, 1, 1 and 8.
    real = np.array([[0.0], [1.0], [2.0], [10.0]])
    generated = np.array([[0.5], [2.5], [30.0]])  # balls reach 2, 2 and 27.5
    parts = support_values(generated, real, k=1)
    assert parts["precision"].tolist() == [1, 1, 0]
    assert parts["density"].tolist() == [2, 2, 0]  # 0.5 lies in two small balls, 2.5 in one small and the large one
    assert parts["recall"].tolist() == [1, 1, 1, 1]
    assert parts["coverage"].tolist() == [1, 1, 1, 1]
    apart = support_values(generated + 1000, real, k=1)
    assert {name: values.sum() for name, values in apart.items()} == dict.fromkeys(parts, 0)


def test_an_outlier_fools_precision_and_not_coverage(generator):
    real = np.vstack([generator.standard_normal((60, 2)), [[1000.0, 0.0]]])
    generated = generator.standard_normal((60, 2)) + np.array([500.0, 0.0])
    parts = support_values(generated, real, k=5)
    assert parts["precision"].mean() == 1
    assert parts["coverage"].mean() < 0.05
    assert parts["density"].mean() == pytest.approx(0.2)


def test_kernel_distance_by_pairs(generator):
    a, b = generator.standard_normal((6, 3)), generator.standard_normal((9, 3)) + 0.5

    def mean_kernel(x, y, *, same):
        pairs = [(i, j) for i in range(len(x)) for j in range(len(y)) if not (same and i == j)]
        return np.mean([(x[i] @ y[j] / 3 + 1) ** 3 for i, j in pairs])

    expected = mean_kernel(a, a, same=True) + mean_kernel(b, b, same=True) - 2 * mean_kernel(a, b, same=False)
    assert kernel_distance(a, b) == pytest.approx(expected)
    weights = np.array([[1, 0, 1, 1, 0, 1]]), np.array([[0, 1, 1, 1, 0, 1, 0, 0, 1]])
    part = weighted_kernel_distances(a, b, *(w.astype(float) for w in weights))
    assert part[0] == pytest.approx(kernel_distance(a[[0, 2, 3, 5]], b[[1, 2, 3, 5, 8]]))
    with pytest.raises(ValueError, match="2 samples"):
        kernel_distance(a[:1], b)


def test_kernel_distance_equals_torchmetrics(generator):
    from torchmetrics.image.kid import KernelInceptionDistance

    a, b = generator.standard_normal((40, 3, 2, 2)), generator.standard_normal((40, 3, 2, 2)) * 1.5

    class Flat(torch.nn.Module):
        num_features = 12

        def forward(self, image):
            return image.flatten(1)

    metric = KernelInceptionDistance(Flat(), subsets=1, subset_size=40, normalize=True)
    metric.real_features, metric.fake_features = ([torch.from_numpy(x.reshape(40, 12))] for x in (a, b))
    expected, _ = metric.compute()
    a, b = a.reshape(40, 12), b.reshape(40, 12)
    assert kernel_distance(a, b) == pytest.approx(expected.item(), rel=1e-6)
    subsets = subset_kernel_distances(a, b, num_subsets=300, subset_size=20)
    assert subsets.mean() == pytest.approx(expected.item(), abs=4 * subsets.std() / np.sqrt(300))
    with pytest.raises(ValueError, match="subsets of 41"):
        subset_kernel_distances(a, b, num_subsets=1, subset_size=41)


def test_kernel_distance_does_not_depend_on_counts(generator):
    draws = [
        kernel_distance(generator.standard_normal((n, 4)), generator.standard_normal((m, 4)))
        for n, m in [(8, 50)] * 200
    ]
    assert abs(np.mean(draws)) < 4 * np.std(draws) / np.sqrt(200)
    assert np.min(draws) < 0


@pytest.mark.parametrize(("n", "m", "d"), [(30, 25, 4), (12, 20, 60)])
def test_replicates_are_distances_of_resampled_sets(generator, n, m, d):
    a, b = generator.standard_normal((n, d)), generator.standard_normal((m, d)) + 1
    found = frechet_replicates(a, b, 5, seed=3)
    weights = draw_weights(n, 5, 3).astype(int), draw_weights(m, 5, 4).astype(int)
    expected = [feature_distance(np.repeat(a, w, 0), np.repeat(b, v, 0)) for w, v in zip(*weights, strict=True)]
    assert found == pytest.approx(expected, rel=1e-4)


def test_intervals(generator):
    low, high = mean_interval(generator.standard_normal(400) + 3, 2000, seed=0)
    assert (high - low) / 2 == pytest.approx(1.96 / 20, rel=0.15)
    assert low < 3 < high
    # The interval of a biased replicate stands around the value, not around the bias.
    assert interval_around(2.0, np.linspace(9, 11, 1001)) == pytest.approx((1.05, 2.95))
    assert interval_around(0.5, np.linspace(9, 11, 1001), (0, 1)) == pytest.approx((0, 1))
    assert np.isnan(mean_interval(np.ones(1), 100, 0).low)
    assert share_interval(0, 10) == pytest.approx((0, 0.2775), abs=1e-3)  # Wilson's table
    assert share_interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-3)


def test_samples_of_one_distribution_are_at_the_floor(generator):
    real, generated = generator.standard_normal((2, 240, 6))
    scores = by_metric(score_sets(generated, real, ScoreSettings(num_bootstrap=20)))
    assert tuple(scores) == METRICS
    for name, score in scores.items():
        assert score.num_matched == 120, name
        assert abs(score.matched.mean - score.floor.mean) < 4 * score.floor.std + 0.02, name
        assert score.interval.low <= score.value <= score.interval.high, name
        assert score.warning == "", name
    assert scores["fd"].value == pytest.approx(feature_distance(generated, real))
    assert scores["density"].value == pytest.approx(1, abs=0.2)


def test_what_is_wrong_shows_where_it_should(generator):
    real, generated = generator.standard_normal((2, 200, 4))
    settings = ScoreSettings(num_bootstrap=0)
    shifted = by_metric(score_sets(generated + 1.5, real, settings))
    assert shifted["fd"].matched.mean > 4 * shifted["fd"].floor.mean
    assert shifted["kid"].matched.mean > shifted["kid"].floor.mean + 5 * shifted["kid"].floor.std
    narrow = by_metric(score_sets(generated * 0.2, real, settings))
    assert narrow["precision"].matched.mean > 0.95
    assert narrow["recall"].matched.mean < 0.5 * narrow["recall"].floor.mean
    assert narrow["coverage"].matched.mean < 0.6 * narrow["coverage"].floor.mean
    wide = by_metric(score_sets(generated * 4, real, settings))
    assert wide["precision"].matched.mean < 0.5 * wide["precision"].floor.mean
    assert wide["recall"].matched.mean > 0.9


def test_sizes_may_differ(generator):
    real = generator.standard_normal((50, 3))
    few = by_metric(score_sets(generator.standard_normal((12, 3)), real, ScoreSettings(num_bootstrap=5)))
    assert few["fd"].num_matched == 12
    assert few["fd"].warning == "12 images"
    many = by_metric(score_sets(generator.standard_normal((500, 3)), real, ScoreSettings(num_bootstrap=5)))
    assert many["kid"].num_matched == 25
    assert many["kid"].warning == ""


@pytest.mark.parametrize(
    ("counts", "warning", "defined"),
    [
        ((0, 20), "no generated images", ()),
        ((20, 0), "no real images", ()),
        ((1, 20), "one image has no distance", ()),
        ((2, 2), "2 images", ("fd", "kid")),
        ((5, 20), "5 images", ("fd", "kid")),
        ((6, 20), "6 images", METRICS),
    ],
)
def test_too_few_images_have_an_outcome(generator, counts, warning, defined):
    a, b = (generator.standard_normal((n, 1)) for n in counts)
    scores = by_metric(score_sets(a, b, ScoreSettings(num_bootstrap=10)))
    assert tuple(name for name, score in scores.items() if np.isfinite(score.value)) == defined
    assert scores["kid"].warning == warning
    assert all(np.isnan(score.matched.mean) for score in scores.values()) == (min(counts[0], counts[1] // 2) < 2)


def test_a_refusal_and_rank_are_said(generator):
    a, b = generator.standard_normal((2, 60, 100))
    scores = by_metric(score_sets(a, b, ScoreSettings(num_bootstrap=5)))
    assert scores["fd"].warning == "60 images for 100 dimensions"
    refused = by_metric(score_sets(a, b, ScoreSettings(num_bootstrap=5), refused="refused: too few"))
    assert np.isnan(refused["fd"].value)
    assert np.isnan(refused["fd"].floor.mean)
    assert refused["fd"].warning == "refused: too few"
    assert refused["kid"].value == scores["kid"].value
    with pytest.raises(ValueError, match="features are"):
        score_sets(a, b[:, :5])


def test_the_same_call_gives_the_same_numbers(generator):
    a, b = generator.standard_normal((2, 40, 3))
    settings = ScoreSettings(num_bootstrap=10, seed=3)
    assert score_sets(a, b, settings) == score_sets(a, b, settings)
    other = ScoreSettings(num_bootstrap=10, seed=4)
    assert score_sets(a, b, settings)[0].floor != score_sets(a, b, other)[0].floor


@pytest.mark.parametrize("change", [{"num_splits": 0}, {"num_bootstrap": -1}, {"neighbours": 0}, {"seed": -1}])
def test_a_wrong_score_setting_is_named(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        ScoreSettings(**change)
