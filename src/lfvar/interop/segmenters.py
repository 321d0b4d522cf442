"""A lesion segmenter from its checkpoint, and the masks it finds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from lfvar.errors import ArtefactError
from lfvar.interop.checkpoints import UNKNOWN, net_weights, read_checkpoint, unknown_model
from lfvar.interop.tokenizers import hash_file
from lfvar.nn.precision import float32_exact
from lfvar.nn.segmenter import Segmenter, SegmenterConfig


@dataclass(frozen=True)
class LoadedSegmenter:
    """A segmenter in evaluation mode, on the CPU, and where it comes from."""

    net: Segmenter
    image_size: int
    """Side of the images it was trained on, in pixels."""
    about: dict[str, Any]
    """Plain data: `file`, `sha256`, `weights`, `step`, `trained_on_manifest`, `lfvar_version`."""


def load_segmenter(path: str | Path, weights: Literal["ema", "last"] = "ema") -> LoadedSegmenter:
    """The segmenter of a checkpoint.

    Args:
        path: A `.ckpt` file of `experiment=segmenter`.
        weights: The average over training (falls back to the last where none was kept), or the last step's.

    Raises:
        ArtefactError: When the file is missing, damaged, holds another kind of model, or one that this version of lfvar
            does not know.
    """
    path = Path(path)
    checkpoint = read_checkpoint(path)
    there = checkpoint["lfvar"]
    if there["kind"] != "segmenter":
        raise ArtefactError(f"{path} holds a {there['kind']}, not a segmenter", cure="give a segmenter's checkpoint")
    try:
        config = SegmenterConfig(**there["model"])
        net = Segmenter(config)
        net.load_state_dict(net_weights(checkpoint, weights))
    except UNKNOWN as error:
        raise unknown_model(path, "segmenter", there, error) from error
    about = {
        "file": str(path),
        "sha256": hash_file(path),
        "weights": weights if "ema" in checkpoint else "last",
        "step": checkpoint.get("global_step"),
        "trained_on_manifest": checkpoint.get("LesionDataModule", {}).get("manifest_hash"),
        "lfvar_version": there.get("lfvar_version"),
    }
    return LoadedSegmenter(net.eval(), config.image_size, about)


@torch.inference_mode()
def segment_lesions(net: nn.Module, image_BCHW: Tensor, *, batch_size: int = 64) -> NDArray[np.bool_]:
    """The lesion of each image: one piece without holes, or nothing.

    Args:
        net: In evaluation mode; images in [-1, 1] to log-odds (B, 1, H, W).
        image_BCHW: In [-1, 1], at the size the net was trained on. Moved to the net's device in pieces.
        batch_size: Images at once; no mask depends on it beyond the last bits of float32.

    Returns:
        (B, H, W), True = lesion; all False for an image in which nothing is more likely lesion than skin.
    """
    device = next(net.parameters()).device
    masks = []
    with float32_exact(device):
        for part_BCHW in image_BCHW.split(batch_size):
            prob_B1HW = net(part_BCHW.to(device, torch.float32)).sigmoid()
            masks += [one_lesion(prob_HW) for prob_HW in prob_B1HW[:, 0].cpu().numpy()]
    return np.stack(masks) if masks else np.zeros((0, *image_BCHW.shape[-2:]), np.bool_)


def one_lesion(prob_HW: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """The piece above 0.5 with the largest sum of probabilities, its holes filled.

    Pixels that touch at a corner belong together, so holes are what is closed to steps along the axes.

    Args:
        prob_HW: Probability of "lesion", in [0, 1].

    Returns:
        (H, W); all False where nothing is above 0.5.
    """
    above_HW = prob_HW > 0.5
    piece_HW, count = ndimage.label(above_HW, structure=np.ones((3, 3), np.int8))
    if count == 0:
        return np.zeros(prob_HW.shape, np.bool_)
    weights = ndimage.sum_labels(prob_HW.astype(np.float64), piece_HW, index=np.arange(1, count + 1))
    return np.asarray(ndimage.binary_fill_holes(piece_HW == 1 + int(np.argmax(weights))), np.bool_)
