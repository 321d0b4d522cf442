"""Trains the lesion segmenter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from lfvar.interop.checkpoints import describe_checkpoint, require_same_model
from lfvar.lit.optim import OptimConfig, build_optimizer, lr_factor
from lfvar.lit.resumption import Schedule
from lfvar.lit.segmenter_recipe import SegmenterRecipe, vary_look
from lfvar.lit.stepping import SteppingModule
from lfvar.losses.segmentation import segmentation_terms
from lfvar.metrics.segmentation import MaskOverlap
from lfvar.nn.precision import float32_exact
from lfvar.nn.segmenter import Segmenter, SegmenterConfig
from lfvar.types import Batch


class SegmenterModule(SteppingModule):
    """Loss, optimizer and metrics of the segmenter.

    Args:
        model: Sizes of the net.
        loss: Strengths of the loss terms, and how images vary.
        optim: Optimizer and schedule.
        compile: Compile the net.
        seed: Decides what is drawn on the way.
    """

    net: Segmenter

    def __init__(
        self,
        model: SegmenterConfig,
        loss: SegmenterRecipe,
        optim: OptimConfig,
        *,
        compile: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(clip_norm=optim.clip_norm, accumulate=optim.accumulate, seed=seed)
        self.net = Segmenter(model)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a quarter faster on a CPU
        self.loss = loss
        self.optim = optim
        self.overlap = MaskOverlap()
        if compile:
            self.net.compile()

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Probability of "lesion" (B, 1, H, W) of images in [-1, 1]."""
        return self.net(image_BCHW).sigmoid()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Fix what this step draws at random."""
        self.seed_step()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Gradients of one batch, and an optimizer step after every `accumulate` of them; returns the detached loss."""
        logits_B1HW = self.net(vary_look(batch.image_BCHW, self.loss))
        terms = segmentation_terms(logits_B1HW, batch.mask_B1HW, self.loss)
        loss = torch.stack(list(terms.values())).sum()
        self.manual_backward(loss / self.accumulate)
        self.take_step()
        self.log_training({"loss": loss} | terms)
        return loss.detach()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Compare masks at the threshold 0.5; the overlap is computed over all processes at the end of the epoch."""
        with float32_exact(self.device):
            logits_B1HW = self.net(batch.image_BCHW)
        self.overlap.update(logits_B1HW > 0, batch.mask_B1HW)

    def on_validation_epoch_end(self) -> None:
        """Log mean and median overlap."""
        values = self.overlap.compute()
        self.log_dict({f"val/{name}": value for name, value in values.items()}, rank_zero_only=False)
        self.overlap.reset()

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[Schedule]]:
        """AdamW and its schedule over the length of the run."""
        optimizer = build_optimizer(self.net, self.optim)
        return [optimizer], [Schedule(optimizer, lr_factor(self.optim, self.total_steps))]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say what the weights are, in plain data, so that they load without this module."""
        checkpoint["lfvar"] = describe_checkpoint("segmenter", self.net.config) | {"loss": asdict(self.loss)}

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse weights of another model before a single tensor is touched."""
        require_same_model(checkpoint, kind="segmenter", model=asdict(self.net.config))

    @property
    def averaged(self) -> Iterable[tuple[str, nn.Parameter]]:
        """What an average over training is taken of (`EMA` callback)."""
        return self.net.named_parameters()
