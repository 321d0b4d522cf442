"""Distances of generated images to real ones while the transformer trains, for watching and choosing checkpoints."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from numpy.typing import NDArray

from lfvar.lit.collective import place_among_processes
from lfvar.lit.var_module import VARModule
from lfvar.metrics.batches import to_bytes
from lfvar.metrics.frechet import MIN_SAMPLES, feature_distance
from lfvar.metrics.kernel_distance import kernel_distance
from lfvar.metrics.set_extractors import SetExtractor, find_set_extractors
from lfvar.nn.conditioning import Condition
from lfvar.nn.precision import float32_exact
from lfvar.sampling.filters import Filters
from lfvar.sampling.guidance import Guidance
from lfvar.sampling.sampler import sample
from lfvar.types import Batch, TokenBatch

Array = NDArray[np.float64]
Vectors = tuple[Array, ...]
"""What each extractor gives for one image."""


class GenerationMetrics(Callback):
    """Logs `val/fd_<space>` and `val/kd_<space>` of the weights that are validated, which are the average under EMA.

    Each chosen validation image gives its condition for one sample. Samples are compared with the validation images as
    the tokenizer shows them, the best that any transformer could do; so cached tokens are enough, and the tokenizer's
    own losses are not counted against the transformer. Choice and seed of an image hang on its id alone: the same
    images are drawn from the same noise at every step, in every run, and on any number of processes. All processes
    embed and gather, and all compute the same value, so a checkpoint callback can select by it.

    The values are for watching and for choosing checkpoints, not for tables: few images, no floor, no interval. See
    `lfvar.evaluate target=generated`.

    Args:
        extractors: Names of `lfvar.metrics.set_extractors`; not `measurements`, which takes too long in training.
        num_samples: Images generated each time; all validation images where there are fewer.
        every_n_steps: At the first validation this many optimizer steps after the last time; 0: at each. The last
            validation of a run always counts.
        seed: Moves all noise.
        guidance: Strengths; None: none.
        filters: Temperature, top-k, top-p; None: none.
        batch_size: Samples made at once.
        inception_weights: File of Inception's weights.
    """

    def __init__(
        self,
        extractors: Sequence[str] = ("lite0",),
        num_samples: int = 256,
        every_n_steps: int = 0,
        seed: int = 0,
        guidance: Guidance | None = None,
        filters: Filters | None = None,
        batch_size: int = 32,
        inception_weights: str | None = None,
    ) -> None:
        for name, value, low in (
            ("num_samples", num_samples, MIN_SAMPLES),
            ("batch_size", batch_size, 1),
            ("every_n_steps", every_n_steps, 0),
        ):
            if value < low:
                raise ValueError(f"{name} must be at least {low}, got {value}")
        self.extractor_names, self.inception_weights = list(extractors), inception_weights
        self.num_samples, self.every_n_steps, self.seed = num_samples, every_n_steps, seed
        self.guidance, self.filters = guidance or Guidance(), filters or Filters()
        self.batch_size = batch_size
        self._extractors: list[SetExtractor] | None = None
        self._last: int | None = None
        self._real: dict[str, tuple[int, Vectors]] = {}
        """Image id → priority and features of the real image."""
        self._conditions: dict[str, Condition] = {}

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the last validation's images."""
        self._real, self._conditions = {}, {}

    @torch.no_grad()
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: Batch | TokenBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep condition and real features of the images that may be chosen."""
        if trainer.sanity_checking or not self._is_due(trainer):
            return
        module = cast(VARModule, pl_module)
        priorities = [_priority(image_id) for image_id in batch.image_id]
        rows = [row for row, priority in enumerate(priorities) if self._may_be_chosen(priority)]
        if not rows:
            return
        ids_BL = module.token_ids(batch)[rows]
        condition = module.full_condition(batch).rows(torch.tensor(rows))
        with float32_exact(module.device):
            shown_BCHW = module.tokenizer.decode_ids(list(ids_BL.split(module.net.schedule.lengths, dim=1)))
        features = self._embed(shown_BCHW, module.device)
        for index, row in enumerate(rows):
            image_id = batch.image_id[row]
            self._real[image_id] = (priorities[row], features[index])
            self._conditions[image_id] = condition.rows(slice(index, index + 1)).to("cpu")
        for image_id in sorted(self._real, key=lambda name: (self._real[name][0], name))[self.num_samples :]:
            del self._real[image_id], self._conditions[image_id]

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Generate, gather, compare and log, on all processes."""
        if trainer.sanity_checking or not self._is_due(trainer):
            return
        self._last = trainer.global_step
        for name, value in self.compute(cast(VARModule, pl_module)).items():
            # Equal on all processes already; float64 is no type of every device.
            pl_module.log(f"val/{name}", torch.tensor(value, dtype=torch.float32), rank_zero_only=False)

    def compute(self, module: VARModule) -> dict[str, float]:
        """The distances; nothing where there are fewer than two images."""
        found = _gather({name: priority for name, (priority, _) in self._real.items()})
        chosen = sorted(found, key=lambda name: (found[name], name))[: self.num_samples]
        # Where a sampler padded its last batch, two processes hold the same image: the first one draws it.
        owner = _gather_owners(self._real)
        mine = [name for name in chosen if owner[name] == place_among_processes()[0]]
        made = _gather(dict(zip(mine, self._generate(module, mine), strict=True)))
        real = _gather({name: self._real[name][1] for name in mine})
        values: dict[str, float] = {}
        if len(chosen) < MIN_SAMPLES:
            return values
        sides = [self._spaces([part[name] for name in chosen]) for part in (made, real)]
        for space in sides[0]:
            values[f"fd_{space}"] = feature_distance(sides[0][space], sides[1][space])
            values[f"kd_{space}"] = kernel_distance(sides[0][space], sides[1][space])
        return values

    def _generate(self, module: VARModule, names: Sequence[str]) -> list[Vectors]:
        """Features of one sample for each of these images, with the weights as they are now."""
        was_training = module.net.training
        module.net.eval()
        rows: list[Vectors] = []
        try:
            for first in range(0, len(names), self.batch_size):
                part = names[first : first + self.batch_size]
                with float32_exact(module.device):
                    ids = sample(
                        module.net,
                        module.tokenizer.quantiser,
                        Condition.cat([self._conditions[name] for name in part]).to(module.device),
                        guidance=self.guidance,
                        filters=self.filters,
                        seeds=[self.seed + _priority(name) for name in part],
                    )
                    image_BCHW = module.tokenizer.decode_ids(ids)
                rows += self._embed(image_BCHW, module.device)
        finally:
            module.net.train(was_training)
        return rows

    def _embed(self, image_BCHW: torch.Tensor, device: torch.device) -> list[Vectors]:
        """Features of each image by each extractor."""
        pixels = to_bytes(image_BCHW)
        return list(zip(*(extractor.embed(pixels) for extractor in self._find(device)), strict=True))

    def _spaces(self, features: Sequence[Vectors]) -> dict[str, Array]:
        assert self._extractors is not None
        return {
            space: vectors_ND
            for extractor, part in zip(self._extractors, zip(*features, strict=True), strict=True)
            for space, vectors_ND in extractor.spaces(np.stack(part)).items()
        }

    def _find(self, device: torch.device) -> list[SetExtractor]:
        if self._extractors is None:
            self._extractors, _ = find_set_extractors(
                self.extractor_names, device, inception_weights=self.inception_weights
            )
        return self._extractors

    def _may_be_chosen(self, priority: int) -> bool:
        kept = self._real.values()
        return len(kept) < self.num_samples or priority <= max(other for other, _ in kept)

    def _is_due(self, trainer: Trainer) -> bool:
        step = trainer.global_step
        at_end = trainer.state.fn == TrainerFn.VALIDATING or 0 < trainer.max_steps <= step
        return at_end or self._last is None or step - self._last >= self.every_n_steps


def _priority(image_id: str) -> int:
    """A number that hangs on the id alone and looks random: which images are chosen, and their noise."""
    return zlib.crc32(image_id.encode())


def _gather(values: dict[str, Any]) -> dict[str, Any]:
    """The union of all processes' values."""
    _, count = place_among_processes()
    if count == 1:
        return values
    parts: list[dict[str, Any] | None] = [None] * count
    dist.all_gather_object(parts, values)
    return {name: value for part in parts if part is not None for name, value in part.items()}


def _gather_owners(values: dict[str, Any]) -> dict[str, int]:
    """The lowest rank that holds each name."""
    rank, count = place_among_processes()
    ranks: list[dict[str, int] | None] = [None] * count
    mine = dict.fromkeys(values, rank)
    if count == 1:
        return mine
    dist.all_gather_object(ranks, mine)
    return {name: owner for part in reversed(ranks) if part is not None for name, owner in part.items()}
