import dataclasses

import cv2
import numpy as np
import pytest
from scipy.stats import spearmanr

from lfvar.data.mask_bank import touches_edge
from lfvar.measure.clinical import measure_clinical
from lfvar.measure.settings import MeasureSettings
from lfvar.sampling.lesion_shapes import LesionShape, draw_shape


def measured(mask):
    grey = np.full((*mask.shape, 3), 128, np.uint8)
    return measure_clinical(grey, mask, MeasureSettings())[0]


@pytest.mark.parametrize("area", [0.0002, 0.002, 0.05, 0.3, 0.7, 0.95])
@pytest.mark.parametrize("size", [32, 64])
def test_area_is_exact_and_the_lesion_one_piece(area, size):
    for seed in range(3):
        mask = draw_shape(LesionShape(area, 0.1, 0.8, elongation=2, asymmetry=1, irregularity=1), size, seed)
        assert mask.sum() == max(1, round(area * size * size))
        assert cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[0] == 2


def test_it_lies_where_it_is_wanted_or_as_near_as_it_fits():
    for seed in range(4):
        shape = LesionShape(0.06, 0.3, 0.65, asymmetry=0.8, irregularity=0.8)
        values = measured(draw_shape(shape, 128, seed))
        assert values["clinical_centroid_x"] == pytest.approx(0.3, abs=0.01)
        assert values["clinical_centroid_y"] == pytest.approx(0.65, abs=0.01)
        cornered = draw_shape(dataclasses.replace(shape, centre_x=0, centre_y=1), 128, seed)
        assert not touches_edge(cornered)
        assert measured(cornered)["clinical_centroid_x"] < 0.25
        assert measured(cornered)["clinical_centroid_y"] > 0.75


def test_numbers_mean_what_they_say():
    """Each moves its own measurement, whatever the seed; the others stay."""
    steps = np.linspace(0, 1, 6)
    for seed in range(5):
        smooth = [measured(draw_shape(LesionShape(0.15, irregularity=s), 64, seed)) for s in steps]
        border = [row["clinical_border_compactness"] for row in smooth]
        assert spearmanr(steps, border)[0] == pytest.approx(1)
        assert border[-1] > 1.25 * border[0]
        uneven = [draw_shape(LesionShape(0.15, elongation=1.5, asymmetry=s, irregularity=0), 64, seed) for s in steps]
        asymmetry = [measured(mask)["clinical_asymmetry_shape_max"] for mask in uneven]
        assert spearmanr(steps, asymmetry)[0] > 0.8
        assert asymmetry[-1] > 0.1
    mirrored = measured(draw_shape(LesionShape(0.15, elongation=1.5, asymmetry=0, irregularity=0), 128, 0))
    assert mirrored["clinical_asymmetry_shape_max"] < 0.02


def test_elongation_and_orientation():
    mask = draw_shape(LesionShape(0.1, elongation=2, orientation=0.5, asymmetry=0, irregularity=0), 200, 0)
    y, x = np.nonzero(mask)
    covariance = np.cov(x, y)
    widths, axes = np.linalg.eigh(covariance)
    assert np.sqrt(widths[1] / widths[0]) == pytest.approx(2, rel=0.02)
    assert np.arctan(axes[1, 1] / axes[0, 1]) == pytest.approx(0.5, abs=0.02)  # image y points down: clockwise


def test_the_seed_moves_bulges_and_the_resolution_does_not():
    shape = LesionShape(0.2, asymmetry=0.7, irregularity=0.1)
    first, again, other = (draw_shape(shape, 64, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert (first != other).sum() > 40
    fine = draw_shape(shape, 256, 1).reshape(64, 4, 64, 4).mean(axis=(1, 3)) >= 0.5
    assert (first & fine).sum() / (first | fine).sum() > 0.93


def test_nonsense_is_refused():
    for wrong in ({"relative_area": 0}, {"elongation": 0.5}, {"asymmetry": 2}, {"centre_x": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            LesionShape(**({"relative_area": 0.1} | wrong))
