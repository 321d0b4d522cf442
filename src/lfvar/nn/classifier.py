"""Lesion types from images: a small residual network that trains offline in minutes, or one of a library's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lfvar.errors import ArtefactError, ConfigError
from lfvar.nn.blocks import Downsample, ResBlock, group_norm

LIBRARIES = ("torchvision", "timm")
PRETRAINED = "pretrained"

# What networks of both libraries were trained on: mean and spread of ImageNet's channels, of pixels in [0, 1].
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ClassifierConfig:
    """Which network tells lesion types apart."""

    num_classes: int = 0
    """Lesion types; 0: as many as the data have."""
    image_size: int = 64
    """Side of the square images in pixels."""
    network: str = "small"
    """`small`: ours, sized below; `torchvision:NAME` or `timm:NAME`: a network of a library that is installed."""
    weights: str | None = None
    """What a library's network starts from: `pretrained` (the library downloads it), the path of a file with its
    weights, or null: random."""
    channels: int = 32
    """`small`: channels at the first resolution."""
    channel_multipliers: tuple[int, ...] = (1, 2, 4)
    """`small`: channels at each resolution, relative to `channels`; every further one halves the side."""
    num_res_blocks: int = 1
    """`small`: residual blocks per resolution."""
    stem_stride: int = 2
    """`small`: that many pixels squared are folded into channels before the first convolution."""
    dropout: float = 0.1
    """`small`: of the pooled features."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "channel_multipliers", tuple(self.channel_multipliers))
        library, _, name = self.network.partition(":")
        if self.network != "small" and (library not in LIBRARIES or not name):
            raise ValueError(
                f"network is small, torchvision:NAME or timm:NAME (such as torchvision:resnet18), got {self.network!r}"
            )
        if self.network == "small" and self.weights is not None:
            raise ValueError(f"weights={self.weights!r} is for a library's network; network=small starts at random")
        if not self.channel_multipliers:
            raise ValueError("channel_multipliers names at least one resolution")
        for field in ("image_size", "channels", "num_res_blocks", "stem_stride"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} must be at least 1, got {getattr(self, field)}")
        if self.num_classes < 0 or self.num_classes == 1:
            raise ValueError(f"num_classes is 0 (the data decide) or at least 2, got {self.num_classes}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        stride = self.stem_stride * 2 ** (len(self.channel_multipliers) - 1)
        if self.network == "small" and self.image_size % stride:
            raise ValueError(
                f"image_size={self.image_size} does not divide by {stride}, the stride of stem_stride="
                f"{self.stem_stride} with {len(self.channel_multipliers)} channel_multipliers"
            )


class Classifier(nn.Module):
    """Logits of lesion types; what it learns from is the image alone, so it judges generated images as it does real.

    Args:
        config: Which network; `num_classes` must be known by now.
        read_weights: False where all weights come from a checkpoint: nothing is downloaded or read.

    Raises:
        ConfigError: When the library or its network is not there.
        ArtefactError: When the file of weights is missing or holds another network.
    """

    def __init__(self, config: ClassifierConfig, *, read_weights: bool = True) -> None:
        super().__init__()
        if not config.num_classes:
            raise ValueError("num_classes=0 leaves it to the data: replace it before building the network")
        self.config = config
        self.body: nn.Module
        if config.network == "small":
            self.body = SmallNet(config)
        else:
            self.body = LibraryNet(config, read_weights=read_weights)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Logits, float32 (B, num_classes), of images in [-1, 1]."""
        logits_BC: Tensor = self.body(image_BCHW)
        return logits_BC.float()


class SmallNet(nn.Module):
    """A pre-activation residual network with GroupNorm (no statistics over the batch, so one process equals two).

    Colour and texture decide on lesions more than outline does: the pooled features are mean and spread over positions.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        widths = [config.channels * multiplier for multiplier in config.channel_multipliers]
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(config.stem_stride), nn.Conv2d(3 * config.stem_stride**2, widths[0], 3, padding=1)
        )
        blocks: list[nn.Module] = []
        before = widths[0]
        for level, width in enumerate(widths):
            blocks += [Downsample(before)] if level else []
            for _ in range(config.num_res_blocks):
                blocks.append(ResBlock(before, width))
                before = width
        self.blocks = nn.Sequential(*blocks)
        self.norm = group_norm(before)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(2 * before, config.num_classes)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Logits (B, num_classes) of images in [-1, 1]."""
        h_BCl = F.silu(self.norm(self.blocks(self.stem(image_BCHW)))).flatten(2)
        # The spread of a 1×1 map is 0, and the slope of its root is not finite there.
        spread_BC = (h_BCl.float().var(dim=2, unbiased=False) + 1e-6).sqrt()
        pooled_BD = torch.cat([h_BCl.mean(dim=2), spread_BC.to(h_BCl.dtype)], dim=1)
        return self.head(self.dropout(pooled_BD))


class LibraryNet(nn.Module):
    """A network of torchvision or timm, given images as it knows them."""

    mean_C11: Tensor
    std_C11: Tensor

    def __init__(self, config: ClassifierConfig, *, read_weights: bool = True) -> None:
        super().__init__()
        library, _, name = config.network.partition(":")
        download = read_weights and config.weights == PRETRAINED
        build = _torchvision_net if library == "torchvision" else _timm_net
        self.net = build(name, config.num_classes, download)
        known = getattr(self.net, "pretrained_cfg", {})
        for buffer, values in (
            ("mean_C11", known.get("mean", _IMAGENET_MEAN)),
            ("std_C11", known.get("std", _IMAGENET_STD)),
        ):
            self.register_buffer(buffer, torch.tensor(values).view(3, 1, 1), persistent=False)
        if read_weights and config.weights not in (None, PRETRAINED):
            load_body(self.net, Path(str(config.weights)))

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Logits (B, num_classes) of images in [-1, 1]."""
        return self.net(((image_BCHW + 1) / 2 - self.mean_C11) / self.std_C11)


def load_body(net: nn.Module, path: Path) -> None:
    """Read published weights, all but those of the last layer, which has other classes.

    Raises:
        ArtefactError: When the file is missing, is no file of weights, or holds another network.
    """
    if not path.is_file():
        raise ArtefactError(
            f"no weights at {path}", cure="set model.weights=PATH, or model.weights=null for random ones"
        )
    try:
        stored: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types for damaged files
        raise ArtefactError(
            f"{path} cannot be read as weights ({type(error).__name__})", cure="give a file of tensors by name"
        ) from error
    ours = net.state_dict()
    fits = {name: t for name, t in stored.items() if name in ours and t.shape == ours[name].shape}
    left = sorted(ours.keys() - fits.keys())
    if len(left) > 2 or any(not name.endswith(("weight", "bias")) for name in left):
        shown = ", ".join(left[:4]) + (f" and {len(left) - 4} more" if len(left) > 4 else "")
        raise ArtefactError(
            f"{path} holds another network: it has nothing that fits {shown}",
            cure="set model.network to the network that these weights belong to",
        )
    net.load_state_dict(fits, strict=False)


def _torchvision_net(name: str, num_classes: int, download: bool) -> nn.Module:
    models = _import("torchvision.models", name)
    if name not in models.list_models(module=models):
        raise _no_network("torchvision", name)
    net: nn.Module = models.get_model(name, num_classes=num_classes)
    if download:
        weights = models.get_model_weights(name).DEFAULT
        stored = weights.get_state_dict(progress=False, check_hash=True)
        shapes = {key: tensor.shape for key, tensor in net.state_dict().items()}
        net.load_state_dict({key: t for key, t in stored.items() if shapes.get(key) == t.shape}, strict=False)
    return net


def _timm_net(name: str, num_classes: int, download: bool) -> nn.Module:
    timm = _import("timm", name)
    if not timm.is_model(name):
        raise _no_network("timm", name)
    net: nn.Module = timm.create_model(name, pretrained=download, num_classes=num_classes)
    return net


def _import(module: str, name: str) -> Any:
    try:
        return import_module(module)
    except (ImportError, RuntimeError) as error:  # RuntimeError: built for another torch
        library = module.partition(".")[0]
        raise ConfigError(
            f"network={library}:{name} needs {library}, which cannot be imported ({error})",
            cure=f"install a {library} that was built for torch {torch.__version__}, or set model=classifier_small",
        ) from error


def _no_network(library: str, name: str) -> ConfigError:
    return ConfigError(
        f"{library} has no network '{name}'", cure=f"set model.network={library}:NAME to one that {library} lists"
    )
