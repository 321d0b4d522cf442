import numpy as np
import pandas as pd
import pytest

from lfvar.errors import ConfigError
from lfvar.measure.collinearity import CollinearityConfig, find_collinear


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    base, other = rng.normal(size=(2, 300))
    return pd.DataFrame(
        {
            "a": base,
            "a_exp": np.exp(3 * base),  # the same ranks, another shape
            "a_neg": -base + 0.01 * rng.normal(size=300),
            "b": other,
            "ab": base + other,
            "constant": 1.0,
            "missing": np.nan,
        }
    )


def test_each_dropped_feature_has_a_kept_one_that_stands_for_it(table):
    report = find_collinear(table, list(table.columns))
    assert report.kept == ("a", "b", "ab")
    assert report.stands_for == {"a_exp": "a", "a_neg": "a"}
    assert report.constant == ("constant", "missing")
    assert report.correlation("a", "a_exp") == pytest.approx(1)
    assert report.correlation("a", "a_neg") < -0.95
    assert np.isnan(report.correlation("a", "constant"))
    frame = report.to_frame()
    assert frame["dropped"].tolist() == ["a_exp", "a_neg", "constant", "missing"]
    assert [pair[:2] for pair in report.pairs()] == [("a", "a_exp"), ("a", "a_neg"), ("a_exp", "a_neg")]


def test_pearson_sees_shape(table):
    report = find_collinear(table, ["a", "a_exp", "a_neg"], CollinearityConfig(method="pearson"))
    assert report.kept == ("a", "a_exp")


def test_the_order_of_names_states_preferences_and_that_of_rows_nothing(table):
    names = ["ab", "a_neg", "b", "a_exp", "a"]
    report = find_collinear(table, names)
    assert report.kept == ("ab", "a_neg", "b")
    assert report.stands_for == {"a_exp": "a_neg", "a": "a_neg"}
    shuffled = find_collinear(table.sample(frac=1, random_state=1), names)
    assert (shuffled.kept, shuffled.stands_for) == (report.kept, report.stands_for)


def test_a_chain_is_not_dropped_by_what_was_dropped_itself():
    # x ~ y and y ~ z, but x and z are below the threshold: y goes, z stays (a pass over the triangle drops both).
    rng = np.random.default_rng(1)
    y = rng.normal(size=2000)
    x, z = y + 0.3 * rng.normal(size=(2, 2000))
    table = pd.DataFrame({"x": x, "y": y, "z": z})
    report = find_collinear(table, ["x", "y", "z"], CollinearityConfig(threshold=0.93))
    assert abs(report.correlation("y", "z")) > 0.93 > abs(report.correlation("x", "z"))
    assert report.kept == ("x", "z")
    assert report.stands_for == {"y": "x"}


def test_kept_features_are_below_the_threshold_and_dropped_ones_above():
    rng = np.random.default_rng(2)
    mixing = rng.normal(size=(6, 40))
    table = pd.DataFrame(rng.normal(size=(200, 6)) @ mixing + 0.1 * rng.normal(size=(200, 40)))
    table.columns = [f"f{index}" for index in range(40)]
    table.iloc[::7, 3] = np.nan
    report = find_collinear(table, list(table.columns), CollinearityConfig(threshold=0.8))
    assert 0 < len(report.stands_for) < 40
    for i, one in enumerate(report.kept):
        assert all(abs(report.correlation(one, other)) <= 0.8 for other in report.kept[:i])
    assert all(abs(report.correlation(*pair)) > 0.8 for pair in report.stands_for.items())
    assert set(report.stands_for.values()) <= set(report.kept)


def test_settings():
    for wrong in ({"method": "kendall"}, {"threshold": 1.0}):
        with pytest.raises(ConfigError):
            CollinearityConfig(**wrong)
