"""Prepared data as Lightning loaders: deterministic, resumable in mid-pass, exact on any number of processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from lfvar.data.dataset import LesionDataset
from lfvar.data.manifest import Manifest
from lfvar.data.stream import SampleStream, ShardSampler, StreamLoader
from lfvar.data.transforms import Augment
from lfvar.errors import ArtefactError, ConfigError, DataError
from lfvar.processes import usable_cores
from lfvar.types import Batch, Sample


@dataclass(frozen=True)
class LoaderConfig:
    """How images reach the model."""

    batch_size: int = 32
    """Images per optimizer step, over all processes together."""
    val_batch_size: int = 64
    """Images per validation batch and process; no result depends on it."""
    num_workers: int = -1
    """Loading processes per training process; -1: half of the machine's cores, none below four cores."""
    seed: int = 0
    """Decides order and augmentation."""
    augment: Augment = "crops"
    """Of training images; see `lfvar.data.transforms`."""
    overfit: int = 0
    """Train and validate on this many training images without augmentation, to see whether a model can learn at all."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "val_batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.num_workers < -1:
            raise ValueError(f"num_workers is -1 (choose) or a count, got {self.num_workers}")
        if self.overfit < 0:
            raise ValueError(f"overfit is a number of images, got {self.overfit}")
        if self.augment not in ("crops", "symmetries", "none"):
            raise ValueError(f"augment is 'crops', 'symmetries' or 'none', got {self.augment!r}")


class LesionDataModule(LightningDataModule):
    """Training, validation and test loaders over a prepared folder.

    Args:
        folder: What `lfvar.prepare` wrote.
        manifest: Its manifest, already checked against the settings of the run.
        config: How to load.

    Raises:
        DataError: When training or validation would be empty.
    """

    def __init__(self, folder: str | Path, manifest: Manifest, config: LoaderConfig) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.manifest = manifest
        self.config = config
        self._next_draw = 0
        self._stream: SampleStream | None = None
        train, val = manifest.select("train"), manifest.select("val")
        if config.overfit:
            train = val = train[: config.overfit]
        for split, rows in (("train", train), ("val", val)):
            if not rows:
                raise DataError(
                    f"'{self.folder}' has no images in the {split} split",
                    cure=f"set data.split.{split}_fraction, or prepare more images",
                )
        augment: Augment = "none" if config.overfit else config.augment
        size, classes = manifest.header.image_size, manifest.header.classes
        self.train_dataset = LesionDataset(self.folder, train, classes, size, augment=augment, seed=config.seed)
        self.val_dataset = LesionDataset(self.folder, val, classes, size)
        self.test_dataset = LesionDataset(self.folder, manifest.select("test"), classes, size)

    @property
    def classes(self) -> tuple[str, ...]:
        """Lesion types in the order of their label indices."""
        return self.manifest.header.classes

    def train_dataloader(self) -> StreamLoader:
        """One pass per epoch of an endless stream; a resumed run enters it where the checkpoint left it."""
        rank, world_size = self._place()
        if self.config.batch_size % world_size:
            raise ConfigError(
                f"data.loader.batch_size={self.config.batch_size} images per step do not divide by the "
                f"{world_size} processes of the trainer",
                cure=f"use a multiple of {world_size}, or another trainer.devices / trainer.num_nodes",
            )
        stream = SampleStream(
            len(self.train_dataset), self.config.batch_size // world_size, self.config.seed, rank, world_size
        )
        stream.next_draw = self._next_draw
        self._stream = stream
        return StreamLoader(self.train_dataset, stream, **self._options())

    def val_dataloader(self) -> DataLoader[Sample]:
        """Every validation image once over all processes."""
        return self._evaluation_loader(self.val_dataset)

    def test_dataloader(self) -> DataLoader[Sample]:
        """Every test image once over all processes."""
        return self._evaluation_loader(self.test_dataset)

    def state_dict(self) -> dict[str, Any]:
        """Which data, and how far into the stream; goes into every checkpoint."""
        next_draw = self._stream.next_draw if self._stream else self._next_draw
        return {"next_draw": next_draw, "seed": self.config.seed, "manifest_hash": self.manifest.hash}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Enter the stream where a checkpoint left it. Lightning calls this before it asks for loaders.

        Raises:
            ArtefactError: When the checkpoint was trained on other data, or in another order.
        """
        ours = {"manifest_hash": self.manifest.hash, "seed": self.config.seed}
        different = [
            f"{name} {state_dict[name]} there, {value} here"
            for name, value in ours.items()
            if state_dict[name] != value
        ]
        if different:
            raise ArtefactError(
                f"the checkpoint was trained on other data than '{self.folder}': {'; '.join(different)}",
                cure="give resume= together with the data and the seed it was trained with",
            )
        self._next_draw = state_dict["next_draw"]

    def _evaluation_loader(self, dataset: LesionDataset) -> DataLoader[Sample]:
        sampler = ShardSampler(len(dataset), *self._place())
        return DataLoader(
            dataset,
            batch_size=self.config.val_batch_size,
            sampler=sampler,
            collate_fn=Batch.collate,
            **self._options(),
        )

    def _options(self) -> Mapping[str, Any]:
        workers = self.config.num_workers
        if workers == -1:
            cores = usable_cores()
            workers = cores // 2 if cores >= 4 else 0
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return {"num_workers": workers, "persistent_workers": workers > 0, "pin_memory": on_gpu}

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
