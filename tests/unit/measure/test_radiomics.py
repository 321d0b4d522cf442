"""Radiomics: exactly pyradiomics' own values, and a defined outcome for every bad input (DESIGN, fact 13)."""

import logging

import numpy as np
import pytest
from measure_shapes import BROWN, disc, ellipse, paint, textured
from PIL import Image

from lfvar.data.imageio import read_mask, write_png
from lfvar.measure.extract import MeasureSettings, measure
from lfvar.measure.radiomics import luminance, measure_radiomics
from lfvar.measure.schema import FEATURE_NAMES, SCHEMA, features_of


def reference(image, mask, bin_width=25):
    """What `RadiomicsFeatureExtractor` itself says."""
    import SimpleITK
    from radiomics.featureextractor import RadiomicsFeatureExtractor

    logging.getLogger("radiomics").setLevel(logging.CRITICAL)
    extractor = RadiomicsFeatureExtractor(binWidth=bin_width, additionalInfo=False, force2D=False)
    extractor.disableAllFeatures()
    for kind in ("shape2D", "firstorder", "glcm", "glrlm", "glszm", "ngtdm", "gldm"):
        extractor.enableFeatureClassByName(kind)
    grey = SimpleITK.GetImageFromArray(luminance(image))
    return extractor.execute(grey, SimpleITK.GetImageFromArray(mask.astype(np.uint8)))


def two_pieces():
    return disc(20, centre=(-50, -40)) | disc(12, centre=(30, 50))


@pytest.mark.parametrize("bin_width", [25, 8])
@pytest.mark.parametrize(
    "mask",
    [ellipse(60, 35, 25), disc(4, centre=(30, 30)), disc(60, centre=(90, 0)), two_pieces()],
    ids=["ellipse", "tiny", "touching the frame", "two pieces"],
)
def test_exactly_the_values_of_pyradiomics(mask, bin_width):
    image = textured(mask)
    theirs = reference(image, mask, bin_width)
    ours, reasons = measure_radiomics(image, mask, MeasureSettings(bin_width=bin_width))
    assert not reasons
    assert len(ours) == 102
    for item in SCHEMA:
        if item.pyradiomics is not None:
            assert ours[item.name] == float(theirs[f"original_{item.pyradiomics}"]), item.name


def test_all_directions_count():
    """With `force2D` on, three of the four directions would be dropped: a texture along one axis shows it."""
    mask = disc(60)
    stripes = paint(mask)
    stripes[:, ::2] //= 2
    values, _ = measure_radiomics(stripes, mask, MeasureSettings())
    # Of four directions (right, down, two diagonals), one sees equal neighbours and three see unequal ones.
    bins = np.floor(luminance(np.array([[BROWN, [c // 2 for c in BROWN]]], np.uint8))[0] / 25)
    assert values["texture_glcm_contrast"] == pytest.approx(0.75 * (bins[0] - bins[1]) ** 2, rel=0.02)


def test_a_flat_lesion_has_all_values():
    mask = disc(30)
    found = measure(paint(mask), mask)
    assert found.present.all(), found.reason
    assert found.as_dict()["histogram_variance"] == pytest.approx(0, abs=1e-18)


def missing_groups(found):
    names = dict(zip(FEATURE_NAMES, found.present, strict=True))
    return {item.group for item in SCHEMA if not names[item.name]}


@pytest.mark.parametrize(
    ("count", "reason"), [(0, "empty mask"), (1, "mask too small: 1 pixels"), (15, "mask too small: 15 pixels")]
)
def test_empty_and_tiny_masks_are_missing_with_a_reason(count, reason):
    mask = np.zeros((50, 50), bool)
    mask[20:23, 20:25] = np.arange(15).reshape(3, 5) < count
    found = measure(paint(mask), mask)
    assert not found.present.any()
    assert np.isnan(found.values).all()
    assert set(found.reasons) == {"shape", "histogram", "texture", "clinical"}
    assert reason in found.reason
    assert found.reason.count(reason) == 1


def test_a_line_is_no_lesion():
    mask = np.zeros((50, 50), bool)
    mask[20, 5:45] = True
    assert "mask is a line" in measure(paint(mask), mask).reason


def test_a_nan_pixel_takes_what_needs_it_and_nothing_else():
    mask = ellipse(40, 30)
    image = textured(mask).astype(np.float64)
    whole = measure(image, mask)
    np.testing.assert_array_equal(whole.values, measure(textured(mask), mask).values)
    image[100, 100, 1] = np.nan
    found = measure(image, mask)
    assert missing_groups(found) == {"histogram", "texture", "clinical"}
    assert "not finite" in found.reasons["histogram"]
    present = dict(zip(FEATURE_NAMES, found.present, strict=True))
    kept = [name for name in FEATURE_NAMES if present[name]]
    assert [item.name for item in features_of("shape")] == kept[:9]
    assert {"clinical_relative_area", "clinical_border_compactness", "clinical_asymmetry_shape_min"} <= set(kept)
    assert not present["clinical_colour_lightness"]
    np.testing.assert_array_equal(found.values[found.present], whole.values[found.present])


def test_a_nan_pixel_far_from_the_lesion_does_not_matter():
    mask = disc(20)
    image = textured(mask).astype(np.float64)
    image[0, 0] = np.nan
    assert measure(image, mask).present.all()


def test_a_mask_of_253_is_measured_whole(tmp_path):
    mask = ellipse(40, 30)
    stored = mask.astype(np.uint8) * 253
    stored[100:, mask.any(axis=0)] = np.where(stored[100:, mask.any(axis=0)] > 0, 255, 0)
    Image.fromarray(stored).save(tmp_path / "mask.png")
    write_png(tmp_path / "plain.png", mask)
    image = textured(mask)
    first, second = (measure(image, read_mask(tmp_path / name)) for name in ("mask.png", "plain.png"))
    np.testing.assert_array_equal(first.values, second.values)
    assert first.as_dict()["shape_pixel_surface"] == mask.sum()


def test_a_mask_that_fills_the_image_lacks_only_the_contrast_with_skin():
    mask = np.ones((60, 60), bool)
    found = measure(textured(mask), mask)
    missing = [name for name, there in zip(FEATURE_NAMES, found.present, strict=True) if not there]
    assert missing == ["clinical_contrast_colour", "clinical_contrast_lightness"]
    assert found.reason == "clinical: contrast: no skin around the lesion: it fills the image"


def test_one_failing_class_leaves_the_others(monkeypatch):
    from lfvar.measure import radiomics

    classes = dict(radiomics._feature_classes())

    def broken(*_, **__):
        raise RuntimeError("no luck")

    monkeypatch.setattr(radiomics, "_feature_classes", lambda: classes | {"glszm": broken})
    mask = disc(30)
    found = measure(textured(mask), mask)
    assert missing_groups(found) == {"texture"}
    assert (~found.present).sum() == 16
    assert found.reason == "texture: glszm: no luck"


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        (np.zeros((9, 9, 3), np.uint8), np.ones((9, 9), np.uint8)),
        (np.zeros((9, 8, 3), np.uint8), np.ones((9, 9), bool)),
        (np.zeros((9, 9), np.uint8), np.ones((9, 9), bool)),
        (np.zeros((9, 9, 3), np.int32), np.ones((9, 9), bool)),
    ],
)
def test_wrong_kinds_of_arrays_are_our_mistake(image, mask):
    with pytest.raises(ValueError, match=r"mask|image"):
        measure(image, mask)
