"""Trains a classifier of lesion types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from lfvar.data.datamodule import LesionDataModule
from lfvar.data.manifest import ManifestRow
from lfvar.errors import ArtefactError, ConfigError
from lfvar.interop.checkpoints import require_same_model
from lfvar.interop.classifiers import KIND, describe_classifier
from lfvar.lit.optim import OptimConfig, build_optimizer, lr_factor
from lfvar.lit.resumption import Schedule
from lfvar.lit.stepping import SteppingModule
from lfvar.losses.classes import ClassLossConfig, class_loss
from lfvar.metrics.classification import ClassPredictions, score_classes
from lfvar.nn.classifier import Classifier, ClassifierConfig
from lfvar.types import Batch


class ClassifierModule(SteppingModule):
    """Cross-entropy on images; scores that count every type the same, on validation and test split.

    Args:
        model: Which network.
        loss: What counts how much.
        optim: Optimizer and schedule.
        classes: Lesion types in the order of their labels.
        trained_on: Plain data for the checkpoint: which images these are.
        compile: Compile the network.
        seed: Decides what dropout draws.
        read_weights: False for a run that resumes: its checkpoint brings what `model.weights` brought at its start.

    Raises:
        ConfigError: When the model has another number of types than the data, or a setting does nothing here.
    """

    net: Classifier

    def __init__(
        self,
        model: ClassifierConfig,
        loss: ClassLossConfig,
        optim: OptimConfig,
        classes: Sequence[str],
        trained_on: Mapping[str, Any],
        *,
        compile: bool = False,
        seed: int = 0,
        read_weights: bool = True,
    ) -> None:
        super().__init__(clip_norm=optim.clip_norm, accumulate=optim.accumulate, seed=seed)
        self.net = Classifier(_with_classes(model, classes), read_weights=read_weights)
        self.loss = loss
        self.optim = _without_tokenizer_rates(optim)
        self.classes = tuple(classes)
        self.trained_on = dict(trained_on)
        self.predictions = ClassPredictions()
        self.scores: dict[str, float] = {}
        self._rows: Sequence[ManifestRow] = ()
        self._places: dict[str, int] = {}
        if compile:
            self.net.compile()

    def setup(self, stage: str) -> None:
        """Let batch norms, which library networks have and ours have not, see the batches of all processes."""
        if self.trainer.world_size > 1 and self.trainer.strategy.root_device.type == "cuda":  # torch has it for no CPU
            self.net = nn.SyncBatchNorm.convert_sync_batchnorm(self.net)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Logits, float32 (B, C), of images in [-1, 1]."""
        return self.net(image_BCHW)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Fix what dropout draws."""
        self.seed_step()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Gradients of one batch, and an optimizer step after every `accumulate` of them; returns the detached loss."""
        logits_BC = self(batch.image_BCHW)
        loss = class_loss(logits_BC, batch.label_B, self.loss)
        self.manual_backward(loss / self.accumulate)
        self.take_step()
        right = (logits_BC.detach().argmax(1) == batch.label_B).float().mean()
        self.log_training({"loss": loss, "accuracy": right})
        return loss.detach()

    def on_validation_epoch_start(self) -> None:
        """Start anew on the validation split."""
        self._start(self._data.val_dataset.rows)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the logits; they are scored over all processes at the end of the epoch."""
        self._predict(batch)

    def on_validation_epoch_end(self) -> None:
        """Score; `val/balanced_accuracy` chooses the best checkpoint."""
        scores = self._score(num_resamples=0)
        self.scores = {} if self.trainer.sanity_checking else scores
        self._log_scores("val", scores)

    def on_test_epoch_start(self) -> None:
        """Start anew on the test split."""
        self._start(self._data.test_dataset.rows)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """As validation."""
        self._predict(batch)

    def on_test_epoch_end(self) -> None:
        """Score, with intervals."""
        self._log_scores("test", self._score(num_resamples=1000))

    @property
    def _data(self) -> LesionDataModule:
        return cast(LesionDataModule, self.trainer.datamodule)  # type: ignore[attr-defined]

    def _start(self, rows: Sequence[ManifestRow]) -> None:
        self.predictions.reset()
        self._rows = rows
        self._places = {row.image_id: place for place, row in enumerate(rows)}

    def _predict(self, batch: Batch) -> None:
        place_B = torch.tensor([self._places[image_id] for image_id in batch.image_id], device=self.device)
        self.predictions.update(self(batch.image_BCHW), batch.label_B, place_B)

    def _score(self, *, num_resamples: int) -> dict[str, float]:
        """Scores of what was predicted, the same in every process."""
        logits_NC, label_N, place_N = (values.cpu().numpy() for values in self.predictions.compute())
        self.predictions.reset()
        rows = [self._rows[place] for place in place_N]
        lesion_N = [row.lesion_id or row.image_id for row in rows]
        scores = score_classes(logits_NC, label_N, self.classes, lesion_N=lesion_N, num_resamples=num_resamples)
        return scores.to_dict(intervals=num_resamples > 0)

    def _log_scores(self, split: str, scores: Mapping[str, float]) -> None:
        values = {f"{split}/{name}": torch.tensor(value, device=self.device) for name, value in scores.items()}
        self.log_dict(values, rank_zero_only=False)

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[Schedule]]:
        """AdamW and its schedule over the length of the run."""
        optimizer = build_optimizer(self.net, self.optim)
        return [optimizer], [Schedule(optimizer, lr_factor(self.optim, self.total_steps))]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say what the weights are, in plain data, so that they load without this module."""
        checkpoint["lfvar"] = describe_classifier(self.net.config, self.classes) | {
            "trained_on": self.trained_on,
            "loss": asdict(self.loss),
            "scores": {f"val/{name}": value for name, value in self.scores.items()},
        }

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse weights of another model or other types before a single tensor is touched."""
        require_same_model(checkpoint, kind=KIND, model=asdict(self.net.config))
        classes = tuple(checkpoint["lfvar"]["classes"])
        if classes != self.classes:
            raise ArtefactError(
                f"the checkpoint knows the types {', '.join(classes)}; these data have {', '.join(self.classes)}",
                cure="give resume= together with the data it was trained with",
            )

    @property
    def averaged(self) -> Iterable[tuple[str, nn.Parameter]]:
        """What an average over training is taken of (`EMA` callback)."""
        return self.net.named_parameters()


def _with_classes(model: ClassifierConfig, classes: Sequence[str]) -> ClassifierConfig:
    if model.num_classes not in (0, len(classes)):
        raise ConfigError(
            f"model.num_classes={model.num_classes}, but the data have {len(classes)} types ({', '.join(classes)})",
            cure="set model.num_classes=0: the data decide",
        )
    return replace(model, num_classes=len(classes))


def _without_tokenizer_rates(optim: OptimConfig) -> OptimConfig:
    for name in ("encoder_factor", "codebook_factor"):
        if getattr(optim, name) != 1:
            raise ConfigError(
                f"optim.{name}={getattr(optim, name)} moves nothing: a classifier has no such part",
                cure=f"leave optim.{name} out, or use optim=classifier",
            )
    return optim
