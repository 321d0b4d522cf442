"""A classifier of lesion types from its checkpoint, with what the file says about itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lfvar.errors import ArtefactError
from lfvar.interop.checkpoints import UNKNOWN, describe_checkpoint, net_weights, read_checkpoint, unknown_model
from lfvar.interop.tokenizers import hash_file
from lfvar.nn.classifier import Classifier, ClassifierConfig

KIND = "classifier"


@dataclass(frozen=True)
class LoadedClassifier:
    """A classifier in evaluation mode, on the CPU: `net(image_BCHW in [-1, 1])` gives logits (B, num_classes)."""

    net: Classifier
    classes: tuple[str, ...]
    """Lesion types in the order of the logits."""
    image_size: int
    """Side of the images it was trained on."""
    about: dict[str, Any]
    """Plain data: `file`, `sha256`, `step`, `trained_on` (`manifest`, `train_on`, `synthetic`, …), `scores` on the
    validation split when the checkpoint was written, `lfvar_version`."""


def describe_classifier(config: ClassifierConfig, classes: Sequence[str]) -> dict[str, Any]:
    """What a classifier's checkpoint says about itself: plain data."""
    return describe_checkpoint(KIND, config) | {"classes": list(classes)}


def load_classifier(path: str | Path, weights: Literal["ema", "last"] = "ema") -> LoadedClassifier:
    """Load a checkpoint of `experiment=classifier`.

    Args:
        path: A `.ckpt` file.
        weights: The average over training (falls back to the last where none was kept), or the last step's.

    Raises:
        ArtefactError: When it is missing, damaged, holds another kind of model, or one that this version of lfvar
            does not know.
        ConfigError: When it holds a network of a library that is not installed.
    """
    path = Path(path)
    checkpoint = read_checkpoint(path)
    about = checkpoint["lfvar"]
    if about["kind"] != KIND:
        raise ArtefactError(f"{path} holds a {about['kind']}, not a classifier", cure="give a classifier's checkpoint")
    try:
        net = Classifier(ClassifierConfig(**about["model"]), read_weights=False)
        net.load_state_dict(net_weights(checkpoint, weights))
    except UNKNOWN as error:
        raise unknown_model(path, KIND, about, error) from error
    return LoadedClassifier(
        net=net.eval(),
        classes=tuple(about["classes"]),
        image_size=net.config.image_size,
        about={
            "file": str(path),
            "sha256": hash_file(path),
            "step": checkpoint.get("global_step"),
            "trained_on": about.get("trained_on", {}),
            "scores": about.get("scores", {}),
            "lfvar_version": about.get("lfvar_version"),
        },
    )
