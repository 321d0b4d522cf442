import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from lfvar.errors import ArtefactError, ConfigError
from lfvar.measure.schema import FEATURE_NAMES, SCHEMA, Feature
from lfvar.measure.standardise import Standardiser, StandardiserConfig

PLAIN = Feature("clinical_plain", "clinical", "1", (None, None), "none", None, "")
HEAVY = Feature("clinical_heavy", "clinical", "px²", (0.0, None), "log", None, "")
COUNT = Feature("clinical_count", "clinical", "1", (0.0, 6.0), "none", None, "")
SHARE = Feature("clinical_share", "clinical", "1", (0.0, 1.0), "none", None, "")
FEATURES = (PLAIN, HEAVY, COUNT, SHARE)


def make_table(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "image_id": [f"im{index}" for index in range(rows)],
            "clinical_plain": rng.normal(-30.0, 5.0, rows),
            "clinical_heavy": np.exp(rng.normal(8.0, 1.5, rows)),
            "clinical_count": rng.integers(1, 6, rows).astype(float),
            "clinical_share": rng.beta(1, 9, rows),
            "reason": None,
        }
    )


@pytest.mark.parametrize("method", ["zscore", "quantile"])
def test_one_scale_for_all(method):
    table = make_table()
    standardiser = Standardiser.fit(table, FEATURES, StandardiserConfig(method=method))
    values, present = standardiser.transform(table)
    assert values.dtype == np.float32
    assert present.dtype == np.bool_
    assert present.all()
    assert np.abs(values.mean(axis=0)).max() < 0.1
    assert np.abs(values.std(axis=0) - 1).max() < 0.15  # ties of the count make it narrower
    # The heavy tail is gone: skewness of a log-normal with σ=1.5 is 33.
    assert abs(np.mean(values[:, 1] ** 3)) < 0.5


@pytest.mark.parametrize("method", ["zscore", "quantile"])
def test_there_and_back(method):
    table = make_table()
    standardiser = Standardiser.fit(table, FEATURES, StandardiserConfig(method=method, num_quantiles=400))
    table.loc[3, "clinical_heavy"] = np.nan
    values, present = standardiser.transform(table)
    assert not present[3, 1]
    assert values[3, 1] == 0
    back = standardiser.inverse(values, present)
    assert np.isnan(back.loc[3, "clinical_heavy"])
    inside = np.abs(values) < 3.9
    for index, feature in enumerate(FEATURES):
        rows = inside[:, index] & present[:, index]
        np.testing.assert_allclose(back[feature.name][rows], table[feature.name][rows], rtol=2e-4, atol=2e-4)


def test_quantile_keeps_ties_of_a_discrete_feature():
    table = make_table()
    standardiser = Standardiser.fit(table, [COUNT], StandardiserConfig(method="quantile"))
    values, _ = standardiser.transform(table)
    assert len(np.unique(values)) == 5
    np.testing.assert_allclose(standardiser.inverse(values)["clinical_count"], table["clinical_count"], atol=1e-3)


@pytest.mark.parametrize("method", ["zscore", "quantile"])
def test_clipped_and_within_the_possible_range(method):
    train = make_table()
    standardiser = Standardiser.fit(train, FEATURES, StandardiserConfig(method=method))
    wild = make_table(2, seed=1)
    wild.loc[0, ["clinical_plain", "clinical_heavy", "clinical_share"]] = [1e9, 0.0, 1.0]
    wild.loc[1, "clinical_plain"] = -np.inf
    values, present = standardiser.transform(wild)
    assert np.abs(values).max() <= 4
    assert (values[0, [0, 1]] == [4, -4]).all() or method == "quantile"
    assert not present[1, 0]
    extremes = standardiser.inverse(np.array([[4.0] * 4, [-4.0] * 4]))
    assert extremes["clinical_share"].between(0, 1).all()
    assert extremes["clinical_count"].between(0, 6).all()
    assert (extremes["clinical_heavy"] >= 0).all()


def test_a_degenerate_lesion_does_not_set_the_scale():
    table = make_table()
    clean = Standardiser.fit(table, [HEAVY]).features[0]
    table.loc[0, "clinical_heavy"] = 0.0  # its logarithm is the floor's, 30 standard deviations off
    spoilt = Standardiser.fit(table, [HEAVY]).features[0]
    assert spoilt.scale == pytest.approx(clean.scale, rel=0.02)
    assert spoilt.count == 400


@pytest.mark.parametrize("method", ["zscore", "quantile"])
def test_constant_and_missing_features_are_defined(method):
    table = make_table()
    table["clinical_plain"] = 7.3
    table["clinical_heavy"] = np.nan
    table.loc[:, "clinical_share"] = [0.0] * 395 + [0.5] * 5  # nearly constant: not the same as constant
    standardiser = Standardiser.fit(table, FEATURES, StandardiserConfig(method=method))
    values, present = standardiser.transform(table)
    assert (values[:, 0] == 0).all()
    assert present[:, 0].all()
    assert not present[:, 1].any()
    assert np.isfinite(values).all()
    assert values[-1, 3] > values[0, 3]
    # Another value of a feature that was constant in training says nothing, and does not explode.
    other = make_table(3, seed=2)
    values, present = standardiser.transform(other)
    assert (values[:, 0] == 0).all()
    assert not present[:, 1].any()
    back = standardiser.inverse(values)
    assert (back["clinical_plain"] == 7.3).all()
    assert back["clinical_heavy"].isna().all()


@pytest.mark.parametrize("method", ["zscore", "quantile"])
def test_plain_data_in_and_out(method, tmp_path):
    table = make_table()
    standardiser = Standardiser.fit(table, FEATURES, StandardiserConfig(method=method))
    again = Standardiser.from_dict(json.loads(json.dumps(standardiser.to_dict())))
    assert again == standardiser
    torch.save({"standardiser": standardiser.to_dict()}, tmp_path / "a.ckpt")
    loaded = torch.load(tmp_path / "a.ckpt", weights_only=True)["standardiser"]
    np.testing.assert_array_equal(
        Standardiser.from_dict(loaded).transform(table)[0], standardiser.transform(table)[0], strict=True
    )


def test_scales_come_from_the_rows_given_alone():
    train, other = make_table(), make_table(50, seed=9)
    other["clinical_plain"] += 100
    standardiser = Standardiser.fit(train, FEATURES)
    # Rows of other splits are on the scale of training, whatever comes with them.
    alone, _ = standardiser.transform(other)
    together, _ = standardiser.transform(pd.concat([train, other]))
    np.testing.assert_array_equal(alone, together[-50:])
    assert (alone[:, 0] == 4).all()


def test_mismatches_are_errors():
    table = make_table()
    standardiser = Standardiser.fit(table, FEATURES)
    with pytest.raises(ArtefactError, match="lacks 1 of 4 features: clinical_count"):
        standardiser.transform(table.drop(columns="clinical_count"))
    with pytest.raises(ArtefactError, match="lacks 1 of 4 features"):
        Standardiser.fit(table.drop(columns="clinical_count"), FEATURES)
    standardiser.require_names([feature.name for feature in FEATURES])
    with pytest.raises(ArtefactError, match="another order"):
        standardiser.require_names([feature.name for feature in reversed(FEATURES)])
    with pytest.raises(ArtefactError, match=r"lacks clinical_new; it has clinical_share besides"):
        standardiser.require_names(["clinical_plain", "clinical_heavy", "clinical_count", "clinical_new"])
    with pytest.raises(ArtefactError, match="format 99"):
        Standardiser.from_dict({**standardiser.to_dict(), "format_version": 99})
    with pytest.raises(ArtefactError, match="damaged"):
        Standardiser.from_dict({"format_version": 1, "config": {}})
    with pytest.raises(ArtefactError, match="none of 400 training rows"):
        Standardiser.fit(table.assign(clinical_plain=np.nan), [PLAIN])
    with pytest.raises(ValueError, match=r"\(N, 4\)"):
        standardiser.inverse(np.zeros((2, 3)))
    for wrong in ({"method": "rank"}, {"clip": 0.0}, {"num_quantiles": 1}):
        with pytest.raises(ConfigError):
            replace(StandardiserConfig(), **wrong)


def test_the_whole_schema():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.lognormal(size=(50, len(FEATURE_NAMES))), columns=list(FEATURE_NAMES))
    standardiser = Standardiser.fit(table)
    assert standardiser.names == FEATURE_NAMES
    assert len(SCHEMA) == standardiser.transform(table)[0].shape[1]
