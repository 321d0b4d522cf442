"""When and from what the codebook starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from lightning.pytorch import Trainer

from lfvar.data.dataset import LesionDataset
from lfvar.nn.vqvae import VQVAE
from lfvar.types import Batch


@dataclass(frozen=True)
class CodebookConfig:
    """How the codebook is kept useful."""

    init_step: int = 200
    """Optimizer step before which every code is set to a residual that training images produce, after the encoder's
    first, fastest changes; a quarter of the run at the latest; -1: never."""
    init_images: int = 512
    """Training images the residuals come from."""

    def __post_init__(self) -> None:
        if self.init_step < -1:
            raise ValueError(f"init_step is -1 (never) or a step, got {self.init_step}")
        if self.init_images < 1:
            raise ValueError(f"init_images must be at least 1, got {self.init_images}")


@torch.no_grad()
def start_codebook(net: VQVAE, trainer: Trainer, config: CodebookConfig, seed: int) -> None:
    """Set the codebook from training images, the same on every process.

    Args:
        net: The tokenizer in training.
        trainer: Its trainer; the data module gives the images.
        config: How many images.
        seed: Decides which images and residuals.
    """
    dataset = cast(LesionDataset, trainer.datamodule.train_dataset)  # type: ignore[attr-defined]
    picks = np.random.default_rng(seed).permutation(len(dataset))[: config.init_images]
    device = net.quantiser.codebook.weight.device
    was_training = net.training
    net.eval()
    features = []
    for chunk in np.array_split(picks, max(len(picks) // 32, 1)):
        batch = Batch.collate([dataset[(int(index), int(index))] for index in chunk])
        features.append(net.encode(batch.image_BCHW.to(device)).float())
    generator = torch.Generator(device).manual_seed(seed)
    net.quantiser.init_codebook(torch.cat(features), generator)
    net.train(was_training)
    net.quantiser.codebook.weight.copy_(trainer.strategy.broadcast(net.quantiser.codebook.weight))
