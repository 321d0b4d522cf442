"""A picture of what the transformer paints: each lesion type, with and without measurements, from fixed seeds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.trainer.states import TrainerFn
from lightning_utilities.core.rank_zero import rank_zero_only
from numpy.typing import NDArray
from torch import Tensor

from lfvar.data.datamodule import LesionDataModule
from lfvar.data.imageio import write_png
from lfvar.figures.panels import RGB
from lfvar.figures.samples import Group, SampleRow, draw_samples
from lfvar.lit.var_module import VARModule
from lfvar.nn.conditioning import Condition, Conditioning, Region
from lfvar.nn.precision import float32_exact
from lfvar.sampling.filters import Filters
from lfvar.sampling.guidance import Guidance
from lfvar.sampling.sampler import sample
from lfvar.types import Batch, TokenBatch


@dataclass(frozen=True)
class HeldOut:
    """The first validation image of a type, on the CPU."""

    condition: Condition
    """Everything that is known of it, one row."""
    ids: list[Tensor]
    """Its token ids, (1, p_k²) each."""
    mask_HW: NDArray[np.bool_]


class SampleGrid(Callback):
    """Writes samples to `folder`, and to loggers that take images, with the weights that were validated.

    Each type has the first image of its kind in the validation split as example, so pictures of different steps and
    runs compare. The same seeds stand in both groups of columns: what differs between them is the measurements.

    Args:
        folder: Where `step_000123.png` and `latest.png` go.
        num_samples: Samples per type, with and without measurements each.
        every_n_steps: Draw at the first validation this many optimizer steps after the last picture; 0: at each.
            The last validation of a run always draws.
        seed: Of the first column; the others count on.
        guidance: Strengths; None: none.
        filters: Temperature, top-k, top-p; None: top-p 0.96 of the 900 most likely codes, as VAR shows its samples.
        batch_size: Samples made at once.
    """

    def __init__(
        self,
        folder: str | Path,
        num_samples: int = 3,
        every_n_steps: int = 0,
        seed: int = 0,
        guidance: Guidance | None = None,
        filters: Filters | None = None,
        batch_size: int = 16,
    ) -> None:
        for name, value in (("num_samples", num_samples), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if every_n_steps < 0:
            raise ValueError(f"every_n_steps must be at least 0, got {every_n_steps}")
        self.folder = Path(folder)
        self.seeds = list(range(seed, seed + num_samples))
        self.every_n_steps = every_n_steps
        self.guidance = guidance or Guidance()
        self.filters = filters or Filters(top_k=900, top_p=0.96)
        self.batch_size = batch_size
        self.held_out: dict[int, HeldOut] = {}
        self._drawn_at: int | None = None

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw with the weights that were validated; a lent average is taken back later, in `on_validation_end`."""
        if trainer.sanity_checking or not self._is_due(trainer):
            return
        self._drawn_at = trainer.global_step
        module = cast(VARModule, pl_module)
        if not self.held_out:
            self.held_out = _remember(module, move_data_to_device(_examples(trainer), module.device))
        picture = self.draw(module)
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (f"step_{trainer.global_step:06d}.png", "latest.png"):
            write_png(self.folder / name, picture)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("samples", [picture], step=trainer.global_step)
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("samples", picture, trainer.global_step, dataformats="HWC")

    @torch.no_grad()
    def draw(self, module: VARModule) -> RGB:
        """The picture, with the weights as they are now, in full precision."""
        groups = _groups(module.net.conditioning)
        asked = [
            (label, group, condition)
            for label in range(len(module.meaning.classes))
            for group in groups
            if (condition := self._condition(module, label, group)) is not None
        ]
        was_training = module.net.training
        module.net.eval()
        with float32_exact(module.device):
            images_NSCHW = self._sample(module, Condition.cat([condition for _, _, condition in asked]))
            found = {(label, group): images for (label, group, _), images in zip(asked, images_NSCHW, strict=True)}
            rows = [
                SampleRow(
                    label=name,
                    source_CHW=self._source(module, label),
                    mask_HW=self.held_out[label].mask_HW if label in self.held_out else None,
                    samples=tuple(found.get((label, group)) for group in groups),
                )
                for label, name in enumerate(module.meaning.classes)
            ]
        module.net.train(was_training)
        return draw_samples(rows, groups, self.seeds)

    def _condition(self, module: VARModule, label: int, group: Group) -> Condition | None:
        """What the samples of a type and a group are asked for, one row on the CPU; None: nothing to ask."""
        conditioning, held_out = module.net.conditioning, self.held_out.get(label)
        if group == "measured":
            return None if held_out is None else held_out.condition
        if held_out is not None:
            return conditioning.without(held_out.condition, measurements=True)
        schedule = module.net.schedule
        values_1M = torch.zeros(1, conditioning.num_measurements)
        untold = Condition(
            label_B=torch.tensor([label]),
            measurements_BM=values_1M,
            present_BM=torch.zeros_like(values_1M, dtype=torch.bool),
            region_BL=torch.full((1, schedule.num_tokens), int(Region.UNKNOWN)),
            skin_BChw=torch.zeros(1, module.net.config.latent_channels, schedule.latent_size, schedule.latent_size),
            told_skin_B=torch.tensor([False]),
        )
        return conditioning.usable(untold)

    def _sample(self, module: VARModule, condition: Condition) -> NDArray[np.float32]:
        """Images (N, S, C, H, W) of N conditions and S seeds each."""
        repeated = condition.rows(torch.arange(len(condition)).repeat_interleave(len(self.seeds)))
        seeds = self.seeds * len(condition)
        pieces = []
        for first in range(0, len(seeds), self.batch_size):
            part = slice(first, first + self.batch_size)
            ids = sample(
                module.net,
                module.tokenizer.quantiser,
                repeated.rows(part).to(module.device),
                guidance=self.guidance,
                filters=self.filters,
                seeds=seeds[part],
            )
            pieces.append(module.tokenizer.decode_ids(ids).float().cpu().numpy())
        return np.concatenate(pieces).reshape(len(condition), len(self.seeds), *pieces[0].shape[1:])

    def _source(self, module: VARModule, label: int) -> NDArray[np.float32] | None:
        """The held-out image of a type as the tokenizer shows it: the best that any transformer could do."""
        if label not in self.held_out:
            return None
        ids = [ids_1l.to(module.device) for ids_1l in self.held_out[label].ids]
        image: NDArray[np.float32] = module.tokenizer.decode_ids(ids)[0].float().cpu().numpy()
        return image

    def _is_due(self, trainer: Trainer) -> bool:
        step = trainer.global_step
        if step == self._drawn_at:
            return False
        at_end = trainer.state.fn == TrainerFn.VALIDATING or 0 < trainer.max_steps <= step
        return at_end or self._drawn_at is None or step - self._drawn_at >= self.every_n_steps


def _groups(conditioning: Conditioning) -> tuple[Group, ...]:
    """Which columns a net can fill: LF-VAR's encoder cannot do without measurements."""
    if not conditioning.num_measurements:
        return ("type",)
    return ("measured", "type") if conditioning.can_drop_measurements else ("measured",)


@torch.no_grad()
def _examples(trainer: Trainer) -> Any:
    """A batch with an image of each type; of bare loaders the first batch."""
    datamodule = getattr(trainer, "datamodule", None)
    if datamodule is not None:  # its batches would be this process's part alone
        return cast(LesionDataModule, datamodule).first_of_each_type()
    return next(iter(cast(Iterable[Any], trainer.val_dataloaders)))


def _remember(module: VARModule, batch: Batch | TokenBatch) -> dict[int, HeldOut]:
    """Keep the rows of a batch by their types, which differ."""
    ids_BL, condition = module.token_ids(batch), module.full_condition(batch)
    return {
        label: HeldOut(
            condition=condition.rows(slice(row, row + 1)).to("cpu"),
            ids=list(ids_BL[row : row + 1].cpu().split(module.net.schedule.lengths, dim=1)),
            mask_HW=(batch.mask_B1HW[row, 0] > 0).cpu().numpy(),
        )
        for row, label in enumerate(batch.label_B.tolist())
    }
