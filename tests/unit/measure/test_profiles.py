"""The sampler against a population whose copula is known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import gamma

from lfvar.errors import ArtefactError, ConfigError, DataError
from lfvar.measure.copula import correlate, make_positive, normal_scores, shrink
from lfvar.measure.profile_check import (
    ProfileCheckConfig,
    check_profiles,
    correlation_error,
    marginal_distances,
    two_sample_auc,
)
from lfvar.measure.profiles import Profiles

NAMES = [f"f{index}" for index in range(8)]


def true_correlation(strength: float = 0.8) -> np.ndarray:
    return strength ** np.abs(np.subtract.outer(np.arange(8), np.arange(8)))


def draw_population(rows: int, seed: int, *, shift: float = 0.0, strength: float = 0.8) -> pd.DataFrame:
    """Gaussian copula; marginals: normal, gamma, uniform, log-normal, a count, a share that is often exactly 0."""
    rng = np.random.default_rng(seed)
    z = rng.multivariate_normal(np.zeros(8), true_correlation(strength), rows)
    table = pd.DataFrame(z + shift, columns=NAMES)
    table["f1"] = gamma(2).ppf(ndtr(z[:, 1])) + shift
    table["f2"] = ndtr(z[:, 2])
    table["f3"] = np.exp(2 * z[:, 3] + shift)
    table["f4"] = np.floor(6 * ndtr(z[:, 4]))
    table["f5"] = np.maximum(ndtr(z[:, 5]) - 0.4, 0)
    return table


@pytest.fixture(scope="module")
def population():
    """Train and held-out rows of a common type and a rare, shifted one; f6 and f7 are missing together in a fifth."""

    def make(common: int, rare: int, seed: int) -> tuple[pd.DataFrame, list[str]]:
        table = pd.concat(
            [draw_population(common, seed), draw_population(rare, seed + 1, shift=1.0)], ignore_index=True
        )
        missing = np.random.default_rng(seed + 2).random(len(table)) < 0.2
        table.loc[missing, ["f6", "f7"]] = np.nan
        return table, ["common"] * common + ["rare"] * rare

    return make(600, 40, 10), make(300, 30, 20)


@pytest.fixture(scope="module")
def profiles(population):
    (table, labels), _ = population
    return Profiles.fit(table, labels, NAMES)


def break_correlations(profiles: Profiles) -> Profiles:
    """The marginals are right and the features independent: what a careless sampler does."""
    return replace(profiles, types=tuple(replace(one, correlation_MM=np.eye(8)) for one in profiles.types))


def test_statistics(profiles, population):
    (table, labels), _ = population
    rows = table[np.array(labels) == "common"]
    profile = profiles.of("common")
    assert profile.count == 600
    np.testing.assert_allclose(profiles.mean("common"), rows.mean())
    np.testing.assert_allclose(profile.covariance_MM, rows.cov())
    np.testing.assert_allclose(profiles.quantile("common", 0.5), rows.median(), atol=1e-9)
    np.testing.assert_allclose(profiles.quantile("common", 0.0), rows.min())
    np.testing.assert_allclose(profiles.quantile("common", 1.0), rows.max())
    assert profiles.labels == ("common", "rare")
    assert profiles.integer == ("f4",)


def test_marginals_are_those_of_the_population(profiles):
    count = 500
    drawn = profiles.sample("common", range(count))
    # What two real samples of the same sizes (600 rows fitted on, 500 drawn; 4000 stand for the population) differ by.
    truth = draw_population(4000, 99)
    floors = [marginal_distances(truth, draw_population(count, 200 + seed)).max() for seed in range(20)]
    fitted = marginal_distances(truth, draw_population(600, 10)).max()
    assert marginal_distances(truth, drawn).max() < fitted + np.quantile(floors, 0.95)


def test_correlations_are_those_of_the_population(profiles):
    drawn = profiles.sample("common", range(2000))
    truth = draw_population(4000, 98)
    assert correlation_error(truth, drawn) < 0.03
    assert correlation_error(truth, break_correlations(profiles).sample("common", range(2000))) > 0.2


def test_the_check_passes_this_sampler_and_fails_a_broken_one(profiles, population):
    (train, train_labels), (held_out, held_out_labels) = population
    config = ProfileCheckConfig(repeats=3, num_trees=20)
    good = check_profiles(profiles, train, train_labels, held_out, held_out_labels, config).set_index("type")
    assert good.index.tolist() == ["common", "rare", "all"]
    assert good["count"].tolist() == [300, 30, 330]
    for kind in ("common", "all"):
        row = good.loc[kind]
        assert row["ks"] < row["ks_floor_highest"] + 0.02
        assert row["correlation_error"] < row["correlation_error_floor_highest"] + 0.02
        assert row["auc"] < 0.6
    broken = check_profiles(
        break_correlations(profiles), train, train_labels, held_out, held_out_labels, replace(config, repeats=1)
    ).set_index("type")
    assert broken.loc["common", "ks"] < good.loc["common", "ks_floor_highest"] + 0.02  # the marginals are right,
    assert broken.loc["common", "correlation_error"] > 4 * good.loc["common", "correlation_error_floor_highest"]
    assert broken.loc["common", "auc"] > 0.75
    with pytest.raises(DataError, match="no held-out row"):
        check_profiles(profiles, train, train_labels, held_out, ["other"] * len(held_out))


def test_the_two_sample_test_knows_chance_and_certainty():
    one, same, other = (draw_population(150, seed, shift=shift) for seed, shift in ((1, 0), (2, 0), (3, 3.0)))
    assert abs(two_sample_auc(one, same, num_trees=50) - 0.5) < 0.1
    assert two_sample_auc(one, other, num_trees=50) > 0.99


def test_draws_respect_missingness_range_and_whole_numbers(profiles, population):
    (train, labels), _ = population
    drawn = profiles.sample("common", range(1000))
    missing = drawn["f7"].isna()
    assert (missing == drawn["f6"].isna()).all()
    expected = train["f7"][np.array(labels) == "common"].isna().mean()
    assert missing.mean() == pytest.approx(expected, abs=0.05)
    assert not drawn[NAMES[:6]].isna().any().any()
    rows = train[np.array(labels) == "common"]
    assert (drawn.min() >= rows.min() - 1e-12).all()
    assert (drawn.max() <= rows.max() + 1e-12).all()
    assert set(drawn["f4"]) == set(range(6))
    assert (drawn["f5"] == 0).mean() == pytest.approx((rows["f5"] == 0).mean(), abs=0.05)


def test_each_draw_owns_its_seed(profiles):
    together = profiles.sample("common", range(20))
    alone = profiles.sample("common", [7])
    pd.testing.assert_frame_equal(together.iloc[[7]].reset_index(drop=True), alone, check_exact=True)
    backwards = profiles.sample("common", range(19, -1, -1)).iloc[::-1].reset_index(drop=True)
    pd.testing.assert_frame_equal(together, backwards, check_exact=True)
    assert not together.duplicated().any()
    assert profiles.sample("rare", []).shape == (0, 8)


def test_stated_features_pull_the_others_along(profiles):
    seeds = range(400)
    free = profiles.sample("common", seeds)
    large = profiles.sample("common", seeds, given={"f0": 2.0})
    assert (large["f0"] == 2.0).all()
    # E[f1's rank | f0 = 2] by the known copula: ρ = 0.8.
    expected = gamma(2).ppf(ndtr(0.8 * 2.0))
    assert large["f1"].median() == pytest.approx(expected, rel=0.15)
    scores = ndtri(np.clip(gamma(2).cdf(large["f1"]), 1e-3, 1 - 1e-3))
    assert scores.std() == pytest.approx(0.6, abs=0.1)  # √(1 − ρ²)
    beyond = profiles.sample("common", seeds, given={"f0": 50.0, "f7": 0.0})
    assert (beyond["f0"] == 50).all()
    assert (beyond["f7"] == 0).all()
    assert beyond["f1"].max() <= free["f1"].max() + 5
    with pytest.raises(ConfigError, match="no measurement 'size'"):
        profiles.sample("common", [0], given={"size": 1.0})


def test_what_is_expected_is_the_middle_of_what_is_drawn(profiles):
    given = {"f0": 1.5}
    expected = profiles.expected("common", given)
    drawn = profiles.sample("common", range(2000), given)
    assert expected["f0"] == 1.5
    for name in ("f1", "f2", "f3", "f6"):
        values = drawn[name].dropna()
        assert (values < expected[name]).mean() == pytest.approx(0.5, abs=0.04), name
    assert expected["f4"] % 1 == 0  # a count
    assert np.isfinite(expected).all()  # a fifth misses f6 and f7
    free = profiles.expected("common")
    assert free["f2"] == pytest.approx(profiles.quantile("common", 0.5)["f2"])
    with pytest.raises(ConfigError, match="no measurement"):
        profiles.expected("common", {"f9": 0.0})


def test_fewer_rows_than_features_still_give_a_usable_profile():
    rng = np.random.default_rng(5)
    loadings = rng.normal(size=(3, 60))

    def make(rows: int, seed: int) -> pd.DataFrame:
        noise = np.random.default_rng(seed)
        values = noise.normal(size=(rows, 3)) @ loadings + noise.normal(size=(rows, 60))
        return pd.DataFrame(values, columns=[f"g{index}" for index in range(60)])

    train = pd.concat([make(500, 1), make(12, 2)], ignore_index=True)
    labels = ["many"] * 500 + ["few"] * 12
    profiles = Profiles.fit(train, labels, list(train.columns))
    few = profiles.of("few")
    assert np.linalg.eigvalsh(few.correlation_MM).min() > 0
    np.testing.assert_allclose(np.diag(few.correlation_MM), 1)
    assert few.shrinkage > 0.5
    # Shrinking to what types have in common beats both the raw correlations and independence.
    truth = make(4000, 3).corr("spearman").to_numpy()

    def error(matrix):
        return np.abs(matrix - truth).mean()

    raw = correlate(normal_scores(train.tail(12).to_numpy()))[0]
    assert error(few.correlation_MM) < 0.6 * min(error(raw), error(np.eye(60)))


def test_types_with_many_rows_keep_their_own_correlations():
    one, other = draw_population(500, 1, strength=0.9), draw_population(500, 2, strength=0.9)
    other["f0"] *= -1
    profiles = Profiles.fit(pd.concat([one, other]), ["one"] * 500 + ["other"] * 500, NAMES)
    assert profiles.of("one").correlation_MM[0, 1] > 0.85
    assert profiles.of("other").correlation_MM[0, 1] < -0.85
    assert profiles.of("one").shrinkage < 0.05


def test_correlations_and_their_variance():
    rng = np.random.default_rng(0)
    samples = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=(400, 100))
    estimates = [correlate(normal_scores(sample)) for sample in samples]
    assert np.mean([r[0, 1] for r, _ in estimates]) == pytest.approx(0.6, abs=0.02)
    assert np.mean([v[0, 1] for _, v in estimates]) == pytest.approx(np.var([r[0, 1] for r, _ in estimates]), rel=0.3)
    identity, intensity = shrink(np.eye(3), np.zeros((3, 3)), np.eye(3))
    assert intensity == 1
    np.testing.assert_array_equal(identity, np.eye(3))
    impossible = np.array([[1, 0.9, -0.9], [0.9, 1, 0.9], [-0.9, 0.9, 1.0]])
    mended = make_positive(impossible)
    assert np.linalg.eigvalsh(mended).min() > 0
    np.testing.assert_allclose(np.diag(mended), 1)


def test_constant_and_absent_features():
    table = draw_population(50, 0)
    table["f0"] = 3.0
    table["f7"] = np.nan
    profiles = Profiles.fit(table, ["a"] * 50, NAMES, classes=["b", "a"])
    assert profiles.labels == ("a",)
    drawn = profiles.sample("a", range(10))
    assert (drawn["f0"] == 3).all()
    assert drawn["f7"].isna().all()
    assert not drawn[NAMES[1:7]].isna().any().any()
    assert profiles.sample("a", [1], given={"f7": 2.0})["f7"].tolist() == [2.0]
    with pytest.raises(ArtefactError, match="no row has a measurement"):
        Profiles.fit(table * np.nan, ["a"] * 50, NAMES)
    with pytest.raises(ConfigError, match="no profile of type 'b'"):
        profiles.sample("b", [0])


def test_a_single_row_is_a_profile_of_itself():
    table = draw_population(1, 0)
    drawn = Profiles.fit(table, ["a"], NAMES).sample("a", range(3))
    np.testing.assert_allclose(drawn, np.repeat(table.to_numpy(), 3, axis=0))


def test_written_and_read(profiles, tmp_path):
    profiles = replace(profiles, made_from={"manifest": "abc"})
    path = tmp_path / "profiles.parquet"
    profiles.write(path)
    again = Profiles.read(path)
    assert (again.names, again.integer, again.labels) == (profiles.names, profiles.integer, profiles.labels)
    assert again.made_from == {"manifest": "abc"}
    pd.testing.assert_frame_equal(again.sample("rare", range(5)), profiles.sample("rare", range(5)), check_exact=True)
    first = path.read_bytes()
    again.write(path)
    assert path.read_bytes() == first
    path.write_bytes(first[:-20])
    with pytest.raises(ArtefactError, match="damaged"):
        Profiles.read(path)
    with pytest.raises(ArtefactError, match="missing"):
        Profiles.read(tmp_path / "none.parquet")


def test_the_typical_value_of_a_heavy_tail_is_not_its_outlier():
    name = "texture_ngtdm_coarseness"
    values = np.full(400, 0.01)
    values[0] = 1e6
    table = pd.DataFrame({name: values, "clinical_colour_lightness": np.linspace(30, 70, 400)})
    fitted = Profiles.fit(table, ["nv"] * 400, list(table))
    assert fitted.mean("nv")[name] > 1000
    assert fitted.typical("nv")[name] == pytest.approx(0.01, rel=0.1)
    assert fitted.typical("nv")["clinical_colour_lightness"] == pytest.approx(50, abs=0.1)
