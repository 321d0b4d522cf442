"""Feature networks: trained elsewhere, constant here, the eyes of perceptual losses and feature distances."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from lfvar.errors import ArtefactError


class FeatureNetwork(nn.Module):
    """A network that yields feature maps, fine to coarse."""

    name: str
    """What reports call it."""
    channels: tuple[int, ...]
    """Channels of each feature map."""
    weights_hash: str
    """`hash_weights` of what was loaded: numbers from networks of different hashes do not compare."""

    def forward(self, image_BCHW: Tensor) -> list[Tensor]:
        """Feature maps BCHW of images in [-1, 1], one for each of `channels`; the network normalises its input itself.

        Convolutions run in the precision around them (autocast); maps come out in the precision they were made in.
        """
        raise NotImplementedError


def hash_weights(state: Mapping[str, Tensor]) -> str:
    """The first 12 hex digits of SHA-256 over names, shapes and float32 values, in the order of names.

    It depends on the weights alone, not on the file they came in.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        values = state[name].detach().float().cpu().contiguous().numpy()
        digest.update(f"{name}{tuple(values.shape)}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()[:12]


def read_tensors(path: Path, *, cure: str) -> dict[str, Tensor]:
    """Named tensors of a file, on the CPU; nothing in it is executed.

    Args:
        path: A state dict as `torch.save` writes it.
        cure: What to do when it is missing or something else.

    Raises:
        ArtefactError: When there is no such file, or it holds anything but named tensors.
    """
    if not path.is_file():
        raise ArtefactError(f"no weights at {path}", cure=cure)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types for damaged files
        raise ArtefactError(f"{path} cannot be read as tensors ({type(error).__name__})", cure=cure) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ArtefactError(f"{path} holds no named tensors", cure=cure)
    return dict(state)


def require_tensors(state: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], *, cure: str) -> None:
    """Check that weights are those of the network that is about to take them.

    Args:
        state: What was read; more than is needed is fine.
        shapes: What is needed.
        cure: What to do when it is not there.

    Raises:
        ArtefactError: Names what is missing or has another shape.
    """
    wrong = [
        f"{name} is {tuple(state[name].shape)} instead of {shape}" if name in state else f"{name} is missing"
        for name, shape in shapes.items()
        if name not in state or tuple(state[name].shape) != shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ArtefactError(f"these are other weights: {'; '.join(wrong[:3])}{more}", cure=cure)
