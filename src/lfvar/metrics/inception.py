"""Inception v3 as FID has it: the extra `inception`, with weights downloaded once or given by path.

The network, its resizing and its weights are those of torch-fidelity, which torchmetrics uses too, so distances in its
features are FID by everyone's definition. Only they are called so.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lfvar.errors import ArtefactError
from lfvar.nn.features import hash_weights, read_tensors

WEIGHTS_URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)
LAYERS: Mapping[str, int] = MappingProxyType({"64": 64, "192": 192, "768": 768, "2048": 2048, "logits_unbiased": 1008})
"""What is taken out of the network, and its width."""
MIN_COUNT_2048 = 2048
"""Fewer images do not even span the 2048 dimensions: two halves of one set are then 9 to 160 apart."""

_INSTALL = "pip install 'lfvar[inception]', with the torchvision that belongs to your torch build"


class Inception:
    """Inception v3 with its features at four depths and its logits.

    Args:
        weights: The published file; None: torch-fidelity's own copy, downloaded at the first use.
        device: Where it runs.

    Raises:
        ArtefactError: When the extra is not installed, or the weights are missing, damaged or another network's.
    """

    def __init__(self, weights: str | Path | None = None, device: torch.device | str = "cpu") -> None:
        if weights is not None:
            read_tensors(Path(weights), cure=_place())  # a readable file, and nothing in it is executed
        self.network = _build(weights).to(device).eval()
        self.weights_hash = hash_weights(dict(self.network.state_dict()))

    @torch.no_grad()
    def embed(self, image_BHWC: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
        """Features of RGB bytes, (B, width) by layer."""
        device = next(self.network.parameters()).device
        image_BCHW = torch.from_numpy(np.ascontiguousarray(image_BHWC.transpose(0, 3, 1, 2))).to(device)
        layers: tuple[Tensor, ...] = self.network(image_BCHW)
        return {
            name: layer.reshape(len(image_BHWC), -1).double().cpu().numpy()
            for name, layer in zip(LAYERS, layers, strict=True)
        }


def _build(weights: str | Path | None) -> nn.Module:
    try:
        module = import_module("torch_fidelity.feature_extractor_inceptionv3")
    except (ImportError, RuntimeError, AttributeError) as error:  # torchvision of another build fails in its own ways
        raise ArtefactError(f"Inception cannot be imported: {str(error).splitlines()[0]}", cure=_INSTALL) from error
    path = None if weights is None else str(weights)
    try:
        network: nn.Module = module.FeatureExtractorInceptionV3(
            "inception-v3-compat", list(LAYERS), feature_extractor_weights_path=path
        )
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        what = f"{weights} does not hold the weights of Inception" if weights else "Inception's weights cannot be had"
        raise ArtefactError(f"{what}: {first}", cure=_place()) from error
    return network


def _place() -> str:
    return f"fetch {WEIGHTS_URL} on a machine with internet, copy it here and set inception_weights=FILE"
