"""What turns images into features for distances between sets, and into distances between pairs: by name, if installed.

Everything here is optional: `measurements` needs no network and is always there (see `measurement_features`); `lite0`
needs the `lite` extra. A name that was asked for and is not there is an error, one that was not is a note.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from lfvar.errors import ConfigError, LfvarError
from lfvar.measure.schema import FEATURE_NAMES
from lfvar.measure.standardise import Standardiser
from lfvar.metrics.preservation import FOLLOWS_FROM_MASK
from lfvar.metrics.regions import REGIONS
from lfvar.nn.features import FeatureNetwork

MEASUREMENTS = "measurements"
"""The extractor that is no network: our own measurements of the lesion."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class FeatureExtractor:
    """A network that gives one vector per image."""

    name: str
    weights_hash: str
    embed: Callable[[Tensor], Tensor]
    """`image_BCHW` in [-1, 1] to (B, D)."""


class PairDistance(Protocol):
    """A perceptual loss, as those of `lfvar.losses.perceptual`."""

    def __call__(self, recon_BCHW: Tensor, image_BCHW: Tensor, weight_B1HW: Tensor | None) -> Tensor:
        """Scalar; the weight has mean 1 per image."""


@dataclass(frozen=True)
class PerceptualDistance:
    """A distance between a reconstruction and its image."""

    name: str
    distance: PairDistance

    def region_values(self, recon_BCHW: Tensor, image_BCHW: Tensor, mask_B1HW: Tensor) -> dict[str, Tensor]:
        """The distance of each image in each region, float64 (B,); infinite where an image lacks the region.

        A region is a weight on the positions of each feature map, so near its border a value sees both sides.
        """
        rows = []
        images = zip(recon_BCHW.clamp(-1, 1).split(1), image_BCHW.split(1), mask_B1HW.split(1), strict=True)
        for recon_1CHW, image_1CHW, mask_11HW in images:
            masks = (mask_11HW, 1 - mask_11HW, torch.ones_like(mask_11HW))
            rows.append([self._one(recon_1CHW, image_1CHW, region_11HW) for region_11HW in masks])
        values_BR = torch.tensor(rows, dtype=torch.float64).view(-1, len(REGIONS))
        return {f"{self.name}_{region}": values_BR[:, index] for index, region in enumerate(REGIONS)}

    @torch.no_grad()
    def _one(self, recon_1CHW: Tensor, image_1CHW: Tensor, region_11HW: Tensor) -> float:
        share = float(region_11HW.mean())
        if share == 0:
            return float("inf")
        return float(self.distance(recon_1CHW, image_1CHW, None if share == 1 else region_11HW / share))


class OncePerImage(FeatureNetwork):
    """A network that remembers its last two inputs: the regions of one pair of images share its feature maps.

    Args:
        network: Constant, so that the same tensor has the same maps.
    """

    def __init__(self, network: FeatureNetwork) -> None:
        super().__init__()
        self.network = network
        self.name, self.channels, self.weights_hash = network.name, network.channels, network.weights_hash
        self._last: deque[tuple[Tensor, list[Tensor]]] = deque(maxlen=2)

    def forward(self, image_BCHW: Tensor) -> list[Tensor]:
        """As `FeatureNetwork`."""
        for seen_BCHW, maps in self._last:
            if seen_BCHW is image_BCHW:
                return maps
        maps = self.network(image_BCHW)
        self._last.append((image_BCHW, maps))
        return maps


def measurement_features(values_NM: NDArray[np.float64], standardiser: Standardiser) -> NDArray[np.float64]:
    """Standardised measurements that depend on the image: those the shared mask decides would only dilute a distance.

    Args:
        values_NM: In schema order, NaN where missing.
        standardiser: Fitted on real training images.

    Returns:
        (N, D) in [-clip, clip]; a missing or infinite value stands at 0, the training mean, on either side.

    Raises:
        ArtefactError: When the standardiser has other features.
    """
    standardiser.require_names(FEATURE_NAMES)
    standardised_NM, _ = standardiser.transform(pd.DataFrame(values_NM, columns=list(FEATURE_NAMES)))
    return standardised_NM[:, ~FOLLOWS_FROM_MASK].astype(np.float64)


def standardiser_hash(standardiser: Standardiser) -> str:
    """What stands in for a weights hash of the measurements: their scales decide the distance."""
    return hashlib.sha256(json.dumps(standardiser.to_dict(), sort_keys=True).encode()).hexdigest()[:12]


def find_extractors(names: Sequence[str] | None, device: torch.device) -> tuple[list[FeatureExtractor], list[str]]:
    """The networks of these names.

    Args:
        names: Of `_EXTRACTORS`, and "measurements", which is passed over; None: all that are installed.
        device: Where they run.

    Returns:
        The extractors, and a note for each one that is not installed.

    Raises:
        ConfigError: A name is unknown.
        ArtefactError: A name was asked for and its extra is not installed.
    """
    return _find("extractor", _EXTRACTORS, names, device, besides=(MEASUREMENTS,))


def find_distances(names: Sequence[str] | None, device: torch.device) -> tuple[list[PerceptualDistance], list[str]]:
    """The perceptual distances of these names; as `find_extractors`."""
    return _find("perceptual distance", _DISTANCES, names, device)


def _find(
    what: str,
    known: Mapping[str, Callable[[torch.device], Found]],
    names: Sequence[str] | None,
    device: torch.device,
    besides: Sequence[str] = (),
) -> tuple[list[Found], list[str]]:
    unknown = [name for name in names or () if name not in (*known, *besides)]
    if unknown:
        raise ConfigError(f"no {what} '{unknown[0]}'", cure=f"use some of {', '.join((*besides, *known))}")
    found: list[Found] = []
    notes: list[str] = []
    for name, make in known.items():
        if names is not None and name not in names:
            continue
        try:
            found.append(make(device))
        except LfvarError as error:
            if names is not None:
                raise
            notes.append(f"{what} {name} is left out: {error.message} ({error.cure})")
    return found, notes


def _structure(device: torch.device) -> PerceptualDistance:
    from lfvar.losses.structure import StructureLoss

    return PerceptualDistance("structure", StructureLoss().to(device))


def _perceptual_lite0(device: torch.device) -> PerceptualDistance:
    from lfvar.losses.perceptual import FeatureLoss
    from lfvar.nn.lite import load_lite0

    return PerceptualDistance("perceptual_lite0", FeatureLoss(OncePerImage(load_lite0())).to(device))


def _lite0(device: torch.device) -> FeatureExtractor:
    from lfvar.nn.lite import load_lite0

    network = load_lite0().to(device)
    return FeatureExtractor("lite0", network.weights_hash, network.embed)


_EXTRACTORS: dict[str, Callable[[torch.device], FeatureExtractor]] = {"lite0": _lite0}
_DISTANCES: dict[str, Callable[[torch.device], PerceptualDistance]] = {
    "structure": _structure,
    "perceptual_lite0": _perceptual_lite0,
}
