"""A tokenizer from any file that holds one, with what the file says about itself."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lfvar.errors import ConfigError
from lfvar.interop.checkpoints import load_vqvae, read_checkpoint
from lfvar.interop.pretrained_files import WEIGHTS_FILE, read_net
from lfvar.interop.published import PUBLISHED_256, PUBLISHED_512, load_published_vqvae
from lfvar.nn.vqvae import VQVAE

OURS = ".ckpt"
"""Suffix of our own checkpoints; files of any other are read as published weights."""

_PUBLISHED = {256: PUBLISHED_256, 512: PUBLISHED_512}


@dataclass(frozen=True)
class LoadedTokenizer:
    """A tokenizer in evaluation mode, on the CPU, and where it comes from."""

    net: VQVAE
    about: dict[str, Any]
    """Plain data: `file`, `sha256`, `kind`, `weights`, `step`, `trained_on_manifest`, `lfvar_version`."""


def load_tokenizer(
    path: Path,
    *,
    weights: Literal["ema", "last"] = "ema",
    patch_nums: tuple[int, ...] | None = None,
    image_size: int | None = None,
) -> LoadedTokenizer:
    """Load a checkpoint of ours (`.ckpt`), an exported folder, or published weights (any other suffix).

    Args:
        path: The file or folder.
        weights: Of our checkpoints: the average over training (where none was kept, the last step's), or the last
            step's.
        patch_nums: Schedule of published weights, which do not store it.
        image_size: Chooses the published schedule where `patch_nums` does not; None: 256.

    Raises:
        ArtefactError: When the file is missing, damaged, or holds another model.
        ConfigError: When no schedule was published for `image_size`, or a schedule is given for a checkpoint of ours.
    """
    if path.is_dir():
        net, config = read_net(path, "vqvae", "tokenizer")
        made_from = {"step": None, "trained_on_manifest": None, "weights": "ema", **config.get("made_from", {})}
        weights_file = path / WEIGHTS_FILE
        about = made_from | {"kind": "lfvar", "lfvar_version": config.get("lfvar_version")}
        return LoadedTokenizer(net, about | {"file": str(path), "sha256": hash_file(weights_file)})
    if path.suffix == OURS:
        if patch_nums is not None:
            raise ConfigError(
                f"patch_nums={list(patch_nums)} is for published weights; {path} stores its own schedule",
                cure="leave patch_nums out",
            )
        checkpoint = read_checkpoint(path)
        net = load_vqvae(path, weights)
        about = {
            "kind": "lfvar",
            "weights": weights if "ema" in checkpoint else "last",
            "step": checkpoint.get("global_step"),
            "trained_on_manifest": checkpoint.get("LesionDataModule", {}).get("manifest_hash"),
            "lfvar_version": checkpoint["lfvar"].get("lfvar_version"),
        }
    else:
        if patch_nums is None and (image_size or 256) not in _PUBLISHED:
            raise ConfigError(
                f"no schedule was published for image_size={image_size}",
                cure=f"use image_size={' or '.join(map(str, _PUBLISHED))}, or give patch_nums=[…]",
            )
        net = load_published_vqvae(path, patch_nums or _PUBLISHED[image_size or 256])
        about = {
            "kind": "published",
            "weights": "published",
            "step": None,
            "trained_on_manifest": None,
            "lfvar_version": None,
        }
    return LoadedTokenizer(net, {"file": str(path), "sha256": hash_file(path), **about})


def hash_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
