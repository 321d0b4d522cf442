"""Quantiles in natural units, and the table that shows them."""

import numpy as np
import pandas as pd
import pytest

from lfvar.errors import ConfigError
from lfvar.measure.profiles import Profiles
from lfvar.measure.schema import FEATURE_NAMES
from lfvar.sampling.prompt import COLUMNS, explain, parse, resolve

AREA, LIGHT, GREY = "clinical_relative_area", "clinical_colour_lightness", "histogram_mean"


def make_profiles(names=FEATURE_NAMES):
    """Even steps: nv from 0 to 100 in 201 lesions, mel from 200 to 300 in 101; df lacks lightness."""
    columns = {"nv": np.linspace(0, 100, 201), "mel": np.linspace(200, 300, 101), "df": np.linspace(0, 1, 50)}
    labels = [label for label, values in columns.items() for _ in values]
    values = np.concatenate(list(columns.values()))
    table = pd.DataFrame({name: values for name in names})
    if LIGHT in names:
        table.loc[np.array(labels) == "df", LIGHT] = np.nan
    return Profiles.fit(table, labels, names)


@pytest.fixture(scope="module")
def profiles():
    return make_profiles((AREA, LIGHT, GREY, "clinical_colour_redness", "clinical_centroid_x", "clinical_centroid_y"))


def test_quantiles_are_those_of_the_type(profiles):
    values = resolve(parse("a large, very dark nevus"), profiles)
    assert values == pytest.approx({AREA: 85, LIGHT: 5, GREY: 5})
    values = resolve(parse("a large, very dark melanoma at the top"), profiles)
    assert values == pytest.approx(
        {AREA: 285, LIGHT: 205, GREY: 205, "clinical_centroid_x": 0.5, "clinical_centroid_y": 0.3}
    )


def test_any_type_means_all_lesions_together():
    profiles = make_profiles((AREA, LIGHT))
    lesions = np.concatenate([np.linspace(0, 100, 201), np.linspace(200, 300, 101), np.linspace(0, 1, 50)])
    for words in ("very small", "small", "medium-sized", "large", "extremely large"):
        request = parse(f"a {words} lesion")
        expected = np.quantile(lesions, request.quantiles[AREA])
        assert resolve(request, profiles)[AREA] == pytest.approx(expected, abs=1.0), words


def test_a_model_may_know_fewer_features(profiles):
    request = parse("a dark nevus at the top")
    assert resolve(request, profiles, {AREA, GREY}) == pytest.approx({GREY: 15})
    with pytest.raises(ConfigError, match="darkness"):
        resolve(request, profiles, {AREA})
    rows = {row.means: row for row in explain(request, profiles, {GREY})}
    assert rows[LIGHT].cells[3] == "left free"
    assert rows["clinical_centroid_y"].value == 0.3


def test_missing_profiles_and_measurements(profiles):
    with pytest.raises(ConfigError, match="no profile of type 'vasc'"):
        resolve(parse("a large angioma"), profiles)
    with pytest.raises(ConfigError, match=f"'df' has a '{LIGHT}'"):
        resolve(parse("a dark dermatofibroma"), profiles)


def test_the_table(profiles):
    rows = explain(parse("three images of a big, slightly dark mole with redness in the upper left"), profiles)
    assert [row.cells for row in rows] == [
        ("three images", "images", "", "3"),
        ("nevus", "type", "", "nv"),
        ("large", AREA, "0.85", "85"),
        ("slightly dark", LIGHT, "0.30", "30 L*"),
        ("slightly dark", GREY, "0.30", "30 grey levels"),
        ("red", "clinical_colour_redness", "0.85", "85 a*"),
        ("in the upper left", "clinical_centroid_x", "", "0.3"),
        ("in the upper left", "clinical_centroid_y", "", "0.3"),
    ]
    assert all(len(row.cells) == len(COLUMNS) for row in rows)
