"""How the codebook starts and stays in use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from lfvar.data.dataset import LesionDataset
from lfvar.lit.collective import of_all_processes, of_first_process, sum_over_processes
from lfvar.nn.code_keeper import CodeKeeper, draw_depth
from lfvar.nn.quantiser import MultiScaleQuantiser, Quantised
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
    update: Literal["gradient", "ema"] = "gradient"
    """Codes follow the quantisation loss, or are the running mean of the residuals they are chosen for."""
    ema_decay: float = 0.99
    """Share of the old statistics of codes kept per step; for restarts, and for `update: ema`."""
    restart_below: float = 0.0
    """A code used less than this part of an even share is moved to where the codebook fits worst; 0: never."""
    restart_every: int = 50
    """Optimizer steps between two looks for such codes."""
    restart_until: float = 0.8
    """Part of the run after which codes are left alone, so that the decoder learns them all."""
    dropout: float = 0.0
    """Probability that an image loses its finest scales in a training step (quantiser dropout)."""
    dropout_from: int = 3
    """Fewest scales that quantiser dropout leaves."""

    def __post_init__(self) -> None:
        if self.init_step < -1:
            raise ValueError(f"init_step is -1 (never) or a step, got {self.init_step}")
        for name in ("init_images", "restart_every", "dropout_from"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.update not in ("gradient", "ema"):
            raise ValueError(f"update is 'gradient' or 'ema', got {self.update!r}")
        for name in ("restart_below", "restart_until", "dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a fraction in [0, 1], got {getattr(self, name)}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must be in [0, 1), got {self.ema_decay}")


class CodebookCare(nn.Module):
    """Starts the codebook, watches how codes are used, and moves those that are not.

    Its statistics are buffers and its draws follow from seed and step, so a resumed run does what the killed one would
    have done; sums run over all processes, so all of them hold the same codes.

    Args:
        quantiser: What it cares for. Frozen codes (fine-tuning the decoder) are left alone.
        config: How.
        seed: Decides which images and residuals codes start from and are restarted from.
        starts: Whether the codebook still holds its random start; False for weights that came from a file.

    Raises:
        ValueError: When the running mean of residuals is asked of codes that are not stored as such.
    """

    def __init__(
        self, quantiser: MultiScaleQuantiser, config: CodebookConfig, seed: int, *, starts: bool = True
    ) -> None:
        super().__init__()
        self.config = config
        self.seed = seed
        weight = quantiser.codebook.weight
        self.frozen = not weight.requires_grad
        self.started = self.frozen or not starts
        if config.update == "ema" and (quantiser.normalise != "none" or quantiser.expand is not None):
            raise ValueError(
                "codebook.update='ema' makes codes the mean of residuals: use it with model.normalise='none' and "
                "without model.code_channels"
            )
        self.moving_average = config.update == "ema" and not self.frozen
        self.keeper = CodeKeeper(
            len(quantiser.schedule), *weight.shape, decay=config.ema_decay, moving_average=self.moving_average
        )
        if self.moving_average:
            weight.requires_grad_(False)

    def start_if_due(self, net: VQVAE, trainer: Trainer, total_steps: int) -> Tensor | None:
        """Set the codebook from training images when its step has come; returns the rows that changed."""
        config = self.config
        due = min(config.init_step, total_steps // 4)
        if self.started or config.init_step < 0 or trainer.global_step < due:
            return None
        start_codebook(net, trainer, config, self.seed)
        self.keeper.start(net.quantiser)
        self.started = True
        return torch.arange(net.config.vocab_size, device=net.quantiser.codebook.weight.device)

    def draw_depth(self, num_scales: int, batch_size: int, device: torch.device) -> Tensor | None:
        """How many scales each image keeps in this step; None: all."""
        if not self.config.dropout or self.frozen:
            return None
        return draw_depth(num_scales, self.config.dropout_from, self.config.dropout, batch_size, device)

    def observe(self, quantiser: MultiScaleQuantiser, quantised: Quantised) -> None:
        """Take in one batch."""
        if self.frozen:
            return
        self.keeper.update_gains(quantiser, quantised, sum_over_processes)
        if self.moving_average or self.config.restart_below:
            self.keeper.observe(quantiser, quantised, sum_over_processes)

    def after_step(
        self, quantiser: MultiScaleQuantiser, quantised: Quantised, step: int, total_steps: int
    ) -> Tensor | None:
        """Move codes where they are wanted; returns the rows that were restarted, None when it was not time."""
        config = self.config
        if self.frozen:
            return None
        if self.moving_average and self.started:
            self.keeper.follow(quantiser)
        looks = config.restart_below > 0 and self.started and step % config.restart_every == 0
        if not looks or step > config.restart_until * total_steps:
            return None
        generator = torch.Generator(quantiser.codebook.weight.device).manual_seed(hash((self.seed, step)) % 2**63)
        return self.keeper.restart(
            quantiser,
            quantised,
            below=config.restart_below,
            generator=generator,
            gather=of_all_processes,
            broadcast=of_first_process,
        )


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
    for parameter in net.quantiser.parameters():
        parameter.copy_(of_first_process(parameter.detach().clone()))
