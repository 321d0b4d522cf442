"""How different two images look, as far as a network trained on photographs can tell (LPIPS).

`PerceptualLoss` is what every kind has in common; `lfvar.losses.structure` holds the kind that needs no weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from lfvar.errors import ArtefactError
from lfvar.losses.focus import weighted_mean
from lfvar.nn.features import FeatureNetwork, read_tensors, require_tensors
from lfvar.nn.lite import load_lite0
from lfvar.nn.precision import float32_exact
from lfvar.nn.resize import area_resize
from lfvar.nn.vgg import load_vgg16


class PerceptualLoss(nn.Module):
    """A distance between images that knows more than single pixels. It has nothing to train and nothing to save."""

    def forward(self, recon_BCHW: Tensor, image_BCHW: Tensor, weight_B1HW: Tensor | None = None) -> Tensor:
        """Mean distance, computed in float32.

        Args:
            recon_BCHW: Reconstruction, not clamped; the only one that gets a gradient.
            image_BCHW: Original in [-1, 1].
            weight_B1HW: Per-position weights (`focus_weight`), taken to the size of each map and to mean 1 there;
                None: all 1.

        Returns:
            float32 scalar >= 0; 0 for equal images.
        """
        raise NotImplementedError


def weight_at(weight_B1HW: Tensor | None, side: int) -> Tensor | None:
    """Weights on a map of side × side, mean 1 per image again: overlapping cells do not keep it by themselves."""
    if weight_B1HW is None:
        return None
    weight_B1hw = area_resize(weight_B1HW.float(), side)
    return weight_B1hw / weight_B1hw.mean(dim=(-2, -1), keepdim=True)


class FeatureLoss(PerceptualLoss):
    """LPIPS (Zhang et al., arXiv 1801.03924, eq. 1): squared distance of features of unit length, summed over layers.

    Args:
        features: The network to look through; frozen.
        linear_weights: How much each channel of each layer counts, >= 0; None: each 1/C, so that a layer's distance
            is the mean over channels and lies in [0, 4/C].

    Raises:
        ValueError: When the weights do not fit the network's channels, or one is negative.
    """

    eps = 1e-6
    """Added to squared lengths: features that are all 0 (dead ReLUs) have a finite gradient."""

    def __init__(self, features: FeatureNetwork, linear_weights: Sequence[Tensor] | None = None) -> None:
        super().__init__()
        self.features = features
        if linear_weights is None:
            linear_weights = [torch.full((channels,), 1 / channels) for channels in features.channels]
        lengths = tuple(weight.numel() for weight in linear_weights)
        if lengths != features.channels:
            raise ValueError(f"linear_weights of lengths {lengths} do not fit the channels {features.channels}")
        if any(bool((weight < 0).any()) for weight in linear_weights):
            raise ValueError("linear_weights must not be negative: a distance could fall below 0")
        for index, weight in enumerate(linear_weights):
            self.register_buffer(f"linear{index}", weight.detach().float().reshape(-1, 1, 1).clone(), persistent=False)

    def forward(self, recon_BCHW: Tensor, image_BCHW: Tensor, weight_B1HW: Tensor | None = None) -> Tensor:
        """As `PerceptualLoss`; the network's convolutions run in the precision around them."""
        with torch.no_grad():
            targets = self.features(image_BCHW)
        maps = self.features(recon_BCHW)
        with float32_exact(recon_BCHW.device):
            layers = [
                self._distance(index, a_BChw, b_BChw, weight_B1HW)
                for index, (a_BChw, b_BChw) in enumerate(zip(maps, targets, strict=True))
            ]
            return torch.stack(layers).sum()

    def _distance(self, index: int, a_BChw: Tensor, b_BChw: Tensor, weight_B1HW: Tensor | None) -> Tensor:
        linear_C11: Tensor = self.get_buffer(f"linear{index}")
        squared_BChw = (self._unit(a_BChw) - self._unit(b_BChw)).square()
        distance_B1hw = (linear_C11 * squared_BChw).sum(dim=1, keepdim=True)
        return weighted_mean(distance_B1hw, weight_at(weight_B1HW, a_BChw.shape[-1]))

    def _unit(self, x_BChw: Tensor) -> Tensor:
        x_BChw = x_BChw.float()
        return x_BChw * (x_BChw.square().sum(dim=1, keepdim=True) + self.eps).rsqrt()


def lite_loss() -> FeatureLoss:
    """LPIPS's formula on EfficientNet-Lite0 (the extra `lite`), every channel of a layer counting the same.

    Not LPIPS itself: no one has fitted the channels to people's judgement.

    Raises:
        ArtefactError: When the extra is not installed.
    """
    return FeatureLoss(load_lite0())


def vgg_loss(weights: Path | None = None, linear_weights: Path | None = None, fitted: bool = True) -> FeatureLoss:
    """LPIPS on VGG16, the loss of VQGAN and VAR.

    Args:
        weights: torchvision's VGG16 file, `vgg16-397923af.pth`.
        linear_weights: LPIPS's fitted channel weights (v0.1, `vgg.pth`); None: the file that torchmetrics ships.
        fitted: Use them; False counts every channel of a layer the same.

    Raises:
        ArtefactError: When a file is not given, missing, or holds something else.
    """
    features = load_vgg16(weights)
    return FeatureLoss(features, lpips_linear_weights(features.channels, linear_weights) if fitted else None)


def lpips_linear_weights(channels: Sequence[int], path: Path | None = None) -> list[Tensor]:
    """LPIPS's fitted channel weights (v0.1), one vector for each layer.

    Args:
        channels: Of the layers they must fit: (64, 128, 256, 512, 512) for VGG16.
        path: A file with `lin0.model.1.weight` and so on, as LPIPS publishes it; None: the one inside torchmetrics.

    Raises:
        ArtefactError: When the file is missing or holds something else.
    """
    cure = "give linear_weights=PATH with the file vgg.pth of LPIPS v0.1, or set fitted=false to do without"
    names = [f"lin{index}.model.1.weight" for index in range(len(channels))]
    state: Mapping[str, Tensor] = read_tensors(path or _shipped_linear_weights(cure), cure=cure)
    shapes = {name: (1, width, 1, 1) for name, width in zip(names, channels, strict=True)}
    require_tensors(state, shapes, cure=cure)
    return [state[name].flatten() for name in names]


def _shipped_linear_weights(cure: str) -> Path:
    spec = find_spec("torchmetrics")  # only its place: importing it here would cost seconds
    if spec is None or not spec.submodule_search_locations:
        raise ArtefactError("torchmetrics, which ships LPIPS's channel weights, is not installed", cure=cure)
    return Path(next(iter(spec.submodule_search_locations))) / "functional" / "image" / "lpips_models" / "vgg.pth"
