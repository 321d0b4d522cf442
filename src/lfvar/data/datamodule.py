"""Prepared data as Lightning loaders: deterministic, resumable in mid-pass, exact on any number of processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from lfvar.data.balance import BalancedStream
from lfvar.data.carrying import Carrying, CarryingCollate, RaisingLoader
from lfvar.data.dataset import LesionDataset
from lfvar.data.loading import LoaderConfig
from lfvar.data.manifest import Manifest, ManifestRow
from lfvar.data.measurements import MeasurementRows
from lfvar.data.stream import SampleStream, ShardSampler, StreamLoader
from lfvar.data.transforms import Augment
from lfvar.errors import ArtefactError, ConfigError, DataError
from lfvar.measure.standardise import Standardiser
from lfvar.processes import cores_of_process, usable_cores
from lfvar.types import Batch


class LesionDataModule(LightningDataModule):
    """Training, validation and test loaders over a prepared folder.

    Args:
        folder: What `lfvar.prepare` wrote.
        manifest: Its manifest, already checked against the settings of the run.
        config: How to load.

    Raises:
        DataError: When training or validation would be empty, or measurements of images without lesions are wanted.
        ArtefactError: When measurements are wanted, and are missing or belong to other images or another split.
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
        wanted = config.measurements
        self.measurements = MeasurementRows.read(self.folder, manifest, config.features) if wanted else None
        self.train_dataset = self._dataset(train, "none" if config.overfit else config.augment)
        self.val_dataset = self._dataset(val)
        self.test_dataset = self._dataset(manifest.select("test"))

    @property
    def classes(self) -> tuple[str, ...]:
        """Lesion types in the order of their label indices."""
        return self.manifest.header.classes

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The measurements in the order of `measurements_BM`; empty without."""
        return self.measurements.names if self.measurements is not None else ()

    @property
    def feature_groups(self) -> dict[str, tuple[int, ...]]:
        """Columns of `measurements_BM` that belong to each group; empty without."""
        return self.measurements.groups if self.measurements is not None else {}

    @property
    def standardiser(self) -> Standardiser | None:
        """The scales of `measurements_BM`, for checkpoints and to read measurements back; None without."""
        return self.measurements.standardiser if self.measurements is not None else None

    def train_dataloader(self) -> StreamLoader:
        """One pass per epoch of an endless stream; a resumed run enters it where the checkpoint left it."""
        rank, world_size = self._place()
        if self.config.batch_size % world_size:
            raise ConfigError(
                f"data.loader.batch_size={self.config.batch_size} images per step do not divide by the "
                f"{world_size} processes of the trainer",
                cure=f"use a multiple of {world_size}, or another trainer.devices / trainer.num_nodes",
            )
        place = (self.config.batch_size // world_size, self.config.seed, rank, world_size)
        rows = self.train_dataset.rows
        balanced = self.config.balanced
        stream = BalancedStream([row.label for row in rows], *place) if balanced else SampleStream(len(rows), *place)
        stream.next_draw = self._next_draw
        self._stream = stream
        options = self._options()
        dataset, collate = self._carried(self.train_dataset, options["num_workers"])
        loader = StreamLoader(dataset, stream, **options)
        loader.collate_fn = collate
        return loader

    def val_dataloader(self) -> DataLoader[Any]:
        """Every validation image once over all processes."""
        return self._evaluation_loader(self.val_dataset)

    def test_dataloader(self) -> DataLoader[Any]:
        """Every test image once over all processes."""
        return self._evaluation_loader(self.test_dataset)

    def first_of_each_type(self) -> Any:
        """The first validation image of each type that has one, as a batch like those of the loaders."""
        firsts: dict[str, int] = {}
        for index, row in enumerate(self.val_dataset.rows):
            firsts.setdefault(row.label, index)
        dataset = self._loaded(self.val_dataset)
        return self._collate([dataset[index] for index in firsts.values()])

    def state_dict(self) -> dict[str, Any]:
        """Which data, and how far into the stream; goes into every checkpoint."""
        next_draw = self._stream.next_draw if self._stream else self._next_draw
        return {"next_draw": next_draw, **self._order()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Enter the stream where a checkpoint left it. Lightning calls this before it asks for loaders.

        Raises:
            ArtefactError: When the checkpoint was trained on other data, or in another order.
        """
        theirs = {"balanced": False, **state_dict}  # older checkpoints know no other order
        different = [
            f"{name} {theirs[name]} there, {value} here"
            for name, value in self._order().items()
            if theirs[name] != value
        ]
        if different:
            raise ArtefactError(
                f"the checkpoint was trained on other data than '{self.folder}': {'; '.join(different)}",
                cure="give resume= together with the data and the seed it was trained with",
            )
        self._next_draw = state_dict["next_draw"]

    def _order(self) -> dict[str, Any]:
        """What decides which image stands at a place of the stream."""
        return {"seed": self.config.seed, "manifest_hash": self.manifest.hash, "balanced": self.config.balanced}

    def _dataset(self, rows: Sequence[ManifestRow], augment: Augment = "none") -> LesionDataset:
        header = self.manifest.header
        return LesionDataset(
            self.folder,
            rows,
            header.classes,
            header.image_size,
            augment=augment,
            seed=self.config.seed,
            measurements=self.measurements,
        )

    @property
    def _collate(self) -> Callable[[list[Any]], Any]:
        """How samples become a batch."""
        return Batch.collate

    def _loaded(self, dataset: LesionDataset) -> Dataset[Any]:
        """What loaders read of a dataset."""
        return dataset

    def _evaluation_loader(self, dataset: LesionDataset) -> DataLoader[Any]:
        sampler = ShardSampler(len(dataset), *self._place())
        options = self._options()
        loaded, collate = self._carried(dataset, options["num_workers"])
        return RaisingLoader(
            loaded, batch_size=self.config.val_batch_size, sampler=sampler, collate_fn=collate, **options
        )

    def _carried(self, dataset: LesionDataset, num_workers: int) -> tuple[Dataset[Any], Callable[[list[Any]], Any]]:
        """What loaders read, and how they make batches; errors of loader processes reach this one as they were."""
        loaded, collate = self._loaded(dataset), self._collate
        return (Carrying(loaded), CarryingCollate(collate)) if num_workers else (loaded, collate)

    def _options(self) -> dict[str, Any]:
        workers = self.config.num_workers
        if workers == -1:
            here = 1 if self.trainer is None else max(self.trainer.world_size // self.trainer.num_nodes, 1)
            workers = cores_of_process(here, os.environ) // 2 if usable_cores() >= 4 else 0
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return {"num_workers": workers, "persistent_workers": workers > 0, "pin_memory": on_gpu}

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
