"""An edit in a photograph that is larger than the model's images."""

import numpy as np
import pytest

from lfvar.sampling.editing import EditConfig, Result
from lfvar.sampling.photograph import Photograph
from lfvar.sampling.skin import cover_with_skin

SKIN = (205, 160, 150)


@pytest.fixture
def photograph():
    """Grainy skin with a nearly black lesion, 300 × 400, for a model of 64."""
    rng = np.random.default_rng(0)
    image = np.clip(rng.normal(SKIN, 4, (300, 400, 3)), 0, 255).astype(np.uint8)
    mask = np.hypot(*(np.indices((300, 400)) - np.array([140, 210])[:, None, None])) < 70
    image[mask] = (30, 20, 15)
    return Photograph.frame_lesion(image, mask, 64)


def pale_result(photograph):
    """The decoder made skin everywhere."""
    raw = np.broadcast_to(np.uint8(SKIN), (64, 64, 3)).copy()
    return Result(raw, raw, photograph.mask_HW, np.zeros(1, np.int64))


def test_the_old_lesion_does_not_shine_through_the_feather(photograph):
    outside = ~photograph.whole_mask_HW
    back = photograph.put_back([pale_result(photograph)], EditConfig())[0]
    bare = photograph.put_back([pale_result(photograph)], EditConfig(cover=False))[0]
    for made in (back, bare):
        assert np.array_equal(made[outside], photograph.whole_HWC[outside])
    assert back.min() > 120
    assert bare.min() < 100  # a dark rim


def test_many_edits_of_one_photograph_cover_it_once(photograph, monkeypatch):
    calls = []

    def counted(*arguments, **options):
        calls.append(arguments)
        return cover_with_skin(*arguments, **options)

    monkeypatch.setattr("lfvar.sampling.photograph.cover_with_skin", counted)
    assert len(photograph.put_back([pale_result(photograph)] * 3, EditConfig())) == 3
    assert len(calls) == 1


def test_a_photograph_of_many_pixels_is_covered_alike():
    """What is smooth is computed small: colours and grain stay those of the skin around."""
    rng = np.random.default_rng(1)
    ramp = np.linspace(0, 20, 1600)[None, :, None]
    bare = np.clip(rng.normal(SKIN, 4, (1200, 1600, 3)) + ramp, 0, 255).astype(np.uint8)
    mask = np.hypot(*(np.indices((1200, 1600)) - np.array([600, 800])[:, None, None])) < 250
    image = np.where(mask[..., None], np.uint8([30, 20, 15]), bare)
    covered = cover_with_skin(image, mask)
    assert np.array_equal(covered[~mask], bare[~mask])
    assert np.abs(covered[mask].mean(0) - bare[mask].mean(0)).max() < 2
    assert covered[mask].std(0).mean() / bare[mask].std(0).mean() == pytest.approx(1, abs=0.3)
