"""Tells reconstructions from images, patch by patch, and the crop around the lesion that a second one looks at.

PatchGAN of Isola et al. (arXiv 1611.07004, appendix 6.1.2) with spectral normalisation (Miyato et al., arXiv
1802.05957). It has no batch norm, so a sample's logits depend on no other sample: several processes compute what one
does, and real and fake images go through it in one pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from lfvar.nn.blocks import group_norm

_KERNEL = 4  # of every convolution
_WIDEST = 8  # channels of the coarsest layers, relative to the first


@dataclass(frozen=True)
class PatchDiscriminatorConfig:
    """Sizes of a discriminator. The defaults are the 70-pixel PatchGAN."""

    channels: int = 64
    """Width of the first layer; each further one doubles it, up to eight times."""
    num_layers: int = 3
    """Convolutions of stride 2. Each halves the map of logits and doubles the patch that one logit sees."""
    stem_stride: int = 1
    """Fold s×s pixels into channels first: a fraction of the cost, each patch s times as wide."""
    spectral_norm: bool = True
    """Divide each weight by its largest singular value, which bounds how steep the discriminator can be."""
    norm: Literal["none", "group"] = "none"
    """GroupNorm between the layers; spectral normalisation rarely needs it."""

    def __post_init__(self) -> None:
        for name in ("channels", "num_layers", "stem_stride"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.norm not in ("none", "group"):
            raise ValueError(f"norm is 'none' or 'group', got {self.norm!r}")

    @property
    def receptive_field(self) -> int:
        """Side of the patch that decides one logit, in pixels."""
        field = 1
        for stride in (1, 1, *[2] * self.num_layers):
            field = field * stride + _KERNEL - stride
        return field * self.stem_stride

    @property
    def min_size(self) -> int:
        """Side of the smallest image that leaves a logit: the two last convolutions take one position each."""
        return 3 * 2**self.num_layers * self.stem_stride

    def require_size(self, height: int, width: int) -> None:
        """Refuse images that leave no logit.

        Raises:
            ValueError: When the image is too small, or does not fold.
        """
        if min(height, width) < self.min_size:
            raise ValueError(
                f"a discriminator with num_layers={self.num_layers} and stem_stride={self.stem_stride} needs images of "
                f"{self.min_size}×{self.min_size} pixels or more, got {height}×{width}; lower one of the two"
            )
        if height % self.stem_stride or width % self.stem_stride:
            raise ValueError(f"{height}×{width} pixels do not fold by stem_stride={self.stem_stride}")


class PatchDiscriminator(nn.Module):
    """Images to a map of logits, high where a patch looks real.

    In training mode each pass takes one step of the power iteration that estimates the singular values; in evaluation
    mode a pass changes nothing.

    Args:
        config: Sizes.
        seed: Decides the initial weights; the global random state is left as it was.
    """

    def __init__(self, config: PatchDiscriminatorConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        widths = [config.channels * min(2**i, _WIDEST) for i in range(config.num_layers + 1)]
        channels = [3 * config.stem_stride**2, *widths, 1]
        strides = [2] * config.num_layers + [1, 1]
        self.fold = nn.PixelUnshuffle(config.stem_stride)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs, and leave them so
            self.convs = nn.ModuleList(
                _convolution(channels[i], channels[i + 1], stride, normalised=config.spectral_norm)
                for i, stride in enumerate(strides)
            )
        # As in PatchGAN, the first layer sees raw colours and the last speaks in raw logits.
        between = [group_norm(width) if config.norm == "group" else nn.Identity() for width in widths[1:]]
        self.norms = nn.ModuleList([nn.Identity(), *between, nn.Identity()])

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Logits of all patches.

        Args:
            image_BCHW: Around [-1, 1], at least `config.min_size` pixels in height and width.

        Returns:
            (B, 1, h, w), about one logit for every 2^num_layers · stem_stride pixels.

        Raises:
            ValueError: When the image is too small, or does not fold.
        """
        self.config.require_size(*image_BCHW.shape[-2:])
        # Reading a weight normalises it: once per pass, and in full precision, because the largest singular value is a
        # denominator and autocast has failed here (https://github.com/pytorch/pytorch/issues/125544).
        with torch.autocast(image_BCHW.device.type, enabled=False):
            weights = [conv.weight for conv in self._convs()]
        x_BCHW = self.fold(image_BCHW)
        for conv, weight, norm in zip(self._convs(), weights, self.norms, strict=True):
            x_BCHW = norm(F.conv2d(x_BCHW, weight, conv.bias, conv.stride, padding=1))
            x_BCHW = F.leaky_relu(x_BCHW, 0.2) if weight.shape[0] > 1 else x_BCHW  # one channel: the logits
        return x_BCHW

    def _convs(self) -> Iterator[nn.Conv2d]:
        for conv in self.convs:
            assert isinstance(conv, nn.Conv2d)
            yield conv


def _convolution(in_channels: int, out_channels: int, stride: int, *, normalised: bool) -> nn.Module:
    conv = nn.Conv2d(in_channels, out_channels, _KERNEL, stride, padding=1)
    nn.init.normal_(conv.weight, std=0.02)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return spectral_norm(conv) if normalised else conv


@torch.no_grad()
def lesion_box(mask_B1HW: Tensor, *, margin: float = 0.1, min_side: float = 1.0) -> Tensor:
    """The square around each lesion, computed where the mask is, without waiting for the device.

    Args:
        mask_B1HW: {0, 1}, 1 = lesion.
        margin: Added on each side, relative to the longer side of the lesion's bounding box.
        min_side: In pixels: small lesions are not enlarged without end.

    Returns:
        float32 (B, 3): top, left and side in pixels. The square lies inside the image where it can; an image without
        lesion has its largest square from the top left corner.
    """
    height, width = mask_B1HW.shape[-2:]
    longest = float(min(height, width))
    first, last = zip(*(_extent(mask_B1HW.amax(dim=(1, axis)) > 0.5) for axis in (3, 2)), strict=True)
    first_B2, last_B2 = torch.stack(first, dim=1), torch.stack(last, dim=1)
    side_B1 = (last_B2 - first_B2).amax(dim=1, keepdim=True) * (1 + 2 * margin)
    side_B1 = side_B1.clamp(min(min_side, longest), longest)
    limit_B2 = side_B1.new_tensor([height, width]) - side_B1
    corner_B2 = ((first_B2 + last_B2 - side_B1) / 2).clamp_min(0).minimum(limit_B2)
    empty_B1 = (last_B2 <= first_B2).any(dim=1, keepdim=True)
    corner_B2 = corner_B2.masked_fill(empty_B1, 0)
    return torch.cat([corner_B2, side_B1.masked_fill(empty_B1, longest)], dim=1)


def _extent(inside_BN: Tensor) -> tuple[Tensor, Tensor]:
    """First marked place of each row and the place after the last, in float32; (N, 0) where nothing is marked."""
    place_N = torch.arange(inside_BN.shape[1], device=inside_BN.device, dtype=torch.float32)
    first_B = place_N.expand_as(inside_BN).masked_fill(~inside_BN, inside_BN.shape[1]).amin(dim=1)
    last_B = (place_N + 1).expand_as(inside_BN).masked_fill(~inside_BN, 0).amax(dim=1)
    return first_B, last_B


def crop_square(image_BCHW: Tensor, box_B3: Tensor, size: int) -> Tensor:
    """Cut a square out of each image and resize it bilinearly, with antialiasing where it shrinks.

    Two matrix products instead of `grid_sample`, whose gradient is not deterministic on CUDA.

    Args:
        image_BCHW: Any range.
        box_B3: Top, left and side in pixels (`lesion_box`).
        size: Side of the result.

    Returns:
        float32 (B, C, size, size), differentiable in the image.
    """
    height, width = image_BCHW.shape[-2:]
    with torch.autocast(image_BCHW.device.type, enabled=False):
        rows_B1sH = _bilinear_matrix(box_B3[:, 0], box_B3[:, 2], height, size)
        columns_B1sW = _bilinear_matrix(box_B3[:, 1], box_B3[:, 2], width, size)
        return rows_B1sH @ image_BCHW.float() @ columns_B1sW.transpose(-1, -2)


def _bilinear_matrix(start_B: Tensor, side_B: Tensor, length: int, size: int) -> Tensor:
    step_B11 = (side_B.float() / size)[:, None, None]
    steps_s1 = torch.arange(size, device=start_B.device)[:, None] + 0.5
    centre_Bs1 = start_B.float()[:, None, None] + steps_s1 * step_B11 - 0.5
    place_L = torch.arange(length, device=start_B.device)
    weight_BsL = (1 - (place_L - centre_Bs1).abs() / step_B11.clamp_min(1)).clamp_min(0)
    return (weight_BsL / weight_BsL.sum(dim=-1, keepdim=True))[:, None]
