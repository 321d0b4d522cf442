"""Token ids of all images in all 8 positions, so that the transformer trains without touching the tokenizer.

A cache is a folder, `tokens/<tokenizer>` below the prepared one unless told otherwise:

- `ids.npy`, uint16 (N, 8, L), memory-mapped: images in the order of the manifest, positions in the order of
  `lfvar.measure.symmetry.SYMMETRIES`, tokens coarse to fine and row by row;
- `skin.npy`, uint16 (N, 8, L): the same of the images with skin in the place of their lesions;
- `masks.npy`, uint8 (N, H, ⌈W/8⌉), the masks as prepared, one bit per pixel;
- `header.json`: what made it. Written last: without it there is no cache.

`lfvar.data.token_writer` makes it. A cache is only ever read for the tokenizer and the manifest that made it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lfvar.data.manifest import Manifest, find_differences, plain
from lfvar.errors import ArtefactError
from lfvar.measure.symmetry import SYMMETRIES, move_image
from lfvar.scales import ScaleSchedule

FORMAT_VERSION = 2
"""Raised with every change of files, header or meaning."""

HEADER_FILE = "header.json"
IDS_FILE = "ids.npy"
SKIN_FILE = "skin.npy"
MASKS_FILE = "masks.npy"

MAX_VOCAB_SIZE = 1 << 16
"""Codes that 16 bits can name."""

_NOT_IN_IDS = ("decoder.", "from_latent.")
"""Weights that no token id depends on: a tokenizer whose decoder is fine-tuned keeps its caches."""
_NOT_IN_SETTINGS = ("dropout",)


class Tokenizer(Protocol):
    """What this module wants of `lfvar.nn.vqvae.VQVAE` (`data` does not import `nn`)."""

    config: Any

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Trainable weights."""

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Other tensors; all weights, where the tokenizer is frozen."""

    def encode_ids(self, image_BCHW: Tensor) -> list[Tensor]:
        """Images in [-1, 1] to K int64 tensors (B, p_k²), in float32 from end to end."""


@dataclass(frozen=True)
class TokenizerIdentity:
    """What decides token ids, and the shape of what comes out."""

    hash: str
    """SHA-256 of every setting and weight that ids depend on: the decoder is none, names of files are none."""
    patch_nums: tuple[int, ...]
    vocab_size: int
    image_size: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> TokenizerIdentity:
        """The identity of a tokenizer; the same for a frozen one (`lfvar.nn.frozen.freeze`) and on any device."""
        settings = {name: value for name, value in asdict(tokenizer.config).items() if name not in _NOT_IN_SETTINGS}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        tensors = dict(tokenizer.named_parameters()) | dict(tokenizer.named_buffers())
        for name in sorted(tensors):
            if not name.startswith(_NOT_IN_IDS):
                tensor = tensors[name].detach().cpu().contiguous()
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
        config = tokenizer.config
        return cls(digest.hexdigest(), tuple(config.patch_nums), config.vocab_size, config.image_size)

    @property
    def num_tokens(self) -> int:
        """L."""
        return ScaleSchedule(self.patch_nums).num_tokens


def cache_folder(prepared: Path, identity: TokenizerIdentity) -> Path:
    """Where the cache of a tokenizer lies by default: caches of several tokenizers live beside each other."""
    return Path(prepared) / "tokens" / identity.hash[:16]


def cache_key(manifest: Manifest, identity: TokenizerIdentity) -> dict[str, Any]:
    """Everything that decides the content of a cache, as plain data."""
    key: dict[str, Any] = plain(
        {
            "format_version": FORMAT_VERSION,
            "tokenizer_hash": identity.hash,
            "patch_nums": identity.patch_nums,
            "vocab_size": identity.vocab_size,
            "image_size": identity.image_size,
            "manifest_hash": manifest.hash,
            "symmetries": SYMMETRIES,
        }
    )
    return key


def hash_content(*arrays: NDArray[Any]) -> str:
    """The SHA-256 of the bytes of memory-mapped arrays, read in pieces."""
    digest = hashlib.sha256()
    for array in arrays:
        flat = array.reshape(-1)
        for start in range(0, len(flat), 1 << 22):
            digest.update(flat[start : start + (1 << 22)].data)
    return digest.hexdigest()


@dataclass(frozen=True)
class TokenCache:
    """A finished cache; `TokenCache.open(…)` gives one. Pickles without its arrays, for loading processes."""

    folder: Path
    header: Mapping[str, Any]
    row_of: Mapping[str, int]
    """Row of each image id."""

    @classmethod
    def open(
        cls, folder: Path, manifest: Manifest, identity: TokenizerIdentity, *, command: str | None = None
    ) -> TokenCache:
        """Open the cache of a tokenizer and a manifest.

        Args:
            folder: `cache_folder(…)`, or where else it was put.
            manifest: Of the prepared folder.
            identity: Of the tokenizer that its user works with.
            command: What makes it, for errors; None: the command that made what is there.

        Raises:
            ArtefactError: When it is missing, damaged, or was made by another tokenizer, from other images or with
                other settings. It names the command that makes it.
        """
        header = read_header(folder, command or "python -m lfvar.prepare stage=tokens ckpt=…")
        cure = f"make it again, which keeps what is unchanged: {command or header['command']}"
        differences = find_differences(header["key"], cache_key(manifest, identity))
        if differences:
            raise ArtefactError(
                f"the token cache '{folder}' was made for something else: {'; '.join(differences)}", cure=cure
            )
        cache = cls(Path(folder), header, {row.image_id: index for index, row in enumerate(manifest.rows)})
        cache.check_content(cure)
        return cache

    def check_content(self, cure: str) -> None:
        """Make sure that nothing was changed or cut off.

        Raises:
            ArtefactError: When the arrays are not those that were written.
        """
        key = self.header["key"]
        shape = (len(self.header["images"]), len(SYMMETRIES), ScaleSchedule(tuple(key["patch_nums"])).num_tokens)
        try:
            fits = all(array.shape == shape and array.dtype == np.uint16 for array in (self.ids, self.skin))
            fits = fits and hash_content(self.ids, self.skin, self.masks) == self.header["content_hash"]
        except (OSError, ValueError) as error:  # missing, cut short, not an array
            raise ArtefactError(f"the token cache '{self.folder}' is damaged: {error}", cure=cure) from error
        if not fits:
            raise ArtefactError(f"the token cache '{self.folder}' was changed after it was made", cure=cure)

    @cached_property
    def ids(self) -> NDArray[np.uint16]:
        """Memory-mapped, (N, 8, L): image, position, token."""
        return np.load(self.folder / IDS_FILE, mmap_mode="r", allow_pickle=False)

    @cached_property
    def skin(self) -> NDArray[np.uint16]:
        """Memory-mapped, (N, 8, L), of the images without their lesions."""
        return np.load(self.folder / SKIN_FILE, mmap_mode="r", allow_pickle=False)

    @cached_property
    def masks(self) -> NDArray[np.uint8]:
        """Memory-mapped, (N, H, ⌈W/8⌉), a bit per pixel."""
        return np.load(self.folder / MASKS_FILE, mmap_mode="r", allow_pickle=False)

    @property
    def schedule(self) -> ScaleSchedule:
        """Of the token maps."""
        return ScaleSchedule(tuple(self.header["key"]["patch_nums"]))

    @property
    def manifest_hash(self) -> str:
        """Of the manifest it was made for."""
        return str(self.header["key"]["manifest_hash"])

    @property
    def tokenizer_hash(self) -> str:
        """`TokenizerIdentity.hash` of the tokenizer that made it."""
        return str(self.header["key"]["tokenizer_hash"])

    def get_ids(self, image_id: str, symmetry: int = 0) -> Tensor:
        """Token ids of an image, flipped or turned, int64 (L,)."""
        return torch.from_numpy(self.ids[self.row_of[image_id], symmetry].astype(np.int64))

    def get_skin_ids(self, image_id: str, symmetry: int = 0) -> Tensor:
        """Token ids of an image without its lesion, flipped or turned, int64 (L,)."""
        return torch.from_numpy(self.skin[self.row_of[image_id], symmetry].astype(np.int64))

    def get_mask(self, image_id: str, symmetry: int = 0) -> Tensor:
        """The mask of an image, flipped or turned, bool (1, H, W)."""
        side = int(self.header["key"]["image_size"])
        mask_HW = np.unpackbits(self.masks[self.row_of[image_id]], axis=-1, count=side).view(np.bool_)
        return torch.from_numpy(move_image(mask_HW, *SYMMETRIES[symmetry])[None])

    def __getstate__(self) -> dict[str, Any]:
        """Without the arrays, which pickle as all their content."""
        return {name: getattr(self, name) for name in ("folder", "header", "row_of")}


def read_header(folder: Path, command: str) -> Mapping[str, Any]:
    """What made a cache.

    Raises:
        ArtefactError: When there is no finished cache, or its header is damaged.
    """
    path = Path(folder) / HEADER_FILE
    try:
        header: Mapping[str, Any] = json.loads(path.read_text())
        for name in ("key", "images", "content_hash", "command"):
            header[name]
    except FileNotFoundError as error:
        raise ArtefactError(f"no token cache in '{folder}'", cure=f"make it: {command}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"'{path}' is damaged: {error!r}", cure=f"make it again: {command}") from error
    return header
