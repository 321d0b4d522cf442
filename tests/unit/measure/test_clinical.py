"""Clinical measurements on lesions whose answer is known; tolerances are stated beside each."""

import math

import cv2
import numpy as np
import pytest
from measure_shapes import BROWN, DARK, SKIN, disc, ellipse, grid, paint, turned
from scipy.special import ellipe

from lfvar.measure.colour import DERMOSCOPIC_COLOURS
from lfvar.measure.extract import MeasureSettings, measure
from lfvar.measure.lesion import to_lab


def clinical(image, mask, **settings):
    found = measure(image, mask, MeasureSettings(**settings)).as_dict()
    return {name.removeprefix("clinical_"): value for name, value in found.items() if name.startswith("clinical_")}


def lab_of(colour):
    """CIELAB by the formula of CIE 15:2004 for D65, from sRGB by IEC 61966-2-1, in float64."""
    rgb = np.asarray(colour, np.float64) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = linear @ np.array(matrix).T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def rgb_of(lab):
    """The nearest 8-bit colour."""
    fy = (lab[0] + 16) / 116
    f = np.array([fy + lab[1] / 500, fy, fy - lab[2] / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * np.array([0.95047, 1.0, 1.08883])
    matrix = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    linear = np.linalg.solve(np.array(matrix), xyz)
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.clip(linear, 0, None) ** (1 / 2.4) - 0.055)
    return tuple(int(value) for value in np.clip(np.round(rgb * 255), 0, 255))


def delta_e(first, second):
    return float(np.linalg.norm(lab_of(first) - lab_of(second)))


class TestGeometry:
    def test_disc(self):
        found = clinical(paint(disc(50, (10, -20))), disc(50, (10, -20)))
        assert found["relative_area"] == pytest.approx(math.pi * 50**2 / 200**2, rel=2e-3)
        assert found["relative_diameter"] == pytest.approx(100 / 200, rel=0.01)
        assert found["centroid_x"] == pytest.approx(110 / 200, abs=1e-9)
        assert found["centroid_y"] == pytest.approx(80 / 200, abs=1e-9)

    @pytest.mark.parametrize("degrees", [0, 30, 45])
    def test_the_diameter_is_the_largest(self, degrees):
        mask = ellipse(80, 20, degrees)
        assert clinical(paint(mask), mask)["relative_diameter"] == pytest.approx(160 / 200, rel=0.01)

    def test_an_oblong_image(self):
        mask = disc(30)[40:160]  # 120 × 200
        found = clinical(paint(mask), mask)
        assert found["relative_area"] == pytest.approx(math.pi * 900 / (120 * 200), rel=2e-3)
        assert found["relative_diameter"] == pytest.approx(60 / math.sqrt(120 * 200), rel=0.02)
        assert (found["centroid_x"], found["centroid_y"]) == (0.5, 0.5)


class TestShapeAsymmetry:
    @pytest.mark.parametrize("degrees", [0, 17, 45, 80])
    def test_an_ellipse_has_none(self, degrees):
        mask = ellipse(70, 40, degrees, (3.3, -7.2))
        assert clinical(paint(mask), mask)["asymmetry_shape_max"] < 0.01

    @pytest.mark.parametrize("degrees", [0, 30, 135])
    def test_a_half_disc_has_it_at_one_axis(self, degrees):
        radius = 70
        x, y = grid()
        _, v = turned(x, y, degrees)
        mask = disc(radius) & (v > 0)
        # The other axis is parallel to the chord, at the centroid 4r / 3π. Both sides are cut into strips.
        height = np.linspace(0, 1, 100_001)
        centre = 4 / (3 * math.pi)
        width = np.sqrt(1 - height**2)
        there = np.interp(2 * centre - height, height, width, left=0, right=0)
        expected = np.clip(width - there, 0, None).sum() / width.sum()
        found = clinical(paint(mask), mask)
        assert found["asymmetry_shape_min"] < 0.01
        assert found["asymmetry_shape_max"] == pytest.approx(expected, abs=0.01)
        assert 0.1 < expected < 0.3

    def test_pieces_that_do_not_cover_each_other(self):
        """Folding a large and a small disc across the line between them covers nothing; along it, everything."""
        mask = disc(20, (-50, 0)) | disc(10, (60, 0))
        found = clinical(paint(mask), mask)
        assert found["asymmetry_shape_min"] < 0.01
        assert found["asymmetry_shape_max"] == pytest.approx(1, abs=0.01)


class TestColourAsymmetry:
    def test_a_split_along_one_axis(self):
        mask = ellipse(70, 40)
        image = paint(mask)
        image[:, :100][mask[:, :100]] = DARK
        found = clinical(image, mask)
        assert found["asymmetry_colour_min"] == pytest.approx(0, abs=0.05)
        # Half a sample column at the split is blended.
        assert found["asymmetry_colour_max"] == pytest.approx(delta_e(BROWN, DARK), rel=0.02)

    @pytest.mark.parametrize("degrees", [20, 45])
    def test_it_follows_the_lesion(self, degrees):
        mask = ellipse(70, 40, degrees)
        u, _ = turned(*grid(), degrees)
        image = paint(mask)
        image[mask & (u < 0)] = DARK
        found = clinical(image, mask)
        assert found["asymmetry_colour_min"] == pytest.approx(0, abs=0.6)
        assert found["asymmetry_colour_max"] == pytest.approx(delta_e(BROWN, DARK), rel=0.03)

    def test_a_quarter_differs_at_both_axes(self):
        mask = ellipse(70, 40)
        image = paint(mask)
        image[:100, :100][mask[:100, :100]] = DARK
        found = clinical(image, mask)
        for name in ("asymmetry_colour_min", "asymmetry_colour_max"):
            assert found[name] == pytest.approx(delta_e(BROWN, DARK) / 2, rel=0.03)

    def test_one_colour_has_none(self):
        mask = disc(50, (20, 3))
        assert clinical(paint(mask, skin=BROWN), mask)["asymmetry_colour_max"] == pytest.approx(0, abs=1e-4)


class TestBorder:
    @pytest.mark.parametrize("radius", [12, 30, 80])
    def test_disc(self, radius):
        found = clinical(paint(disc(radius)), disc(radius))
        assert found["border_compactness"] == pytest.approx(1, abs=0.015)
        assert found["border_radial_variation"] < 0.01

    @pytest.mark.parametrize("degrees", [0, 10, 22.5, 45])
    def test_ellipse_in_any_direction(self, degrees):
        a, b = 80, 40
        perimeter = 4 * a * ellipe(1 - (b / a) ** 2)
        angle = np.linspace(0, 2 * np.pi, 10_001)[:-1]
        weight = np.hypot(a * np.sin(angle), b * np.cos(angle))
        radius = np.hypot(a * np.cos(angle), b * np.sin(angle))
        mean = np.average(radius, weights=weight)
        variation = math.sqrt(np.average((radius - mean) ** 2, weights=weight)) / mean
        mask = ellipse(a, b, degrees)
        found = clinical(paint(mask), mask)
        assert found["border_compactness"] == pytest.approx(perimeter**2 / (4 * math.pi**2 * a * b), rel=0.015)
        assert found["border_radial_variation"] == pytest.approx(variation, rel=0.01)

    @pytest.mark.parametrize("degrees", [0, 20, 45])
    def test_square_in_any_direction(self, degrees):
        u, v = turned(*grid(), degrees)
        mask = (np.abs(u) < 60) & (np.abs(v) < 60)
        found = clinical(paint(mask), mask)
        assert found["border_compactness"] == pytest.approx(4 / math.pi, rel=0.02)  # smoothing rounds the corners

    def test_notches_and_holes_count(self):
        x, y = grid()
        radius = 60 * (1 + 0.15 * np.cos(9 * np.arctan2(y, x)))
        flower = np.hypot(x, y) < radius
        angle = np.linspace(0, 2 * np.pi, 20_001)
        edge = 60 * (1 + 0.15 * np.cos(9 * angle))
        points = np.stack([edge * np.cos(angle), edge * np.sin(angle)])
        perimeter = np.hypot(*np.diff(points, axis=1)).sum()
        area = 0.5 * np.trapezoid(edge**2, angle) if hasattr(np, "trapezoid") else 0.5 * np.trapz(edge**2, angle)
        found = clinical(paint(flower), flower)
        assert found["border_compactness"] == pytest.approx(perimeter**2 / (4 * math.pi * area), rel=0.03)
        ring = disc(60) & ~disc(30)
        expected = (2 * math.pi * 90) ** 2 / (4 * math.pi * math.pi * (60**2 - 30**2))
        assert clinical(paint(ring), ring)["border_compactness"] == pytest.approx(expected, rel=0.015)

    def test_the_edge_of_the_image_is_border(self):
        x, _ = grid()
        half = disc(60) & (x > 0)
        cut = half[:, 100:]
        inside, at_the_frame = clinical(paint(half), half), clinical(paint(cut), cut)
        assert at_the_frame["border_compactness"] == pytest.approx(inside["border_compactness"], rel=1e-9)
        expected = (math.pi * 60 + 120) ** 2 / (4 * math.pi * math.pi * 60**2 / 2)
        assert at_the_frame["border_compactness"] == pytest.approx(expected, rel=0.02)

    def test_too_thin(self):
        x, y = grid()
        thin = (np.abs(x - y) < 0.6) & (np.abs(x) < 40)
        found = measure(paint(thin), thin)
        assert "border: the lesion is too thin" in found.reasons["clinical"]
        assert "clinical_relative_area" in {name for name, value in found.as_dict().items() if math.isfinite(value)}


class TestColour:
    @pytest.mark.parametrize("colour", [BROWN, DARK, (40, 70, 110), (255, 255, 255), (0, 0, 0), (12, 200, 5)])
    def test_means_are_cielab(self, colour):
        found = clinical(paint(disc(30), colour), disc(30))
        values = [found["colour_lightness"], found["colour_redness"], found["colour_yellowness"]]
        np.testing.assert_allclose(values, lab_of(colour), atol=0.06)
        assert found["colour_variegation"] == pytest.approx(0, abs=1e-3)

    def test_cielab_against_another_implementation(self):
        colours = np.random.default_rng(0).integers(0, 256, (1, 500, 3), np.uint8)
        theirs = cv2.cvtColor(colours.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        np.testing.assert_allclose(to_lab(colours), theirs, atol=0.6)  # it interpolates tables
        np.testing.assert_allclose(to_lab(colours), to_lab(colours.astype(np.float64)), atol=1e-12)
        np.testing.assert_allclose(to_lab(np.array([255, 255, 255], np.uint8)), [100, 0, 0], atol=1e-9)

    @pytest.mark.parametrize("share", [0.5, 0.25])
    def test_two_colours(self, share):
        x, _ = grid()
        mask = (np.abs(x) < 60) & (np.abs(x.T) < 40)
        image = paint(mask)
        image[mask & (x < -60 + 120 * share)] = DARK
        spread = math.sqrt(share * (1 - share))
        found = clinical(image, mask)
        assert found["colour_variegation"] == pytest.approx(spread * delta_e(BROWN, DARK), rel=2e-3)
        chroma = np.linalg.norm((lab_of(BROWN) - lab_of(DARK))[1:])
        assert found["colour_variegation_chroma"] == pytest.approx(spread * chroma, rel=3e-3)

    @pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
    def test_the_number_of_colours(self, count):
        x, _ = grid()
        mask = (np.abs(x) < 60) & (np.abs(x.T) < 60)
        image = paint(mask)
        for index, colour in enumerate(list(DERMOSCOPIC_COLOURS.values())[:count]):
            image[mask & (x >= -60 + 120 * index / count)] = rgb_of(colour)
        assert clinical(image, mask)["colour_count"] == count

    def test_a_speck_is_no_colour(self):
        mask = disc(50)
        image = paint(mask, rgb_of(DERMOSCOPIC_COLOURS["dark brown"]))
        image[disc(8)] = rgb_of(DERMOSCOPIC_COLOURS["white"])  # 2.6 % of the lesion
        assert clinical(image, mask)["colour_count"] == 1
        assert clinical(image, mask, colour_share=0.02)["colour_count"] == 2


class TestContrast:
    def test_with_the_skin_around(self):
        mask = disc(40)
        found = clinical(paint(mask), mask)
        assert found["contrast_colour"] == pytest.approx(delta_e(BROWN, SKIN), rel=2e-3)
        assert found["contrast_lightness"] == pytest.approx((lab_of(SKIN) - lab_of(BROWN))[0], rel=2e-3)

    def test_a_pale_lesion_is_negative(self):
        mask = disc(40)
        assert clinical(paint(mask, SKIN, BROWN), mask)["contrast_lightness"] < -20

    def test_only_the_ring_counts(self):
        """Diameter 80, so the ring is 8 pixels wide."""
        mask = disc(40)
        image = paint(mask)
        image[~disc(48.8)] = (0, 0, 255)
        assert clinical(image, mask)["contrast_colour"] == pytest.approx(delta_e(BROWN, SKIN), rel=2e-3)
        image[~disc(46)] = (0, 0, 255)
        assert clinical(image, mask)["contrast_colour"] != pytest.approx(delta_e(BROWN, SKIN), rel=0.05)

    def test_a_lesion_at_the_frame_is_compared_with_the_skin_that_shows(self):
        mask = disc(60, (90, 0))
        found = clinical(paint(mask), mask)
        assert found["contrast_colour"] == pytest.approx(delta_e(BROWN, SKIN), rel=2e-3)


def test_several_pieces_are_one_lesion():
    one, other = disc(20, (-50, 0)), disc(20, (50, 0))
    both = one | other
    found, alone = clinical(paint(both), both), clinical(paint(one), one)
    assert found["relative_area"] == pytest.approx(2 * alone["relative_area"], rel=1e-9)
    assert found["border_compactness"] == pytest.approx(2 * alone["border_compactness"], rel=1e-3)
    assert found["relative_diameter"] == pytest.approx(140 / 200, rel=0.01)
    assert found["centroid_x"] == pytest.approx(0.5)
    assert found["asymmetry_shape_max"] < 0.01
