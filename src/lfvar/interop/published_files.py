"""What published checkpoints have in common as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from lfvar.errors import ArtefactError


def read_published(path: str | Path, keys: Sequence[str], *, example: str) -> dict[str, Tensor]:
    """The named tensors of one net in a published file.

    Nothing in the file is executed (`weights_only=True`).

    Args:
        path: A `.pth` file.
        keys: Under which of these the net lies, outermost first; those that a file does not have are passed over. What
            `torch.compile` and DDP put before names is taken off.
        example: A file that would do, for the error.

    Raises:
        ArtefactError: When the file is missing, unreadable, or holds no named tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise ArtefactError(f"no checkpoint at {path}", cure=f"check the path; VAR publishes {example}")
    try:
        loaded: object = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types for damaged files
        raise ArtefactError(
            f"{path} cannot be read as tensors ({type(error).__name__})",
            cure="download it again; files that need arbitrary unpickling are refused on purpose",
        ) from error
    return named_tensors(loaded, keys)


def named_tensors(loaded: object, keys: Sequence[str]) -> dict[str, Tensor]:
    """As `read_published`, of what was read already."""
    for key in keys:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(isinstance(tensor, Tensor) for tensor in loaded.values()):
        raise ArtefactError("the checkpoint holds no named tensors", cure="give a state dict, not a pickled model")
    return {str(name).removeprefix("module.").removeprefix("_orig_mod."): tensor for name, tensor in loaded.items()}


def fill(net: nn.Module, state: Mapping[str, Tensor], path: str | Path, *, cure: str) -> None:
    """Load weights that must fit exactly.

    Raises:
        ArtefactError: When some are missing or left over.
    """
    missing, unexpected = net.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise ArtefactError(
            f"{path} does not fit the published layout: missing {missing[:3]}, unexpected {unexpected[:3]}", cure=cure
        )
