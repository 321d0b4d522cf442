"""A transformer with the tokenizer whose tokens it learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lfvar.data.token_cache import TokenizerIdentity
from lfvar.errors import ArtefactError
from lfvar.interop.checkpoints import ConditionMeaning, LoadedVAR, load_var
from lfvar.interop.pretrained_files import WEIGHTS_FILE, is_pretrained, read_net
from lfvar.interop.tokenizers import OURS, LoadedTokenizer, hash_file, load_tokenizer
from lfvar.measure.standardise import Standardiser

_CHECKPOINTS = "checkpoints"
_NAMES = ("best.ckpt", "last.ckpt")


@dataclass(frozen=True)
class LoadedPair:
    """Both nets in evaluation mode, on the CPU."""

    transformer: LoadedVAR
    tokenizer: LoadedTokenizer
    standardiser: Standardiser | None
    """Of the transformer's measurements; None: it takes none."""
    checkpoint: Path
    """Of the transformer."""
    hashes: Mapping[str, str]
    """SHA-256 of the files: "transformer", "tokenizer"."""


def load_pair(
    path: str | Path, *, tokenizer: str | Path | None = None, weights: Literal["ema", "last"] = "ema"
) -> LoadedPair:
    """Load a transformer, and its tokenizer from where training found it.

    Args:
        path: A run folder of `experiment=var…`, a checkpoint of one, or an exported folder.
        tokenizer: Where the tokenizer is now, if it was moved. One with another decoder is as good: no token depends
            on it.
        weights: Of the transformer: the average over training, or the last step's.

    Raises:
        ArtefactError: When a file is missing, damaged, or of another kind, or the tokenizer gives other tokens.
    """
    checkpoint = find_checkpoint(path)
    loaded = _load_exported(checkpoint.parent) if checkpoint.name == WEIGHTS_FILE else load_var(checkpoint, weights)
    standardiser = None
    if loaded.net.config.num_measurements and loaded.meaning.standardiser is not None:
        standardiser = Standardiser.from_dict(loaded.meaning.standardiser)
        standardiser.require_names(loaded.meaning.feature_names)
    found = _load_own_tokenizer(loaded, checkpoint, None if tokenizer is None else Path(tokenizer))
    hashes = {"transformer": hash_file(checkpoint), "tokenizer": str(found.about["sha256"])}
    return LoadedPair(loaded, found, standardiser, checkpoint, hashes)


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint of a run folder (the best, else the last), the weights of an exported one, or the file itself.

    Raises:
        ArtefactError: When a folder has none.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    if is_pretrained(path):
        return path / WEIGHTS_FILE
    for name in _NAMES:
        if (candidate := path / _CHECKPOINTS / name).is_file():
            return candidate
    raise ArtefactError(
        f"no checkpoint in '{path}' (looked for {' and '.join(f'{_CHECKPOINTS}/{name}' for name in _NAMES)})",
        cure="give the run folder of a training with experiment=var, or a .ckpt file",
    )


def _load_exported(folder: Path) -> LoadedVAR:
    net, config = read_net(folder, "var", "transformer")
    return LoadedVAR(net, ConditionMeaning.from_dict(config), config)


def _load_own_tokenizer(loaded: LoadedVAR, checkpoint: Path, given: Path | None) -> LoadedTokenizer:
    about: Mapping[str, Any] = loaded.about["tokenizer"]
    # An exported folder has it inside, wherever it lies.
    path = given or (checkpoint.parent / about["file"] if checkpoint.name == WEIGHTS_FILE else Path(about["file"]))
    if not path.exists():
        raise ArtefactError(
            f"the tokenizer of {checkpoint} is not at {path}", cure="say where it is: tokenizer=PATH (a .ckpt or .pth)"
        )
    weights: Literal["ema", "last"] = "last" if about.get("weights") == "last" else "ema"
    patch_nums = None if path.suffix == OURS or path.is_dir() else loaded.net.config.patch_nums
    tokenizer = load_tokenizer(path, weights=weights, patch_nums=patch_nums)
    if TokenizerIdentity.of(tokenizer.net).hash != about["hash"]:
        raise ArtefactError(
            f"the tokenizer {path} gives other tokens than the one that {checkpoint} was trained with "
            f"({about['file']}, SHA-256 {str(about.get('sha256'))[:12]}…)",
            cure="give that one: tokenizer=PATH",
        )
    return tokenizer
