import numpy as np
import pytest
from scipy.stats import spearmanr

from lfvar.measure.schema import FEATURE_NAMES, SCHEMA
from lfvar.metrics.control import control_table, summarise_control, type_spreads

M = len(SCHEMA)
LIGHTNESS = FEATURE_NAMES.index("clinical_colour_lightness")
AREA = FEATURE_NAMES.index("clinical_relative_area")


def example(num=60):
    rng = np.random.default_rng(0)
    label_N = ["mel" if i % 3 else "nv" for i in range(num)]
    asked_NM = rng.normal(size=(num, M))
    return rng, label_N, asked_NM, {"mel": np.full(M, 2.0), "nv": np.full(M, 0.5)}


def test_numbers_are_those_of_scipy_and_of_the_definition():
    rng, label_N, asked_NM, spreads = example()
    got_NM = asked_NM + rng.normal(size=asked_NM.shape)
    table = control_table(asked_NM, got_NM, label_N, spreads)
    assert list(table["feature"]) == list(FEATURE_NAMES)
    row = table.iloc[LIGHTNESS]
    asked, got = asked_NM[:, LIGHTNESS], got_NM[:, LIGHTNESS]
    assert row["spearman"] == pytest.approx(spearmanr(asked, got).statistic)
    unit = np.array([2.0 if label == "mel" else 0.5 for label in label_N])
    assert row["error"] == pytest.approx(np.median(np.abs(got - asked) / unit))
    assert row["bias"] == pytest.approx(np.median((got - asked) / unit))
    assert row["outcome"] == "ok"
    assert row["count"] == len(label_N)


def test_a_net_that_follows_only_the_type_is_seen_through():
    rng, label_N, asked_NM, spreads = example(200)
    is_mel = np.array([label == "mel" for label in label_N], dtype=float)
    asked_NM[:, LIGHTNESS] += 20 * is_mel
    got_NM = rng.normal(size=asked_NM.shape)
    got_NM[:, LIGHTNESS] += 20 * is_mel
    row = control_table(asked_NM, got_NM, label_N, spreads).iloc[LIGHTNESS]
    assert row["spearman"] > 0.5
    assert abs(row["within_type"]) < 0.2


def test_every_outcome_has_a_name():
    rng, label_N, asked_NM, spreads = example()
    got_NM = asked_NM + rng.normal(size=asked_NM.shape)
    asked_NM[:, 0] = np.nan
    asked_NM[2:, 1] = np.nan
    asked_NM[:, 2] = 3.0
    got_NM[:5, 3] = np.nan
    got_NM[0, 4] = np.inf
    table = control_table(asked_NM, got_NM, label_N, spreads)
    assert list(table["outcome"][:5]) == ["not asked", "too few pairs", "constant", "ok", "ok"]
    assert table["lost"][3] == 5
    assert table["lost"][4] == 1
    assert np.isfinite(table["spearman"][4])
    assert np.isnan(table["spearman"][2])
    assert np.isfinite(table["error"][2])


def test_summary_parts_what_the_mask_decides_from_the_rest():
    rng, label_N, asked_NM, spreads = example()
    got_NM = rng.normal(size=asked_NM.shape)
    follows = [feature.group == "shape" for feature in SCHEMA]
    got_NM[:, follows] = asked_NM[:, follows]
    asked_NM[:, LIGHTNESS] = np.nan
    table = control_table(asked_NM, got_NM, label_N, spreads)
    summary = summarise_control(table)
    assert summary["from the mask"]["spearman_median"] == pytest.approx(1)
    assert abs(summary["depends on the image"]["spearman_median"]) < 0.2
    clinical = table[(table["group"] == "clinical") & ~table["follows_from_mask"]]
    assert summary["clinical"]["features"] == len(clinical) - 1
    assert table["follows_from_mask"][AREA]


def test_spreads_are_of_each_type_alone():
    values_NM = np.full((4, M), np.nan)
    values_NM[:, AREA] = [1.0, 3.0, 10.0, 10.0]
    spreads = type_spreads(values_NM, ["mel", "mel", "nv", "nv"])
    assert spreads["mel"][AREA] == pytest.approx(1.0)
    assert np.isnan(spreads["nv"][AREA])  # both the same: no unit
    assert np.isnan(spreads["mel"][LIGHTNESS])


def test_bad_input_is_named():
    _, label_N, asked_NM, spreads = example()
    with pytest.raises(ValueError, match="both must be"):
        control_table(asked_NM, asked_NM[:, 1:], label_N, spreads)
    with pytest.raises(ValueError, match="type nv"):
        control_table(asked_NM, asked_NM, label_N, {"mel": np.ones(M)})
