"""Our own checkpoints: what they say about themselves, and how to get a net out of one.

A checkpoint is a Lightning checkpoint (loadable with `weights_only=True`) with two additions: `lfvar`, plain data that
names the kind of model and its sizes, and `ema`, the averaged weights if an average was kept.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

import lfvar
from lfvar.errors import ArtefactError
from lfvar.nn.var import VAR, VARConfig
from lfvar.nn.vqvae import VQVAE, VQVAEConfig

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

CHECKPOINT_VERSION = 1
"""Raised with every change of what a checkpoint of ours holds or means."""


@dataclass(frozen=True)
class ConditionMeaning:
    """What the numbers of a condition stand for; without it a transformer cannot be asked for anything."""

    classes: tuple[str, ...]
    """Lesion types in the order of their labels."""
    feature_names: tuple[str, ...] = ()
    """Measurements in the order of the vectors."""
    standardiser: Mapping[str, Any] | None = None
    """How measurements were standardised (`lfvar.measure.standardise.Standardiser.to_dict`); None without them."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        return {
            "classes": list(self.classes),
            "feature_names": list(self.feature_names),
            "standardiser": None if self.standardiser is None else dict(self.standardiser),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ConditionMeaning:
        """Undo `to_dict`; other keys are left alone."""
        return cls(tuple(data["classes"]), tuple(data["feature_names"]), data["standardiser"])


@dataclass(frozen=True)
class LoadedVAR:
    """A transformer in evaluation mode, on the CPU, and what is needed to use it."""

    net: VAR
    meaning: ConditionMeaning
    about: dict[str, Any]
    """Plain data: `model`, `tokenizer` (`file`, `hash` of what ids depend on), `condition`, `lfvar_version`, …"""


def describe_checkpoint(kind: str, config: DataclassInstance) -> dict[str, Any]:
    """What a checkpoint says about itself, the sizes of its net among it: plain data."""
    return {
        "version": CHECKPOINT_VERSION,
        "kind": kind,
        "model": asdict(config),
        "lfvar_version": lfvar.__version__,
        "command": " ".join(sys.argv),
    }


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of ours without unpickling anything but tensors and plain data.

    Raises:
        ArtefactError: When there is none, it is damaged, or something else made it.
    """
    path = Path(path)
    if not path.is_file():
        raise ArtefactError(
            f"no checkpoint at {path}", cure="give a .ckpt file; a run keeps its own under <run folder>/checkpoints"
        )
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types for damaged files
        raise ArtefactError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__})",
            cure="it may be cut short: use an older one from the same folder",
        ) from error
    if not isinstance(checkpoint, dict) or "lfvar" not in checkpoint:
        raise ArtefactError(
            f"{path} was not written by lfvar",
            cure="published VAR and LF-VAR tokenizers load with lfvar.interop.published.load_published_vqvae",
        )
    version = checkpoint["lfvar"].get("version")
    if version != CHECKPOINT_VERSION:
        raise ArtefactError(
            f"{path} is a checkpoint of version {version}; this lfvar reads version {CHECKPOINT_VERSION}",
            cure=f"use lfvar {checkpoint['lfvar'].get('lfvar_version', 'of its time')}, or train again",
        )
    return checkpoint


def load_vqvae(path: str | Path, weights: Literal["ema", "last"] = "ema") -> VQVAE:
    """The tokenizer of a checkpoint, on the CPU and in evaluation mode.

    Args:
        path: A `.ckpt` file of `experiment=vqvae…`.
        weights: The average over training (falls back to the last where none was kept), or the last step's.

    Raises:
        ArtefactError: As `read_checkpoint`, and when the checkpoint holds another kind of model, or one that this
            version of lfvar does not know.
    """
    checkpoint = read_checkpoint(path)
    about = checkpoint["lfvar"]
    if about["kind"] != "vqvae":
        raise ArtefactError(f"{path} holds a {about['kind']}, not a tokenizer", cure="give a tokenizer's checkpoint")
    try:
        net = VQVAE(VQVAEConfig(**about["model"]))
        net.load_state_dict(net_weights(checkpoint, weights))
    except UNKNOWN as error:
        raise unknown_model(path, "tokenizer", about, error) from error
    return net.eval()


def load_var(path: str | Path, weights: Literal["ema", "last"] = "ema") -> LoadedVAR:
    """The transformer of a checkpoint, with the meaning of its conditions and the tokenizer it belongs to.

    Args:
        path: A `.ckpt` file of `experiment=var…`.
        weights: The average over training (falls back to the last where none was kept), or the last step's.

    Raises:
        ArtefactError: As `read_checkpoint`, and when the checkpoint holds another kind of model, or one that this
            version of lfvar does not know.
    """
    checkpoint = read_checkpoint(path)
    about = checkpoint["lfvar"]
    if about["kind"] != "var":
        raise ArtefactError(
            f"{path} holds a {about['kind']}, not a transformer", cure="give a transformer's checkpoint"
        )
    try:
        net = VAR(VARConfig(**about["model"]))
        net.load_state_dict(net_weights(checkpoint, weights))
    except UNKNOWN as error:
        raise unknown_model(path, "transformer", about, error) from error
    return LoadedVAR(net.eval(), ConditionMeaning.from_dict(about), about)


UNKNOWN = (RuntimeError, TypeError, ValueError)
"""What a net raises that gets tensors of other names or shapes, or settings that are gone."""


def unknown_model(path: str | Path, what: str, about: Mapping[str, Any], error: Exception) -> ArtefactError:
    """The error for a checkpoint whose net cannot be built by this version; `what` names the kind of net."""
    return ArtefactError(
        f"{path} holds a {what} that this lfvar does not know: {str(error).splitlines()[-1].strip()}",
        cure=f"use lfvar {about.get('lfvar_version', 'of its time')}, or train again",
    )


def net_weights(checkpoint: Mapping[str, Any], weights: Literal["ema", "last"]) -> dict[str, Tensor]:
    """What belongs to `net` in a module's state, averaged as far as an average was kept."""
    prefix = "net."
    state = {name[len(prefix) :]: t for name, t in checkpoint["state_dict"].items() if name.startswith(prefix)}
    if weights == "ema" and "ema" in checkpoint:
        state |= checkpoint["ema"]["weights"]
    return state


def require_same_model(checkpoint: Mapping[str, Any], *, kind: str, model: Mapping[str, Any]) -> None:
    """Compare what a checkpoint holds with what is about to receive it.

    Raises:
        ArtefactError: When the kind or any size differs, naming each difference.
    """
    about = checkpoint.get("lfvar", {})
    if about.get("kind") != kind:
        raise ArtefactError(
            f"the checkpoint holds a {about.get('kind', 'model that lfvar did not write')}, this run trains a {kind}",
            cure="give resume= a checkpoint of the same stage",
        )
    theirs = about["model"]
    different = [
        f"{key}: checkpoint {theirs.get(key)!r}, this run {value!r}"
        for key, value in model.items()
        if key not in theirs or _plain(theirs[key]) != _plain(value)
    ]
    if different:
        raise ArtefactError(
            "the checkpoint's model differs from this run's in " + "; ".join(different),
            cure="use the command that made it (its run folder keeps config.yaml), or start a new run without resume=",
        )


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
