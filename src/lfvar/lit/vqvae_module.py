"""Trains the lesion-focused multi-scale VQ-VAE."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from lfvar.interop.checkpoints import describe_checkpoint, require_same_model
from lfvar.lit.codebook import CodebookConfig, start_codebook
from lfvar.lit.optim import OptimConfig, build_optimizer, lr_factor
from lfvar.losses.tokenizer import TokenizerLoss, TokenizerLossConfig
from lfvar.metrics.codebook import CodebookUsage
from lfvar.metrics.regions import RegionQuality
from lfvar.nn.precision import float32_exact
from lfvar.nn.vqvae import VQVAE, VQVAEConfig
from lfvar.types import Batch


class VQVAEModule(LightningModule):
    """Loss, optimizer and metrics of the tokenizer.

    Optimisation is manual: the adversarial recipe steps two optimizers, where Lightning counts steps twice and refuses
    to clip or accumulate, so the module owns both from the start.

    Args:
        model: Sizes of the net.
        loss: Strengths of the loss terms.
        optim: Optimizer and schedule.
        codebook: When and from what the codebook starts.
        seed: Decides what is drawn on the way.
    """

    def __init__(
        self,
        model: VQVAEConfig,
        loss: TokenizerLossConfig,
        optim: OptimConfig,
        codebook: CodebookConfig,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.net = VQVAE(model)
        self.loss = TokenizerLoss(loss)
        self.optim = optim
        self.codebook = codebook
        self.codebook_started = False
        self.seed = seed
        self.quality = RegionQuality()
        self.usage = CodebookUsage(self.net.schedule, model.vocab_size)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Reconstruction of images in [-1, 1], clamped."""
        return self.net(image_BCHW)[0].clamp(-1, 1)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Fix what this step draws at random, and start the codebook when its step has come."""
        # Dropout follows from seed, step and process, so that a resumed run draws what the killed one would have.
        torch.manual_seed(hash((self.seed, self.global_step, self.global_rank)) % 2**63)
        due = min(self.codebook.init_step, int(self.trainer.estimated_stepping_batches) // 4)
        if self.codebook.init_step >= 0 and not self.codebook_started and self.global_step >= due:
            start_codebook(self.net, self.trainer, self.codebook, self.seed)
            self.codebook_started = True
            optimizer = self.optimizers()
            assert not isinstance(optimizer, list)
            optimizer.state.pop(self.net.quantiser.codebook.weight, None)  # momenta of codes that are gone

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One optimizer step; returns the detached loss."""
        recon_BCHW, f_BChw, quantised = self.net(batch.image_BCHW)
        terms = self.loss(recon_BCHW, batch.image_BCHW, batch.mask_B1HW, f_BChw, quantised)
        loss = torch.stack(list(terms.values())).sum()
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        assert not isinstance(optimizer, list)
        assert isinstance(scheduler, LambdaLR)
        optimizer.zero_grad()
        self.manual_backward(loss)
        if self.optim.clip_norm:
            norm = nn.utils.clip_grad_norm_(self.net.parameters(), self.optim.clip_norm)
            self.log("train/grad_norm", norm)
        optimizer.step()
        scheduler.step()
        self.log("train/loss", loss.detach(), prog_bar=True)
        self.log_dict({f"train/{name}": term.detach() for name, term in terms.items()})
        return loss.detach()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Update the metrics; they are computed over all processes at the end of the epoch."""
        with float32_exact(self.device):  # the ids that everyone who loads this tokenizer will get
            recon_BCHW, _, quantised = self.net(batch.image_BCHW)
        self.quality.update(recon_BCHW, batch.image_BCHW, batch.mask_B1HW)
        self.usage.update(quantised.ids)

    def on_validation_epoch_end(self) -> None:
        """Log quality per region and codebook use per scale."""
        for metric, group in ((self.quality, "val"), (self.usage, "codebook")):
            values = metric.compute()
            self.log_dict({f"{group}/{name}": value for name, value in values.items()}, rank_zero_only=False)
            metric.reset()

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[LambdaLR]]:
        """AdamW and its schedule over the length of the run."""
        optimizer = build_optimizer(self.net, self.optim)
        steps = int(self.trainer.estimated_stepping_batches)
        return [optimizer], [LambdaLR(optimizer, lr_factor(self.optim, steps))]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say what the weights are, in plain data, so that they load without this module."""
        checkpoint["lfvar"] = describe_checkpoint("vqvae", self.net.config) | {
            "loss": asdict(self.loss.config),
            "codebook_started": self.codebook_started,
        }

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse weights of another model before a single tensor is touched."""
        require_same_model(checkpoint, kind="vqvae", model=asdict(self.net.config))
        self.codebook_started = bool(checkpoint["lfvar"]["codebook_started"])

    @property
    def averaged(self) -> Iterable[tuple[str, nn.Parameter]]:
        """What an average over training is taken of (`EMA` callback)."""
        return self.net.named_parameters()
