"""The real images that planning and painting read: rows, measurements and masks of a prepared folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lfvar.data.imageio import read_image, read_mask
from lfvar.data.manifest import Manifest, ManifestRow
from lfvar.data.records import PairError
from lfvar.errors import ArtefactError, ConfigError, DataError
from lfvar.generation.settings import SourceConfig
from lfvar.measure.schema import FEATURE_NAMES


@dataclass(frozen=True)
class Pool:
    """A prepared folder; made by `Pool.read`. Picklable, so that every process has its own."""

    folder: Path
    manifest: Manifest
    measured: Mapping[str, Mapping[str, float]]
    """Measurements of each image in natural units, without missing ones; empty where the folder is not measured."""

    @classmethod
    def read(cls, folder: Path, manifest: Manifest) -> Pool:
        """Read the measurements that belong to a manifest; there may be none.

        Raises:
            ArtefactError: When the table is damaged or of other images.
        """
        from lfvar.measure.parquet import MEASUREMENTS_FILE, read_table

        measured: dict[str, dict[str, float]] = {}
        if (Path(folder) / MEASUREMENTS_FILE).is_file():
            table = read_table(folder, manifest)
            values_NM = table[list(FEATURE_NAMES)].to_numpy(np.float64)
            for image_id, values in zip(table["image_id"], values_NM.tolist(), strict=True):
                pairs = zip(FEATURE_NAMES, values, strict=True)
                measured[str(image_id)] = {name: value for name, value in pairs if np.isfinite(value)}
        return cls(Path(folder), manifest, measured)

    @cached_property
    def rows(self) -> Mapping[str, ManifestRow]:
        """By image id."""
        return {row.image_id: row for row in self.manifest.rows}

    @property
    def classes(self) -> tuple[str, ...]:
        """Lesion types in the order of their labels."""
        return self.manifest.header.classes

    @property
    def size(self) -> int:
        """Side of the images."""
        return self.manifest.header.image_size

    def with_lesion(self, split: str, labels: Sequence[str] | None = None) -> list[ManifestRow]:
        """Images of a split that show a lesion, sorted by id."""
        rows = [row for row in self.manifest.select(split) if row.lesion_fraction > 0]
        return sorted((row for row in rows if labels is None or row.label in labels), key=lambda row: row.image_id)

    def measurements_of(self, image_id: str) -> Mapping[str, float]:
        """The measurements of an image.

        Raises:
            ArtefactError: When it was not measured.
        """
        if image_id not in self.measured:
            raise ArtefactError(
                f"image {image_id} in '{self.folder}' is not measured",
                cure=f"measure the images: {self.manifest.header.command}; or set ask.measurements=mean",
            )
        return self.measured[image_id]

    def read_image(self, image_id: str) -> NDArray[np.uint8]:
        """RGB (H, W, 3), as prepared.

        Raises:
            ArtefactError: When the file is gone or damaged.
        """
        try:
            return read_image(self.folder / self.rows[image_id].image)
        except PairError as error:
            raise self._gone(image_id, error) from error

    def read_mask(self, image_id: str) -> NDArray[np.bool_]:
        """(H, W), True = lesion, as prepared.

        Raises:
            ArtefactError: When the file is gone or damaged.
        """
        try:
            return read_mask(self.folder / self.rows[image_id].mask)
        except PairError as error:
            raise self._gone(image_id, error) from error

    def _gone(self, image_id: str, error: PairError) -> ArtefactError:
        return ArtefactError(
            f"prepared image {image_id} in '{self.folder}': {error}",
            cure=f"prepare again, which mends what is missing: {self.manifest.header.command}",
        )


def choose_sources(pool: Pool, config: SourceConfig, split: str, count: int) -> list[ManifestRow]:
    """The images to edit, type by type.

    Args:
        pool: Where from.
        config: Which.
        split: Unless ids are given.
        count: How many; 0: all. They are shared out over the types and lie evenly over the images of each.

    Raises:
        ConfigError: When an id or a type is unknown.
        DataError: When nothing is left to choose from.
    """
    if config.ids is not None:
        for image_id in config.ids:
            if image_id not in pool.rows:
                near = get_close_matches(image_id, pool.rows, n=3)
                raise ConfigError(
                    f"sources.ids has '{image_id}', which is no image in '{pool.folder}'",
                    cure=f"did you mean {' or '.join(near)}?" if near else "see its manifest for ids",
                )
            if pool.rows[image_id].lesion_fraction == 0:
                raise DataError(f"image {image_id} has no lesion", cure="choose other images with sources.ids")
        return [pool.rows[image_id] for image_id in config.ids]
    require_types(config.types, pool.classes, "sources.types")
    by_type = {label: pool.with_lesion(split, [label]) for label in config.types or pool.classes}
    by_type = {label: rows for label, rows in by_type.items() if rows}
    if not by_type:
        wanted = f" of type {', '.join(config.types)}" if config.types else ""
        raise DataError(
            f"'{pool.folder}' has no image{wanted} with a lesion in the {split} split",
            cure="choose another sources.split or other sources.types",
        )
    shares = share_out(count or sum(map(len, by_type.values())), [len(rows) for rows in by_type.values()])
    return [row for rows, share in zip(by_type.values(), shares, strict=True) for row in _spread(rows, share)]


def _spread(rows: Sequence[ManifestRow], count: int) -> list[ManifestRow]:
    """That many rows, in the middles of equal parts."""
    return [rows[int((index + 0.5) * len(rows) / count)] for index in range(count)]


def share_out(count: int, available: Sequence[int]) -> list[int]:
    """How many to take of each type: in turn, as long as it has some left."""
    shares = [0] * len(available)
    while sum(shares) < min(count, sum(available)):
        for index, limit in enumerate(available):
            if shares[index] < limit and sum(shares) < count:
                shares[index] += 1
    return shares


def require_types(types: Sequence[str] | None, classes: Sequence[str], where: str) -> None:
    """Make sure that types exist.

    Raises:
        ConfigError: When one does not.
    """
    for label in types or ():
        if label not in classes:
            near = get_close_matches(label, classes, n=2, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            raise ConfigError(f"{where} has '{label}'", cure=f"{hint}The types are {', '.join(classes)}")
