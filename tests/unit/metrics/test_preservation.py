import numpy as np
import pytest
import scipy.stats

from lfvar.measure.extract import measure
from lfvar.measure.schema import FEATURE_NAMES, SCHEMA
from lfvar.measure.settings import MeasureSettings
from lfvar.metrics.preservation import FOLLOWS_FROM_MASK, preservation_table, summarise_preservation
from lfvar.metrics.remeasure import remeasuring


@pytest.fixture
def pair():
    generator = np.random.default_rng(0)
    original = generator.standard_normal((30, len(SCHEMA))) * 3 + 10
    return original, original + generator.standard_normal(original.shape)


def row_of(table, index):
    return table.iloc[index]


def test_numbers_equal_scipy_and_the_definition(pair):
    original, recon = pair
    original[:, 4] = np.round(original[:, 4])  # ties
    table = preservation_table(original, recon)
    assert list(table["feature"]) == list(FEATURE_NAMES)
    for index in (0, 4, 50, -1):
        row = row_of(table, index)
        assert row["spearman"] == pytest.approx(scipy.stats.spearmanr(original[:, index], recon[:, index])[0])
        difference = (recon - original)[:, index] / original[:, index].std()
        assert row["error"] == pytest.approx(np.median(np.abs(difference)))
        assert row["bias"] == pytest.approx(np.median(difference))
    assert (table["outcome"] == "ok").all()


def test_a_monotone_change_keeps_ranks_but_is_an_error(pair):
    original, _ = pair
    row = row_of(preservation_table(original, original * 2 + 1), 7)
    assert row["spearman"] == pytest.approx(1)
    assert row["bias"] > 1


def test_every_odd_feature_has_an_outcome_and_stays(pair):
    original, recon = pair
    original[:, 0] = 5
    recon[:, 1] = 5
    original[2:, 2] = np.nan
    original[0, 3], recon[1, 3], recon[2, 3] = np.inf, -np.inf, np.nan
    table = preservation_table(original, recon)
    assert len(table) == len(SCHEMA)
    assert list(table["outcome"][:4]) == ["constant original", "constant reconstruction", "too few pairs", "ok"]
    assert table["spearman"][:3].isna().all()
    assert np.isnan(table["error"][0])
    assert table["error"][1] > 0
    third = row_of(table, 3)
    assert (third["count"], third["missing"], third["lost"], third["infinite"]) == (27, 1, 2, 2)
    assert np.isfinite(third[["spearman", "error", "bias"]].astype(float)).all()
    summary = summarise_preservation(table)
    assert summary["shape"]["without_correlation"] == 3
    assert summary["shape"]["features"] == 9


def test_groups(pair):
    summary = summarise_preservation(preservation_table(*pair))
    assert {name: row["features"] for name, row in summary.items()} == {
        "histogram": 18,
        "texture": 75,
        "clinical": 10,
        "shape": 9,
        "clinical, from the mask": 8,
        "histogram and shape": 27,
    }
    assert {name for name, row in summary.items() if row["follows_from_mask"]} == {"shape", "clinical, from the mask"}


def test_the_list_of_what_follows_from_the_mask_is_right():
    """Two unrelated images with one mask: exactly the listed measurements agree."""
    generator = np.random.default_rng(1)
    y, x = np.mgrid[:48, :48]
    mask = ((y - 22) / 15) ** 2 + ((x - 25) / 11) ** 2 < 1 + 0.2 * np.sin(x)
    rows = np.stack(
        [
            measure(generator.integers(low, high, (48, 48, 3)).astype(np.uint8), mask).values
            for low, high in ((20, 120), (10, 250))
        ]
    )
    assert np.isfinite(rows).all()
    same = rows[0] == rows[1]
    assert same[FOLLOWS_FROM_MASK].all()
    may_tie = {"clinical_colour_count"}  # a small whole number
    wrong = {name for name, equal in zip(FEATURE_NAMES, same & ~FOLLOWS_FROM_MASK, strict=True) if equal} - may_tie
    assert not wrong


def test_processes_do_not_change_measurements():
    generator = np.random.default_rng(2)
    images = generator.integers(0, 255, (5, 32, 32, 3)).astype(np.uint8)
    masks = np.zeros((5, 32, 32), bool)
    masks[:4, 8:24, 6:20] = True  # the last has no lesion
    found = []
    for workers in (1, 2):
        with remeasuring(MeasureSettings(), 5, workers=workers) as remeasure:
            found.append(remeasure(images, masks))
    np.testing.assert_array_equal(found[0], found[1])
    assert np.isnan(found[0][4]).all()
    assert np.isfinite(found[0][:4]).mean() > 0.9
