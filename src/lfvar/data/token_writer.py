"""Make a token cache: encode every image in all 8 positions; a killed run goes on where it stopped."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import lfvar
from lfvar.data.dataset import to_model_range
from lfvar.data.files import hash_bytes, is_full_disk, replace_file
from lfvar.data.imageio import read_image, read_mask
from lfvar.data.journal import Journal
from lfvar.data.manifest import Manifest, ManifestRow
from lfvar.data.pairs import full_disk_error
from lfvar.data.records import PairError
from lfvar.data.token_cache import (
    HEADER_FILE,
    IDS_FILE,
    MASKS_FILE,
    MAX_VOCAB_SIZE,
    SKIN_FILE,
    TokenCache,
    TokenizerIdentity,
    cache_key,
    hash_content,
    read_header,
)
from lfvar.errors import ArtefactError, ConfigError
from lfvar.measure.symmetry import SYMMETRIES, move_image
from lfvar.progress import ProgressBar

Encode = Callable[[Tensor], Sequence[Tensor]]
"""`VQVAE.encode_ids`: images (B, 3, H, W) in [-1, 1] to K token maps (B, p_k²), in float32."""
TakeLesion = Callable[[Tensor, Tensor], Tensor]
"""Images (B, 3, H, W) and masks (B, 1, H, W) to images with skin in the place of their lesions; row by row."""

_JOURNAL_FILE = "journal.jsonl"
_BUILDING = "building-"
"""Prefix of arrays that are not complete; gone when the cache is."""


@dataclass(frozen=True)
class TokenReport:
    """What was done."""

    folder: Path
    num_images: int
    num_new: int
    """Encoded now; the others were there, from a run that was killed or from an earlier manifest."""
    num_bytes: int
    seconds: float

    def __str__(self) -> str:
        rate = f" ({self.num_new / self.seconds:.0f}/s, {self.seconds:.1f} s)" if self.num_new else ""
        return (
            f"{self.num_images} images in {len(SYMMETRIES)} positions as tokens in '{self.folder}': {self.num_new} now"
            f"{rate}, the others kept; {self.num_bytes / 1e6:.1f} MB"
        )


def write_token_cache(
    folder: Path,
    prepared: Path,
    manifest: Manifest,
    identity: TokenizerIdentity,
    encode: Encode,
    take_lesion: TakeLesion,
    *,
    command: str,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    about: dict[str, Any] | None = None,
) -> TokenReport:
    """Encode what the cache lacks.

    Ids of images that an earlier manifest had (another split, some images more or less) are taken over.

    Args:
        folder: Of the cache; created when missing.
        prepared: The prepared folder.
        manifest: Of that folder.
        identity: Of the tokenizer.
        encode: Its `encode_ids`.
        take_lesion: `lfvar.sampling.filling.without_lesion`.
        command: The command line, for errors about this cache.
        batch_size: Views encoded at once; no id depends on it, up to near-ties of the nearest code.
        device: Where the tokenizer is.
        about: Plain data on where the tokenizer comes from, kept in the header.

    Raises:
        ConfigError: When the tokenizer takes images of another size or has more codes than 16 bits can name.
        ArtefactError: When prepared files are missing or were changed; what is encoded so far is kept.
        DataError: When another process makes this cache, or the disk is full.
    """
    start = time.monotonic()
    folder = Path(folder)
    _check_fit(manifest, identity, batch_size)
    new = 0
    if not _is_finished(folder, manifest, identity):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with Journal(folder / _JOURNAL_FILE, cache_key(manifest, identity)) as journal:
                building = _Building.open(folder, manifest, identity, journal)
                new = building.fill(prepared, manifest, encode, take_lesion, batch_size, torch.device(device))
                facts = {"device": str(device), "torch_version": torch.__version__, "tokenizer": about or {}}
                building.finish(manifest, cache_key(manifest, identity), command, facts)
                journal.path.unlink()
        except OSError as error:
            if is_full_disk(error):
                raise full_disk_error(folder) from error
            raise
    return TokenReport(
        folder=folder,
        num_images=len(manifest.rows),
        num_new=new,
        num_bytes=sum((folder / name).stat().st_size for name in (IDS_FILE, SKIN_FILE, MASKS_FILE)),
        seconds=time.monotonic() - start,
    )


@dataclass
class _Building:
    """The arrays of a cache that is being made, and which rows are done."""

    folder: Path
    ids_NSL: NDArray[np.uint16]
    skin_NSL: NDArray[np.uint16]
    masks_NHb: NDArray[np.uint8]
    journal: Journal
    done_N: NDArray[np.bool_]

    @classmethod
    def open(cls, folder: Path, manifest: Manifest, identity: TokenizerIdentity, journal: Journal) -> _Building:
        """Go on with the arrays of a killed run, or begin with what an earlier cache has."""
        size, count = identity.image_size, len(manifest.rows)
        of_ids = (count, len(SYMMETRIES), identity.num_tokens)
        shapes = {IDS_FILE: of_ids, SKIN_FILE: of_ids, MASKS_FILE: (count, size, (size + 7) // 8)}
        types: dict[str, Any] = {IDS_FILE: np.uint16, SKIN_FILE: np.uint16, MASKS_FILE: np.uint8}
        done_N = np.zeros(count, np.bool_)
        for name in shapes:  # a run that was killed while it put its arrays in place; what it had not come to is older
            building = folder / f"{_BUILDING}{name}"
            if not (folder / HEADER_FILE).exists() and (folder / name).exists() and not building.exists():
                os.replace(folder / name, building)
        arrays = [_reopen(folder / f"{_BUILDING}{name}", shapes[name], types[name]) for name in shapes]
        if journal.items and all(array is not None for array in arrays):
            for item in journal.items:
                if item.get("afresh", False):
                    done_N[:] = False
                done_N[item["rows"]] = True
        else:
            journal.append({"rows": [], "afresh": True})  # rows noted before belong to arrays that are gone
            arrays = [_create(folder / f"{_BUILDING}{name}", shapes[name], types[name]) for name in shapes]
        ids_NSL, skin_NSL, masks_NHb = arrays
        assert ids_NSL is not None
        assert skin_NSL is not None
        assert masks_NHb is not None
        whole = cls(folder, ids_NSL, skin_NSL, masks_NHb, journal, done_N)
        if not done_N.any():
            whole._take_over(manifest, identity)
        return whole

    def fill(
        self,
        prepared: Path,
        manifest: Manifest,
        encode: Encode,
        take_lesion: TakeLesion,
        batch_size: int,
        device: torch.device,
    ) -> int:
        """Encode the rows that are not done; returns how many."""
        pending = np.flatnonzero(~self.done_N).tolist()
        portion = max(1, batch_size // len(SYMMETRIES))
        with ProgressBar(len(self.done_N), f"encoding {manifest.header.name}") as bar:
            bar.skip(len(self.done_N) - len(pending))
            for first in range(0, len(pending), portion):
                rows = pending[first : first + portion]
                pairs = [_read_pair(prepared, manifest.rows[row], manifest.header.command) for row in rows]
                self.ids_NSL[rows], self.skin_NSL[rows] = _encode_views(pairs, encode, take_lesion, batch_size, device)
                self.masks_NHb[rows] = np.stack([np.packbits(mask_HW, axis=-1) for _, mask_HW in pairs])
                self._note(rows)
                bar.advance(len(rows))
        return len(pending)

    def finish(self, manifest: Manifest, key: dict[str, Any], command: str, facts: dict[str, Any]) -> None:
        """Put the arrays in place; the header comes last, and an old one goes first."""
        header = {
            "key": key,
            "content_hash": hash_content(self.ids_NSL, self.skin_NSL, self.masks_NHb),
            "command": command,
            "lfvar_version": lfvar.__version__,
            **facts,
            "images": _image_keys(manifest),
        }
        (self.folder / HEADER_FILE).unlink(missing_ok=True)
        for name in (IDS_FILE, SKIN_FILE, MASKS_FILE):
            os.replace(self.folder / f"{_BUILDING}{name}", self.folder / name)
        replace_file(self.folder / HEADER_FILE, json.dumps(header, indent=1).encode(), sync=True)

    def _note(self, rows: list[int]) -> None:
        """Rows count as done once they are with the disk, in that order."""
        for array in (self.ids_NSL, self.skin_NSL, self.masks_NHb):
            assert isinstance(array, np.memmap)
            array.flush()
        self.done_N[rows] = True
        self.journal.append({"rows": rows})

    def _take_over(self, manifest: Manifest, identity: TokenizerIdentity) -> None:
        """Copy the rows of the same files from a finished cache of the same tokenizer but another manifest."""
        try:
            header = read_header(self.folder, "")
            old = TokenCache(self.folder, header, {})
            old.check_content("")
        except (ArtefactError, KeyError, TypeError, ValueError):
            return
        key, wanted = header["key"], cache_key(manifest, identity)
        if {**key, "manifest_hash": ""} != {**wanted, "manifest_hash": ""}:
            return
        row_of = {name: row for row, name in enumerate(header["images"])}
        pairs = [(row, row_of[name]) for row, name in enumerate(_image_keys(manifest)) if name in row_of]
        if pairs:
            here, there = (list(rows) for rows in zip(*pairs, strict=True))
            self.ids_NSL[here], self.skin_NSL[here] = old.ids[there], old.skin[there]
            self.masks_NHb[here] = old.masks[there]
            self._note(here)


def _encode_views(
    pairs: Sequence[tuple[NDArray[np.uint8], NDArray[np.bool_]]],
    encode: Encode,
    take_lesion: TakeLesion,
    batch_size: int,
    device: torch.device,
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Ids of every position of each image (N, 8, L), as it is and without its lesion."""
    views = [[move_image(picture, *how) for picture in pair] for pair in pairs for how in SYMMETRIES]
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    for first in range(0, len(views), batch_size):
        part = views[first : first + batch_size]
        image_BCHW = torch.stack([to_model_range(image_HWC) for image_HWC, _ in part]).to(device)
        mask_B1HW = torch.from_numpy(np.stack([mask_HW for _, mask_HW in part]))[:, None].to(device)
        ids_BL = torch.cat(list(encode(image_BCHW)), 1)
        skin_BL, lesion_B = ids_BL.clone(), mask_B1HW.flatten(1).any(1)
        if lesion_B.any():
            bare_BCHW = take_lesion(image_BCHW[lesion_B], mask_B1HW[lesion_B])
            skin_BL[lesion_B] = torch.cat(list(encode(bare_BCHW)), 1)
        for pieces, piece_BL in zip(found, (ids_BL, skin_BL), strict=True):
            pieces.append(piece_BL.cpu())
    ids, skin = (
        torch.cat(pieces).numpy().astype(np.uint16).reshape(len(pairs), len(SYMMETRIES), -1) for pieces in found
    )
    return ids, skin


def _check_fit(manifest: Manifest, identity: TokenizerIdentity, batch_size: int) -> None:
    if identity.image_size != manifest.header.image_size:
        raise ConfigError(
            f"the tokenizer takes {identity.image_size} pixels, the prepared images have {manifest.header.image_size}",
            cure=f"prepare the images with image_size={identity.image_size}, or give another tokenizer",
        )
    if identity.vocab_size > MAX_VOCAB_SIZE:
        raise ConfigError(
            f"the tokenizer has {identity.vocab_size} codes; a token cache holds 16-bit ids",
            cure=f"train without a cache, or use a tokenizer of at most {MAX_VOCAB_SIZE} codes",
        )
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size} views at once", cure="use 1 or more")


def _is_finished(folder: Path, manifest: Manifest, identity: TokenizerIdentity) -> bool:
    try:
        TokenCache.open(folder, manifest, identity)
    except ArtefactError:
        return False
    return True


def _image_keys(manifest: Manifest) -> list[str]:
    """The files of each row by content."""
    return [f"{row.image_hash} {row.mask_hash}" for row in manifest.rows]


def _read_pair(prepared: Path, row: ManifestRow, command: str) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Image and mask of a row, as the manifest knows them."""
    try:
        for path, expected in _files(prepared, row):
            if hash_bytes(path.read_bytes()) != expected:
                raise PairError(f"{path} was changed after it was prepared")
        return read_image(prepared / row.image), read_mask(prepared / row.mask)
    except (PairError, OSError) as error:
        raise ArtefactError(
            f"prepared image {row.image_id}: {error}", cure=f"prepare again, which mends what is missing: {command}"
        ) from error


def _files(prepared: Path, row: ManifestRow) -> Iterable[tuple[Path, str]]:
    return ((prepared / row.image, row.image_hash), (prepared / row.mask, row.mask_hash))


def _create(path: Path, shape: tuple[int, ...], kind: Any) -> NDArray[Any]:
    array = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape)
    if hasattr(os, "posix_fallocate"):  # a full disk is an error here, and a crash when a mapped page finds no room
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _reopen(path: Path, shape: tuple[int, ...], kind: Any) -> NDArray[Any] | None:
    """The array of a killed run; None when it is not whole."""
    try:
        array = np.lib.format.open_memmap(path, mode="r+")
    except (OSError, ValueError):
        return None
    return array if array.shape == shape and array.dtype == kind else None
