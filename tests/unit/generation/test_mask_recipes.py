"""Masks that are scaled, drawn to measure, and taken from the bank."""

import numpy as np
import pytest

from lfvar.data.imageio import write_png
from lfvar.data.mask_bank import touches_edge
from lfvar.errors import DataError
from lfvar.generation.mask_search import choose_from_bank, fit_drawn
from lfvar.generation.masks import read_mask_file, render_mask, scale_mask
from lfvar.generation.plan import MaskPlan
from lfvar.measure.mask_only import measure_mask


def ellipse(size, x, y, a, b):
    rows, columns = np.mgrid[:size, :size]
    return ((columns - x) / a) ** 2 + ((rows - y) / b) ** 2 <= 1


@pytest.mark.parametrize("factor", [0.3, 0.7, 1.0, 1.8])
def test_scaling_keeps_shape_and_place_and_meets_the_area(factor):
    mask = ellipse(96, 50, 44, 22, 13)
    area = factor * float(mask.mean())
    scaled = scale_mask(mask, area)
    assert scaled.sum() == round(area * mask.size)
    expected = ellipse(96, 50, 44, 22 * factor**0.5, 13 * factor**0.5)
    assert (scaled ^ expected).sum() < 0.06 * expected.sum()


def test_a_lesion_that_grows_past_the_edge_is_moved_in():
    mask = ellipse(64, 10, 32, 9, 9)
    scaled = scale_mask(mask, 4 * float(mask.mean()))
    columns = np.flatnonzero(scaled.any(axis=0))
    assert columns[0] <= 1
    assert columns[-1] - columns[0] == pytest.approx(36, abs=2)  # a whole disc of twice the diameter


def test_drawn_lesions_measure_what_is_wanted(pool):
    targets = {
        "clinical_relative_area": 0.3,
        "clinical_centroid_x": 0.55,
        "clinical_centroid_y": 0.5,
        "clinical_asymmetry_shape_max": 0.12,
        "clinical_border_compactness": 1.12,
    }
    loose = measure_mask(render_mask(MaskPlan("drawn", shape={"relative_area": 0.3}, seed=3), pool))
    plan = fit_drawn(targets, pool, 3)
    got = measure_mask(render_mask(plan, pool))
    assert plan == fit_drawn(targets, pool, 3)
    assert got["clinical_relative_area"] == pytest.approx(0.3, abs=0.5 / 256)
    assert got["clinical_centroid_x"] == pytest.approx(0.55, abs=0.05)
    names = ("clinical_asymmetry_shape_max", "clinical_border_compactness")
    error, before = (sum(abs(values[n] - targets[n]) for n in names) for values in (got, loose))
    assert error < 0.08
    assert error <= before
    stated = fit_drawn(targets, pool, 3, fixed={"asymmetry": 0.9})
    assert stated.shape["asymmetry"] == 0.9


def test_the_bank_finds_the_nearest(pool):
    """By a naive search over one feature."""
    name, wanted = "clinical_asymmetry_shape_max", 0.1
    train = pool.with_lesion("train")
    by_distance = sorted(train, key=lambda row: abs(pool.measured[row.image_id].get(name, 9) - wanted))
    near = {row.image_id for row in by_distance[:4]}
    found = {choose_from_bank({name: wanted}, pool, seed, nearest=4).image_id for seed in range(30)}
    assert found == near
    types = {pool.rows[choose_from_bank({name: wanted}, pool, seed, ["mel"]).image_id].label for seed in range(5)}
    assert types == {"mel"}
    anything = [choose_from_bank({}, pool, seed).image_id for seed in range(20)]
    assert len(set(anything)) > 5
    cut = {row.image_id for row in train if touches_edge(pool.read_mask(row.image_id))}
    assert not cut & {choose_from_bank({}, pool, seed, whole=True).image_id for seed in range(20)}


def test_mask_files(tmp_path, pool):
    mask = ellipse(16, 7, 8, 4, 5)
    write_png(tmp_path / "mine.png", mask)
    write_png(tmp_path / "large.png", np.ones((20, 16), bool))
    write_png(tmp_path / "empty.png", np.zeros((16, 16), bool))
    assert np.array_equal(render_mask(MaskPlan("file", file=str(tmp_path / "mine.png")), pool), mask)
    for name, words in (("large", "16×20, the model makes 16×16"), ("empty", "is empty"), ("no", "missing")):
        with pytest.raises(DataError, match=words):
            read_mask_file(tmp_path / f"{name}.png", 16)
