"""The 8 flips and rotations of the square: every measurement, one by one."""

import numpy as np
import pytest
from measure_shapes import disc, ellipse, textured

from lfvar.data.sources.phantom import Phantom
from lfvar.measure.extract import measure
from lfvar.measure.schema import FEATURE_NAMES, SCHEMA
from lfvar.measure.symmetry import SYMMETRIES, move_image, move_measurements

TOLERANCE = 1e-9
"""Relative; means and sums run over the same pixels in another order."""


def lesions():
    yield ellipse(60, 35, 25, (11, -20)), None
    yield disc(20, (-40, -35)) | ellipse(14, 9, 70, (30, 41)), None
    yield disc(60, (75, 10)), None
    yield disc(40, (0.5, 0.5)), None  # no principal axes
    source = Phantom(num_images=14, size=96)
    for record in list(source.records())[::2]:
        pair = source.load(record)
        yield pair.mask_HW, pair.image_HWC


@pytest.fixture(scope="module")
def moved():
    """For each lesion, measurements in the 8 positions, and those that the first position foretells."""
    found, foretold = [], []
    for mask, picture in lesions():
        image = textured(mask) if picture is None else picture
        first = measure(image, mask).values
        positions = [measure(move_image(image, *how), move_image(mask, *how)) for how in SYMMETRIES]
        found.append([position.values for position in positions])
        foretold.append([move_measurements(first, *how) for how in SYMMETRIES])
    return np.array(found), np.array(foretold)


@pytest.mark.parametrize("name", FEATURE_NAMES)
def test_each_feature_moves_as_declared(moved, name):
    column = FEATURE_NAMES.index(name)
    found, foretold = (values[..., column] for values in moved)
    there = np.isfinite(foretold)  # far pieces have no mirrored positions, so no asymmetry of colour
    assert there.all(axis=1).sum() >= len(there) - 1
    np.testing.assert_array_equal(np.isfinite(found), there)
    scale = np.maximum(np.abs(foretold), 1e-6)
    wrong = (np.abs(found - foretold) / scale)[there]
    assert wrong.max() <= TOLERANCE, wrong.max()
    if SCHEMA[column].invariant:
        np.testing.assert_array_equal(foretold, np.broadcast_to(foretold[:, :1], foretold.shape))
    else:
        assert (np.ptp(found, axis=1) > 0.01).any(), "declared as moving, but does not"


def test_the_eight_are_all_different():
    picture = np.arange(9).reshape(3, 3)
    assert len({move_image(picture, *how).tobytes() for how in SYMMETRIES}) == 8
