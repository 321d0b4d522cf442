import numpy as np
import pytest

from lfvar.measure.extract import measure
from lfvar.measure.mask_only import measure_mask
from lfvar.measure.schema import FEATURE_NAMES
from lfvar.metrics.preservation import FOLLOWS_FROM_MASK


def lesions():
    y, x = np.mgrid[:48, :48]
    disc = (x - 20) ** 2 + (y - 25) ** 2 < 130
    yield disc
    yield disc & (x + 2 * y < 78)
    yield disc | (x > 44)  # two pieces, one cut by the edge
    yield np.ones((48, 48), bool)
    yield (x == 5) & (y > 3) & (y < 40) | (x == 6) & (y > 30)


@pytest.mark.parametrize("number", range(5))
def test_it_is_what_measuring_everything_gives(number):
    mask = list(lesions())[number]
    image = np.random.default_rng(number).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    everything = measure(image, mask).as_dict()
    names = np.array(FEATURE_NAMES)[FOLLOWS_FROM_MASK].tolist()
    expected = {name: everything[name] for name in names if np.isfinite(everything[name])}
    found = measure_mask(mask)
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, rel=1e-9)


def test_nothing_to_measure():
    mask = np.zeros((16, 16), bool)
    assert measure_mask(mask) == {}
    mask[3, 3] = True
    assert measure_mask(mask) == {}
