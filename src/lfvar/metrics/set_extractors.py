"""Feature spaces for distances between sets of images: which there are, and how to call a distance in each.

A name is `measurements` (our own, no network), `lite0` (the extra `lite`), `inception` (the extra `inception`) or the
path of a TorchScript file that takes RGB bytes, uint8 BCHW, and gives one vector per image, as the Inception files of
StyleGAN do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lfvar.data.files import hash_bytes
from lfvar.errors import ArtefactError, ConfigError, LfvarError
from lfvar.metrics.extractors import MEASUREMENTS, find_extractors
from lfvar.metrics.inception import LAYERS, Inception
from lfvar.nn.precision import float32_exact

INCEPTION = "inception"
NETWORKS = ("lite0", INCEPTION)
_SCRIPT_ENDINGS = (".pt", ".pth", ".ts", ".torchscript")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SetExtractor:
    """A network that gives vectors for images, one or several per image."""

    name: str
    weights_hash: str
    widths: Mapping[str, int] | None
    """Names and widths of several vectors, which `embed` returns side by side; None: it returns one."""
    embed: Callable[[NDArray[np.uint8]], Array]
    """RGB bytes BHWC to (B, D)."""

    def spaces(self, vectors_ND: Array) -> dict[str, Array]:
        """The feature spaces of what `embed` returned, by name; logits are no space."""
        if self.widths is None:
            return {self.name: vectors_ND}
        parts = np.split(vectors_ND, np.cumsum(list(self.widths.values()))[:-1], axis=1)
        named = dict(zip(self.widths, parts, strict=True))
        return {f"{self.name}-{layer}": part for layer, part in named.items() if not layer.startswith("logits")}

    def logits(self, vectors_ND: Array) -> Array | None:
        """The logits, for the Inception Score; None where the network has none."""
        if self.widths is None or "logits_unbiased" not in self.widths:
            return None
        return vectors_ND[:, -self.widths["logits_unbiased"] :]


def metric_title(metric: str, space: str) -> str:
    """What to call a metric in a space: FID and KID are Inception's, everything else names its extractor."""
    inception = space.startswith(f"{INCEPTION}-")
    layer = space.removeprefix(f"{INCEPTION}-")
    if metric == "fd":
        return f"FID-{layer}" if inception else f"FD({space})"
    if metric == "kid":
        return ("KID" if layer == "2048" else f"KID-{layer}") if inception else f"KD({space})"
    return f"{metric} ({space})"


def find_set_extractors(
    names: Sequence[str] | None, device: torch.device, *, inception_weights: str | None = None
) -> tuple[list[SetExtractor], list[str]]:
    """The networks of these names.

    Args:
        names: See above; `measurements` is passed over. None: those of `NETWORKS` that are installed, Inception only
            where its weights are given, since a download nobody asked for may hang.
        device: Where they run.
        inception_weights: The published file, by path.

    Returns:
        The extractors, and a note for each one that is left out.

    Raises:
        ConfigError: A name is unknown.
        ArtefactError: A name was asked for and cannot be had.
    """
    if names is None:
        found, notes = find_extractors(None, device)
        extractors = [_of_embedding(item.name, item.weights_hash, item.embed, device) for item in found]
        if inception_weights is None:
            return extractors, [*notes, "extractor inception is left out: give inception_weights=FILE, or name it"]
        try:
            return [*extractors, _inception(inception_weights, device)], notes
        except LfvarError as error:
            return extractors, [*notes, f"extractor inception is left out: {error.message} ({error.cure})"]
    extractors = []
    for name in dict.fromkeys(names):
        if name == INCEPTION:
            extractors.append(_inception(inception_weights, device))
        elif name.endswith(_SCRIPT_ENDINGS):
            extractors.append(_torchscript(Path(name), device))
        elif name in NETWORKS:
            (item,), _ = find_extractors([name], device)
            extractors.append(_of_embedding(item.name, item.weights_hash, item.embed, device))
        elif name != MEASUREMENTS:
            known = ", ".join((MEASUREMENTS, *NETWORKS))
            raise ConfigError(f"no extractor '{name}'", cure=f"use some of {known}, or the path of a TorchScript file")
    return extractors, []


def _of_embedding(
    name: str, weights_hash: str, network: Callable[[torch.Tensor], torch.Tensor], device: torch.device
) -> SetExtractor:
    def embed(image_BHWC: NDArray[np.uint8]) -> Array:
        image_BCHW = torch.from_numpy(image_BHWC).permute(0, 3, 1, 2).to(device).float().div(127.5).sub(1)
        with torch.no_grad(), float32_exact(device):
            return np.asarray(network(image_BCHW).double().cpu().numpy())

    return SetExtractor(name, weights_hash, None, embed)


def _inception(weights: str | None, device: torch.device) -> SetExtractor:
    network = Inception(weights, device)

    def embed(image_BHWC: NDArray[np.uint8]) -> Array:
        with float32_exact(device):
            return np.concatenate(list(network.embed(image_BHWC).values()), axis=1)

    return SetExtractor(INCEPTION, network.weights_hash, LAYERS, embed)


def _torchscript(path: Path, device: torch.device) -> SetExtractor:
    cure = "give a TorchScript file that takes uint8 images BCHW and returns one vector per image"
    if not path.is_file():
        raise ArtefactError(f"no TorchScript file at {path}", cure=cure)
    try:
        network = torch.jit.load(str(path), map_location=device).eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise ArtefactError(f"{path} is no TorchScript file: {str(error).splitlines()[0]}", cure=cure) from error

    def embed(image_BHWC: NDArray[np.uint8]) -> Array:
        image_BCHW = torch.from_numpy(np.ascontiguousarray(image_BHWC.transpose(0, 3, 1, 2))).to(device)
        try:
            with torch.no_grad(), float32_exact(device):
                vectors = network(image_BCHW)
        except RuntimeError as error:
            last = str(error).strip().splitlines()[-1]
            raise ArtefactError(f"{path} does not take images uint8 BCHW: {last}", cure=cure) from error
        if not isinstance(vectors, torch.Tensor) or vectors.ndim != 2 or len(vectors) != len(image_BHWC):
            shape = tuple(vectors.shape) if isinstance(vectors, torch.Tensor) else type(vectors).__name__
            raise ArtefactError(f"{path} gives {shape} for {len(image_BHWC)} images, not (B, D)", cure=cure)
        return np.asarray(vectors.double().cpu().numpy())

    return SetExtractor(path.stem, hash_bytes(path.read_bytes())[:12], None, embed)
