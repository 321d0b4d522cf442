"""The schema: what pyradiomics has and nothing else, and values that obey it."""

import re

import numpy as np
import pytest
from measure_shapes import ellipse, textured

from lfvar.measure.extract import measure
from lfvar.measure.radiomics import measure_radiomics
from lfvar.measure.schema import FEATURE_NAMES, GROUPS, SCHEMA, Feature, feature, features_of
from lfvar.measure.settings import MeasureSettings


def test_102_radiomics_and_18_clinical_ones():
    assert [len(features_of(group)) for group in GROUPS] == [9, 18, 75, 18]
    assert sum(item.pyradiomics is not None for item in SCHEMA) == 102
    assert [item.group for item in SCHEMA] == sorted((item.group for item in SCHEMA), key=GROUPS.index)
    kinds = [item.pyradiomics.partition("_")[0] for item in SCHEMA if item.pyradiomics]
    counts = {kind: kinds.count(kind) for kind in kinds}
    assert counts == {"shape2D": 9, "firstorder": 18, "glcm": 24, "glrlm": 16, "glszm": 16, "ngtdm": 5, "gldm": 14}


def test_exactly_the_features_of_pyradiomics_that_are_not_deprecated():
    import radiomics

    classes = radiomics.getFeatureClasses()
    kinds = ("shape2D", "firstorder", "glcm", "glrlm", "glszm", "ngtdm", "gldm")
    theirs = {f"{kind}_{name}" for kind in kinds for name, old in classes[kind].getFeatureNames().items() if not old}
    assert {item.pyradiomics for item in SCHEMA if item.pyradiomics} == theirs


def test_names_are_unique_snake_case_and_begin_with_their_group():
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES)
    for item in SCHEMA:
        assert re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)+", item.name), item.name
        assert item.name.startswith(f"{item.group}_")
        assert item.unit
        assert item.description
    assert feature("texture_glcm_joint_entropy").pyradiomics == "glcm_JointEntropy"
    assert feature("histogram_percentile_10").pyradiomics == "firstorder_10Percentile"
    with pytest.raises(KeyError, match="shape, histogram, texture, clinical"):
        features_of("colour")


def test_every_feature_is_measured_within_its_range():
    for mask in (ellipse(60, 40, 30), ellipse(10, 8, centre=(40, -60))):
        found = measure(textured(mask), mask)
        assert found.present.all(), found.reason
        for item, value in zip(SCHEMA, found.values, strict=True):
            low, high = item.range
            assert low is None or value >= low - 1e-9, (item.name, value)
            assert high is None or value <= high + 1e-9, (item.name, value)
            if item.transform == "log":
                assert low is not None
                assert low >= 0


def test_transform_and_back():
    heavy = Feature("shape_x", "shape", "1", (0, None), "log", None, "")
    values = np.array([0.0, 1e-3, 1.0, 1e6, np.nan])
    assert np.isfinite(heavy.forward(values)[:4]).all()
    np.testing.assert_allclose(heavy.inverse(heavy.forward(values))[1:4], values[1:4])
    assert np.isnan(heavy.forward(values)[4])


def test_the_settings_hash_knows_every_setting():
    hashes = {MeasureSettings().hash}
    for change in (
        {"bin_width": 10},
        {"min_pixels": 20},
        {"border_sigma": 2},
        {"ring_width": 0.2},
        {"colour_share": 0.1},
    ):
        hashes.add(MeasureSettings(**change).hash)
    assert len(hashes) == 6
    assert MeasureSettings(bin_width=25).hash == MeasureSettings().hash


def test_radiomics_alone_gives_102():
    mask = ellipse(30, 20)
    values, reasons = measure_radiomics(textured(mask), mask, MeasureSettings())
    assert len(values) == 102
    assert not reasons
