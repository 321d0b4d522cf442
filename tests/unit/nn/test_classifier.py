import sys
import types

import pytest
import torch
from torch import nn

from lfvar.errors import ArtefactError, ConfigError
from lfvar.nn.classifier import Classifier, ClassifierConfig, load_body

TINY = ClassifierConfig(num_classes=3, image_size=16, channels=8, channel_multipliers=(1, 2), stem_stride=4)


def test_logits_of_a_batch():
    torch.manual_seed(0)
    net = Classifier(TINY).eval()
    image_BCHW = torch.rand(5, 3, 16, 16) * 2 - 1
    logits_BC = net(image_BCHW)
    assert logits_BC.shape == (5, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert net(image_BCHW).dtype == torch.float32
    # no statistics over the batch: an image gets its logits whatever stands beside it
    torch.testing.assert_close(net(image_BCHW[2:3]), logits_BC[2:3])


def test_constant_images_have_finite_gradients():
    net = Classifier(
        ClassifierConfig(num_classes=2, image_size=8, channels=8, channel_multipliers=(1, 1), stem_stride=4)
    )
    net(torch.zeros(2, 3, 8, 8)).sum().backward()  # 1×1 maps: no spread over positions
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_every_pixel_counts():
    net = Classifier(TINY).eval()
    image_BCHW = torch.zeros(1, 3, 16, 16, requires_grad=True)
    net(image_BCHW)[0, 0].backward()
    assert (image_BCHW.grad.abs().sum(dim=1) > 0).all()


def test_the_shipped_size():
    num = sum(p.numel() for p in Classifier(ClassifierConfig(num_classes=7)).parameters())
    assert 3e5 < num < 1e6


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"network": "resnet18"}, "torchvision:NAME"),
        ({"network": "keras:resnet18"}, "torchvision:NAME"),
        ({"network": "timm:"}, "torchvision:NAME"),
        ({"weights": "pretrained"}, "network=small starts at random"),
        ({"image_size": 18}, "does not divide"),
        ({"num_classes": 1}, "at least 2"),
        ({"channels": 0}, "channels must be at least 1"),
        ({"channel_multipliers": ()}, "at least one"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_wrong_settings_are_named(setting, message):
    with pytest.raises(ValueError, match=message):
        ClassifierConfig(**{"image_size": 16, **setting})


def test_the_number_of_types_must_be_known():
    with pytest.raises(ValueError, match="num_classes=0"):
        Classifier(ClassifierConfig())


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_a_missing_library_is_named(library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=f"needs {library}") as caught:
        Classifier(ClassifierConfig(num_classes=3, network=f"{library}:resnet18"))
    assert "model=classifier_small" in caught.value.cure


class Library(types.ModuleType):
    """Stands in for timm: one network, and what was asked of it."""

    def __init__(self):
        super().__init__("timm")
        self.asked = []

    def is_model(self, name):
        return name == "tiny"

    def create_model(self, name, *, pretrained, num_classes):
        self.asked.append(pretrained)
        net = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.Linear(4, num_classes))
        net.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
        return net


@pytest.fixture
def library(monkeypatch):
    module = Library()
    monkeypatch.setitem(sys.modules, "timm", module)
    return module


def test_a_network_of_a_library(library):
    config = ClassifierConfig(num_classes=3, image_size=2, network="timm:tiny", weights="pretrained")
    net = Classifier(config)
    Classifier(config, read_weights=False)
    assert library.asked == [True, False]  # nothing is downloaded where a checkpoint brings the weights
    image_BCHW = torch.rand(4, 3, 2, 2) * 2 - 1
    as_it_knows_them = ((image_BCHW + 1) / 2 - 0.5) / 0.25
    torch.testing.assert_close(net(image_BCHW), net.body.net(as_it_knows_them))
    assert not any("mean" in name for name in net.state_dict())
    with pytest.raises(ConfigError, match="no network 'vast'"):
        Classifier(ClassifierConfig(num_classes=3, network="timm:vast"))


def test_weights_of_a_file_start_all_but_the_head(library, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(library.create_model("tiny", pretrained=False, num_classes=1000).state_dict(), path)
    config = ClassifierConfig(num_classes=3, image_size=2, network="timm:tiny", weights=str(path))
    net = Classifier(config)
    assert torch.equal(net.body.net[1].weight, torch.load(path, weights_only=True)["1.weight"])
    assert net(torch.zeros(1, 3, 2, 2)).shape == (1, 3)
    with pytest.raises(ArtefactError, match="no weights at"):
        load_body(net.body.net, tmp_path / "absent.pth")
    torch.save({"other": torch.zeros(1)}, path)
    with pytest.raises(ArtefactError, match="another network"):
        load_body(net.body.net, path)
    path.write_text("no weights")
    with pytest.raises(ArtefactError, match="cannot be read"):
        load_body(net.body.net, path)
