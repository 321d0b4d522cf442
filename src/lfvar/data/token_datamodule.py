"""Token ids as Lightning loaders: from a cache, or as images that the module encodes itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from lfvar.data.datamodule import LesionDataModule
from lfvar.data.dataset import LesionDataset
from lfvar.data.loading import LoaderConfig
from lfvar.data.manifest import Manifest
from lfvar.data.stream import Draw
from lfvar.data.token_cache import TokenCache
from lfvar.errors import ConfigError
from lfvar.types import Batch, TokenBatch, TokenSample


class TokenDataset(Dataset[TokenSample]):
    """The samples of a `LesionDataset` as token ids: the same draws, flips, rotations and measurements.

    Args:
        images: Whose samples; no image of it is opened.
        cache: Holds all of its images.
    """

    def __init__(self, images: LesionDataset, cache: TokenCache) -> None:
        self.images = images
        self.cache = cache

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, draw: int | Draw) -> TokenSample:
        """One sample; see `LesionDataset`."""
        row, _, symmetry = self.images.locate(draw)
        values_M, present_M = self.images.measurements_of(row, symmetry)
        return TokenSample(
            ids_L=self.cache.get_ids(row.image_id, symmetry),
            mask_1HW=self.cache.get_mask(row.image_id, symmetry),
            label=self.images.labels[row.label],
            image_id=row.image_id,
            measurements_M=values_M,
            present_M=present_M,
            skin_ids_L=self.cache.get_skin_ids(row.image_id, symmetry),
        )


class TokenDataModule(LesionDataModule):
    """What the transformer trains on.

    Loaders give `TokenBatch` where there is a cache, and `Batch` where there is none: the module then turns images into
    ids with its own tokenizer, and gets the same ids for the same draws. Order, resuming and processes are as in
    `LesionDataModule`, with or without cache alike; `train_dataset`, `val_dataset` and `test_dataset` hold images in
    both cases.

    Args:
        folder: What `lfvar.prepare` wrote.
        manifest: Its manifest, already checked against the settings of the run.
        config: How to load; not with `augment="crops"`.
        cache: Opened for the same manifest, and for the tokenizer of the module; None: images.

    Raises:
        ConfigError: When crops are asked for.
        DataError: As `LesionDataModule`.
        ArtefactError: As `LesionDataModule`.
    """

    def __init__(
        self, folder: str | Path, manifest: Manifest, config: LoaderConfig, cache: TokenCache | None = None
    ) -> None:
        if config.augment == "crops":
            raise ConfigError(
                "data.loader.augment=crops: the transformer learns images as prepared",
                cure="set data.loader.augment=symmetries (the 8 flips and rotations), or none",
            )
        if cache is not None and cache.manifest_hash != manifest.hash:
            raise ValueError("the token cache was opened for another manifest")
        super().__init__(folder, manifest, config)
        self.cache = cache

    @property
    def _collate(self) -> Callable[[list[Any]], Any]:
        return Batch.collate if self.cache is None else TokenBatch.collate

    def _loaded(self, dataset: LesionDataset) -> Dataset[Any]:
        return dataset if self.cache is None else TokenDataset(dataset, self.cache)
