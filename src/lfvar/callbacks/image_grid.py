"""A picture of what the tokenizer does to fixed validation images, after every validation."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning_utilities.core.rank_zero import rank_zero_only

from lfvar.data.datamodule import LesionDataModule
from lfvar.data.imageio import write_png
from lfvar.figures.panels import RGB, draw_reconstructions
from lfvar.nn.precision import float32_exact
from lfvar.nn.vqvae import VQVAE
from lfvar.types import Batch


class ReconstructionGrid(Callback):
    """Writes originals, reconstructions after each scale and error maps to `folder`, and to loggers that take images.

    The images are picked once, evenly over the validation split, so that pictures of different steps and runs compare.

    Args:
        folder: Where `step_000123.png` and `latest.png` go.
        num_images: Rows of the picture.
    """

    def __init__(self, folder: str | Path, num_images: int = 8) -> None:
        if num_images < 1:
            raise ValueError(f"num_images must be at least 1, got {num_images}")
        self.folder = Path(folder)
        self.num_images = num_images

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw with the weights that were validated; a lent average is taken back later, in `on_validation_end`."""
        if trainer.sanity_checking:
            return
        dataset = cast(LesionDataModule, trainer.datamodule).val_dataset  # type: ignore[attr-defined]
        picks = np.linspace(0, len(dataset) - 1, min(self.num_images, len(dataset))).round().astype(int)
        batch = Batch.collate([dataset[int(i)] for i in picks])
        picture = draw_batch(cast(VQVAE, pl_module.net), batch, pl_module.device)
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (f"step_{trainer.global_step:06d}.png", "latest.png"):
            write_png(self.folder / name, picture)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("reconstructions", [picture], step=trainer.global_step)
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("reconstructions", picture, trainer.global_step, dataformats="HWC")


@torch.no_grad()
def draw_batch(net: VQVAE, batch: Batch, device: torch.device) -> RGB:
    """Reconstruct a batch after each scale, in full precision, and draw it."""
    was_training = net.training
    net.eval()
    with float32_exact(device):
        scales = net.reconstruct_scales(batch.image_BCHW.to(device))
    net.train(was_training)
    return draw_reconstructions(
        batch.image_BCHW.numpy(),
        batch.mask_B1HW[:, 0].numpy() > 0.5,
        [scale_BCHW.float().cpu().numpy() for scale_BCHW in scales],
        net.schedule.patch_nums,
    )
