"""Measurement vectors: what follows a changed value, and what does not."""

import numpy as np
import pandas as pd
import pytest

from lfvar.errors import ConfigError
from lfvar.measure.profiles import Profiles
from lfvar.sampling.vectors import Vectors

NAMES = ("clinical_colour_lightness", "histogram_mean", "clinical_colour_redness", "clinical_relative_area")


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    light = rng.normal(50, 10, 4000)
    table = pd.DataFrame(
        {
            NAMES[0]: light,
            NAMES[1]: 2 * light + rng.normal(0, 5, 4000),
            NAMES[2]: rng.normal(20, 5, 4000),
            NAMES[3]: np.exp(rng.normal(-2, 0.3, 4000)) + 0.001 * light,
        }
    )
    return Vectors(NAMES, Profiles.fit(table, ["mel"] * 4000, NAMES))


def test_what_is_tied_follows_and_the_rest_stays(vectors):
    """Bivariate normal: E[y | x + d] - E[y | x] = slope of the regression times d."""
    start = {NAMES[0]: 45.0, NAMES[1]: 97.0, NAMES[2]: 18.0, NAMES[3]: 0.1}
    moved = vectors.follow(start, "mel", NAMES[0], 55.0)
    assert moved[NAMES[0]] == 55.0
    assert moved[NAMES[1]] - 97.0 == pytest.approx(20.0, rel=0.08)
    assert moved[NAMES[2]] == pytest.approx(18.0, abs=0.5)
    assert moved[NAMES[3]] == 0.1  # the mask decides it
    same = vectors.follow(start, "mel", NAMES[0], 45.0)
    assert same == pytest.approx(start)


def test_following_from_beyond_the_profile_keeps_the_distance(vectors):
    start = {NAMES[0]: 50.0, NAMES[1]: 300.0}
    moved = vectors.follow(start, "mel", NAMES[0], 60.0)
    assert moved[NAMES[1]] >= 300.0


def test_bases(vectors):
    measured = {NAMES[0]: 40.0, "texture_glcm_contrast": 1.0}
    arguments = {"measured": measured, "seed": 4, "given": {}}
    assert vectors.base("none", "mel", **arguments) == {}
    assert vectors.base("source", "mel", **arguments) == {NAMES[0]: 40.0}
    assert vectors.base("mean", "mel", **arguments)[NAMES[0]] == pytest.approx(50, abs=1)
    free = vectors.base("sampled", "mel", **arguments)
    dark = vectors.base("sampled", "mel", measured={}, seed=4, given={NAMES[0]: 25.0})
    assert dark[NAMES[0]] == 25.0
    assert dark[NAMES[1]] < 70 < free[NAMES[1]] + 60
    usual = vectors.base("expected", "mel", measured={}, seed=4, given={NAMES[0]: 25.0})
    assert usual[NAMES[0]] == 25.0
    assert usual[NAMES[1]] == pytest.approx(50, abs=3)
    with pytest.raises(ConfigError, match="is of a type"):
        vectors.base("mean", None, **arguments)
    with pytest.raises(ConfigError, match="needs profiles"):
        Vectors(NAMES, None).base("mean", "mel", **arguments)
    assert Vectors(NAMES, None).base("source", None, **arguments) == {NAMES[0]: 40.0}
