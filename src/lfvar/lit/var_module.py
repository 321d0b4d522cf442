"""Trains the conditional next-scale transformer on the token maps of a frozen tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any

import torch
from lightning.pytorch.strategies import ParallelStrategy
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lfvar.data.token_cache import TokenizerIdentity
from lfvar.errors import ArtefactError
from lfvar.interop.checkpoints import ConditionMeaning, describe_checkpoint, require_same_model
from lfvar.interop.tokenizers import LoadedTokenizer
from lfvar.lit.resumption import Schedule
from lfvar.lit.running import RunningMeans
from lfvar.lit.sharding import is_split
from lfvar.lit.stepping import SteppingModule
from lfvar.lit.var_condition import ConditionSource
from lfvar.lit.var_config import ConditionConfig, fit_model
from lfvar.lit.var_optim import VAROptimConfig, build_var_optimizer, var_lr_factor
from lfvar.lit.var_start import start_var
from lfvar.losses.tokens import TokenLoss, TokenLossConfig, TokenLosses
from lfvar.metrics.tokens import TokenScores, scale_means
from lfvar.nn.conditioning import Condition
from lfvar.nn.frozen import freeze
from lfvar.nn.scale_inputs import teacher_inputs
from lfvar.nn.var import VAR, VARConfig
from lfvar.sampling.filling import without_lesion
from lfvar.types import Batch, TokenBatch


class VARModule(SteppingModule):
    """Teacher forcing: given all coarser scales of the true image and its condition, every token is scored at once.

    Batches hold token ids from a cache (`TokenBatch`), or images (`Batch`) that the tokenizer encodes here; the same
    images give the same losses. The tokenizer is a constant: in no checkpoint, no optimizer, no average.

    Args:
        model: Sizes of the net, and in a `VARModel` also what it starts from.
        tokenizer: Whose ids are predicted; frozen here, in place.
        loss: What counts how much.
        optim: Optimizer and schedule.
        condition: What the net is told, and how often not.
        meaning: Types and measurements of the data.
        compile: Compile the net's training pass.
        seed: Decides what is drawn on the way.
        read_weights: False for a run that resumes: its checkpoint brings what `model.weights` brought at its start.

    Raises:
        ConfigError: When model, tokenizer, condition and data do not fit together (`fit_model`).
        ArtefactError: When the file that the model starts from does not fit.
    """

    net: VAR

    def __init__(
        self,
        model: VARConfig,
        tokenizer: LoadedTokenizer,
        loss: TokenLossConfig,
        optim: VAROptimConfig,
        condition: ConditionConfig,
        meaning: ConditionMeaning,
        *,
        compile: bool = False,
        seed: int = 0,
        read_weights: bool = True,
    ) -> None:
        super().__init__(clip_norm=optim.clip_norm, accumulate=optim.accumulate, seed=seed)
        sizes = fit_model(model, condition, meaning, tokenizer.net.config)
        self.net = start_var(model, sizes, meaning, read_weights=read_weights)
        self.meaning = meaning
        self.tokenizer_about = {
            **tokenizer.about,
            "hash": TokenizerIdentity.of(tokenizer.net).hash,  # of what ids depend on: a new decoder changes nothing
        }
        self.tokenizer = freeze(tokenizer.net)
        schedule = self.net.schedule
        self.loss = TokenLoss(schedule, loss)
        self.optim = optim
        self.condition = condition
        self.conditions = ConditionSource(self.net.conditioning, condition, schedule, meaning.feature_names, seed)
        self.running = RunningMeans()
        self.scores = TokenScores(schedule)
        self.scores_without = TokenScores(schedule)
        if compile:
            self.net.compile()

    @property
    def units(self) -> list[nn.Module]:
        """The blocks and the projections of the condition: 95 % of the weights at depth 16."""
        projections = [self.net.adaln] if self.net.adaln is not None else list(self.net.adalns or [])
        return [*self.net.blocks, *projections]

    @property
    def can_ignore_measurements(self) -> bool:
        """Whether the net has measurements and knows what to do without them."""
        return self.net.conditioning.can_drop_measurements

    @torch.no_grad()
    def token_ids(self, batch: Batch | TokenBatch) -> Tensor:
        """True ids of all scales, int64 (B, L): those of the batch, or of its images."""
        if isinstance(batch, TokenBatch):
            return torch.cat(batch.scale_ids(self.net.schedule), dim=1).long()
        return torch.cat(self.tokenizer.encode_ids(batch.image_BCHW), dim=1)

    @torch.no_grad()
    def skin_features(self, batch: Batch | TokenBatch) -> Tensor | None:
        """f̂ of the images without their lesions, BChw; None for a net that does not look at it.

        Raises:
            ValueError: When the batch holds tokens, but none of the skin.
        """
        if not self.net.config.skin_aware:
            return None
        if isinstance(batch, Batch):
            ids = self.tokenizer.encode_ids(without_lesion(batch.image_BCHW, batch.mask_B1HW))
        elif batch.skin_ids_BL is not None:
            ids = list(batch.skin_ids_BL.split(self.net.schedule.lengths, dim=1))
        else:
            raise ValueError("a skin_aware net trains on the tokens of skin, and this batch has none (skin_ids_BL)")
        return self.tokenizer.quantiser.decode_partials(ids)[-1]

    def full_condition(self, batch: Batch | TokenBatch) -> Condition:
        """Everything that is known of each image and the net has an input for."""
        return self.conditions.full(batch, self.conditions.inside(batch), self.skin_features(batch))

    def forward(self, ids_BL: Tensor, condition: Condition) -> Tensor:
        """Teacher-forced logits, float32 (B, L, V), of token ids under a condition."""
        with torch.no_grad():
            ids = ids_BL.split(self.net.schedule.lengths, dim=1)
            inputs_BLC = teacher_inputs(self.tokenizer.quantiser.decode_partials(ids), self.net.schedule)
        logits_BLV: Tensor = self.net(inputs_BLC, condition)
        return logits_BLV

    def setup(self, stage: str) -> None:
        """Keep DDP away from constants, before it wraps the module: it would send every buffer at every step."""
        names = [name for name, _ in self.named_buffers()]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self, names)

    def on_train_batch_start(self, batch: Batch | TokenBatch, batch_idx: int) -> None:
        """Fix what dropout and drop path draw."""
        self.seed_step()

    def training_step(self, batch: Batch | TokenBatch, batch_idx: int) -> Tensor:
        """Gradients of one batch, and an optimizer step after every `accumulate` of them; returns the detached loss."""
        inside_BL = self.conditions.inside(batch)
        step = (self.global_step, self.gathered)
        drawn = self.conditions.draw(batch, inside_BL, step, self.skin_features(batch))
        ids_BL = self.token_ids(batch)
        with nullcontext() if self.completes_step else self._without_sync():
            losses = self.loss(self(ids_BL, drawn.condition), ids_BL, inside_BL, drawn.condition.region_BL)
            self.manual_backward(losses.loss / self.accumulate)
        self.take_step()
        self._log_training(losses, drawn.shares)
        return losses.loss.detach()

    def _without_sync(self) -> AbstractContextManager[None]:
        """Gradients of an early batch of a step stay in this process; the last batch's pass adds all of them up."""
        strategy = self.trainer.strategy
        return strategy.block_backward_sync() if isinstance(strategy, ParallelStrategy) else nullcontext()

    def _log_training(self, losses: TokenLosses, shares: dict[str, Tensor]) -> None:
        """The loss of this step; the rest as means since the last time that loggers wrote (a 1×1 map is one token)."""
        schedule = self.net.schedule
        values = {
            "loss": scale_means(losses.nll_BL, schedule),
            "accuracy": scale_means(losses.correct_BL, schedule),
            **shares,
        }
        self.running.add(values)
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        batches = self.global_step * self.accumulate + self.gathered
        logged = {"loss": losses.loss}
        if every and batches % every == 0:
            means = self.running.take()
            for name in ("loss", "accuracy"):
                sides = zip(schedule.patch_nums, means.pop(name), strict=True)
                logged |= {f"{name}_{side}x{side}": mean for side, mean in sides}
            logged |= means
        self.log_training(logged)

    def validation_step(self, batch: Batch | TokenBatch, batch_idx: int) -> None:
        """Score every token with the full condition, and again without measurements: what they are worth."""
        inside_BL, ids_BL = self.conditions.inside(batch), self.token_ids(batch)
        condition = self.full_condition(batch)
        losses = self.loss(self(ids_BL, condition), ids_BL)
        self.scores.update(losses.nll_BL, losses.correct_BL, inside_BL)
        if self.can_ignore_measurements:
            poorer = self.net.conditioning.without(condition, measurements=True)
            losses = self.loss(self(ids_BL, poorer), ids_BL)
            self.scores_without.update(losses.nll_BL, losses.correct_BL, inside_BL)

    def on_validation_epoch_end(self) -> None:
        """Log means over the tokens of the whole split, of all processes."""
        values = self.scores.compute()
        if self.can_ignore_measurements:
            without = self.scores_without.compute()
            names = [name for name in ("loss", "loss_inside", "accuracy") if name in without]
            values |= {f"{name}_without_measurements": without[name] for name in names}
            self.scores_without.reset()
        self.log_dict({f"val/{name}": value for name, value in values.items()}, rank_zero_only=False)
        self.scores.reset()
        super().on_validation_epoch_end()

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[Schedule]]:
        """AdamW and its schedule over the length of the run."""
        # The fused step takes no group of split and whole weights together.
        fused = self.trainer.precision != "16-mixed" and not is_split(self.net)
        optimizer = build_var_optimizer(self.net, self.optim, fused=fused)
        return [optimizer], [Schedule(optimizer, var_lr_factor(self.optim, self.total_steps))]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say what the weights are and what their conditions mean, in plain data."""
        checkpoint["lfvar"] = describe_checkpoint("var", self.net.config) | {
            **self.meaning.to_dict(),
            "tokenizer": self.tokenizer_about,
            "condition": asdict(self.condition),
            "loss": asdict(self.loss.config),
        }

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse weights of another model, other tokens or other meanings before a single tensor is touched."""
        require_same_model(checkpoint, kind="var", model=asdict(self.net.config))
        about = checkpoint["lfvar"]
        ours = {"tokenizer": self.tokenizer_about["hash"], **self.meaning.to_dict()}
        theirs = {"tokenizer": about["tokenizer"]["hash"], **{name: about[name] for name in self.meaning.to_dict()}}
        different = [name for name, value in ours.items() if theirs[name] != value]
        if different:
            raise ArtefactError(
                f"the checkpoint was trained with another {', another '.join(different)} (its tokenizer was "
                f"{about['tokenizer'].get('file')})",
                cure="give resume= together with the tokenizer and the data it was trained with",
            )

    @property
    def averaged(self) -> Iterable[tuple[str, nn.Parameter]]:
        """What an average over training is taken of (`EMA` callback)."""
        return self.net.named_parameters()
