"""Trains the lesion-focused multi-scale VQ-VAE."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lfvar.errors import ArtefactError
from lfvar.interop.checkpoints import describe_checkpoint, require_same_model
from lfvar.lit.adversary import Adversary
from lfvar.lit.adversary_config import AdversaryConfig
from lfvar.lit.codebook import CodebookCare, CodebookConfig
from lfvar.lit.optim import OptimConfig, build_optimizer, lr_factor
from lfvar.lit.resumption import Schedule
from lfvar.lit.start import TokenizerModel, keep_frozen_in_eval, set_trained_parts, start_vqvae
from lfvar.lit.stepping import SteppingModule
from lfvar.losses.tokenizer import RECONSTRUCTION_TERMS, TokenizerLoss, TokenizerLossConfig
from lfvar.metrics.codebook import CodebookUsage
from lfvar.metrics.regions import RegionQuality
from lfvar.nn.precision import float32_exact
from lfvar.nn.vqvae import VQVAE, VQVAEConfig
from lfvar.types import Batch


class VQVAEModule(SteppingModule):
    """Losses, optimizers and metrics of the tokenizer.

    Lightning knows the tokenizer's optimizer alone; the adversary owns its own, so `global_step` counts the tokenizer's
    steps.

    Args:
        model: Sizes of the net, and in a `TokenizerModel` also what it starts from and which parts learn.
        loss: Strengths of the loss terms.
        optim: Optimizer and schedule.
        codebook: How the codebook is kept useful.
        perceptual: Distance between images as seen by filters or a network (`lfvar.losses.perceptual`).
        adversary: What discriminators there are and when they join; None: none.
        compile: Compile encoder and decoder (the quantiser stays as it is: float32, and cheap).
        seed: Decides what is drawn on the way.
        read_weights: False for a run that resumes: its checkpoint brings what `model.weights` brought at its start.
    """

    net: VQVAE
    called = ("encode",)  # by `start_codebook`

    def __init__(
        self,
        model: TokenizerModel | VQVAEConfig,
        loss: TokenizerLossConfig,
        optim: OptimConfig,
        codebook: CodebookConfig,
        *,
        perceptual: nn.Module | None = None,
        adversary: AdversaryConfig | None = None,
        compile: bool = False,
        seed: int = 0,
        read_weights: bool = True,
    ) -> None:
        super().__init__(clip_norm=optim.clip_norm, accumulate=optim.accumulate, seed=seed)
        self.net = start_vqvae(model, read_weights=read_weights)
        set_trained_parts(self.net, model)
        from_file = isinstance(model, TokenizerModel) and model.init != "scratch"
        self.loss = TokenizerLoss(loss, perceptual)
        self.optim = optim
        self.care = CodebookCare(self.net.quantiser, codebook, seed, starts=not from_file)
        self.adversary = None if adversary is None else Adversary(adversary, self.net.config.image_size, seed=seed)
        self.replaced: dict[str, Tensor] = {}
        self.quality = RegionQuality()
        self.usage = CodebookUsage(self.net.schedule, model.vocab_size)
        if compile:
            self.net.encoder.compile()
            self.net.decoder.compile()

    @property
    def parts(self) -> dict[str, Any]:
        """What has a state of its own beside the net, in plain data."""
        views = [] if self.adversary is None else list(self.adversary.views)
        return {"adversary": views, "codebook_update": self.care.config.update}

    @property
    def units(self) -> list[nn.Module]:
        """The levels of encoder and decoder; codebook and last layer, which others look at, stay whole."""
        parts = (self.net.encoder, self.net.decoder)
        return [unit for part in parts for unit in (*part.levels, part.middle)]

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Reconstruction of images in [-1, 1], clamped."""
        return self.net(image_BCHW)[0].clamp(-1, 1)

    def setup(self, stage: str) -> None:
        """Keep DDP away from what looks after itself and from constants, before it wraps the module."""
        names = [f"loss.{name}" for name, _ in self.loss.named_buffers()]
        if self.adversary is not None:
            names += self.adversary.names_to_ignore("adversary")
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self, names)

    def on_train_start(self) -> None:
        """Start from the same discriminators everywhere."""
        if self.adversary is not None:
            self.adversary.broadcast()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Fix what this step draws at random, and start the codebook when its step has come."""
        keep_frozen_in_eval(self.net)
        self.seed_step()
        if not self.gathered:
            self.replaced = {}
        self._replace(self.care.start_if_due(self.net, self.trainer, self.total_steps))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Gradients of one batch, and an optimizer step after every `accumulate` of them; returns the detached loss."""
        step, share = self.global_step, 1 / self.accumulate
        depth_B = self.care.draw_depth(len(self.net.schedule), len(batch), self.device)
        recon_BCHW, f_BChw, quantised = self.net(batch.image_BCHW, depth_B)
        terms = self.loss(recon_BCHW, batch.image_BCHW, batch.mask_B1HW, f_BChw, quantised)
        logs = self._adversarial_term(terms, recon_BCHW, batch, step)
        loss = torch.stack(list(terms.values())).sum()
        self.manual_backward(loss * share)
        self.care.observe(self.net.quantiser, quantised)
        stepped = self.take_step()
        if stepped:
            self._replace(self.care.after_step(self.net.quantiser, quantised, step + 1, self.total_steps))
        if self.adversary is not None:
            logs |= self.adversary.discriminator_step(
                recon_BCHW.detach(),
                batch.image_BCHW,
                batch.mask_B1HW,
                step,
                self.total_steps,
                last_micro_batch=stepped,
                scale=share,
            )
        self.log_training({"loss": loss} | terms | logs)
        return loss.detach()

    def _adversarial_term(
        self, terms: dict[str, Tensor], recon_BCHW: Tensor, batch: Batch, step: int
    ) -> dict[str, Tensor]:
        """Add what the discriminators ask for, once they have joined; returns scalars to log."""
        if self.adversary is None:
            return {}
        seen = torch.stack([term for name, term in terms.items() if name in RECONSTRUCTION_TERMS]).sum()
        last_layer = self.net.decoder.conv_out.weight
        found = self.adversary.generator_term(recon_BCHW, batch.mask_B1HW, seen, last_layer, step, self.total_steps)
        if found is None:
            return {}
        terms["adversarial"], logs = found
        return logs

    def _replace(self, rows_N: Tensor | None) -> None:
        """Forget the momenta of codes that are gone, and tell callbacks which they are."""
        if rows_N is None or not rows_N.numel():
            return
        self.replaced = {"quantiser.codebook.weight": rows_N}
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        for value in optimizer.state.get(self.net.quantiser.codebook.weight, {}).values():
            if value.ndim == 2:
                value[rows_N] = 0

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
            if metric is self.quality:  # what the best checkpoint is chosen by, also of images without lesions
                values["psnr_focus"] = values.get("psnr_inside", values["psnr_all"])
            self.log_dict({f"{group}/{name}": value for name, value in values.items()}, rank_zero_only=False)
            metric.reset()
        super().on_validation_epoch_end()

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[Schedule]]:
        """AdamW and its schedule over the length of the run."""
        optimizer = build_optimizer(self.net, self.optim)
        return [optimizer], [Schedule(optimizer, lr_factor(self.optim, self.total_steps))]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say what the weights are, in plain data, so that they load without this module."""
        checkpoint["lfvar"] = describe_checkpoint("vqvae", self.net.config) | {
            "loss": asdict(self.loss.config),
            "codebook_started": self.care.started,
            "parts": self.parts,
        }
        if self.adversary is not None:
            checkpoint["adversary"] = self.adversary.optimizer_state()

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse weights of another model before a single tensor is touched."""
        require_same_model(checkpoint, kind="vqvae", model=asdict(self.net.config))
        there = checkpoint["lfvar"].get("parts", self.parts)
        if there != self.parts:
            raise ArtefactError(
                f"the checkpoint was trained with {there}, this run has {self.parts}",
                cure="give resume= with the adversary and codebook.update of its run, or start from its weights"
                " instead: model.init=checkpoint model.weights=PATH",
            )
        self.care.started = bool(checkpoint["lfvar"]["codebook_started"])
        if self.adversary is not None:
            self.adversary.load_optimizer_state(checkpoint["adversary"])

    @property
    def averaged(self) -> Iterable[tuple[str, nn.Parameter]]:
        """What an average over training is taken of (`EMA` callback)."""
        return self.net.named_parameters()
