"""Training images from two folders: real ones, generated ones, or both. Validation and test images are always real."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lfvar.data.datamodule import LesionDataModule
from lfvar.data.dataset import LesionDataset
from lfvar.data.generated import GENERATED_FILE, read_generated
from lfvar.data.imageio import read_image, read_mask
from lfvar.data.loading import LoaderConfig
from lfvar.data.manifest import Manifest, ManifestRow
from lfvar.data.records import PairError
from lfvar.data.transforms import Augment
from lfvar.errors import ArtefactError, ConfigError, DataError

TrainOn = Literal["real", "synthetic", "both", "filled"]


@dataclass(frozen=True)
class SyntheticImages:
    """A generated folder, checked against the real images that it is used with."""

    folder: Path
    manifest: Manifest

    @classmethod
    def read(cls, folder: str | Path, real: Manifest) -> SyntheticImages:
        """Open a generated folder.

        Raises:
            ArtefactError: When there is none, or it is damaged.
            DataError: When its images are of another size or of unknown types, or were painted into real images that
                are kept for validation or test.
        """
        folder = Path(folder)
        manifest = Manifest.read(folder, command="python -m lfvar.generate")
        _check_fit(folder, manifest, real)
        _check_sources(folder, manifest, real)
        return cls(folder, manifest)


class MixedDataModule(LesionDataModule):
    """What a classifier trains on; loaders, order and resuming as in `LesionDataModule`.

    - `real`: the real training images alone;
    - `synthetic`: the generated images alone;
    - `both`: one pool of both;
    - `filled`: all real images, and per type as many generated ones as it lacks of the most frequent type: rare types
      are oversampled with new images instead of copies.

    With `data.loader.balanced` every type is drawn equally often from whatever there is of it. In runs of a given
    number of steps that is what oversampling is too: both repeat the images of rare types.

    Args:
        folder: The real images, as `lfvar.prepare` wrote them.
        manifest: Their manifest.
        config: How to load.
        synthetic: The generated images; needed by all but `real`.
        train_on: Which images.

    Raises:
        ConfigError: When generated images are asked for and none are given, or measurements are.
        DataError: As `LesionDataModule`, and when there is no generated image to train on.
    """

    def __init__(
        self,
        folder: str | Path,
        manifest: Manifest,
        config: LoaderConfig,
        synthetic: SyntheticImages | None = None,
        train_on: TrainOn = "real",
    ) -> None:
        if train_on not in get_args(TrainOn):
            raise ConfigError(
                f"train_on={train_on} is no choice of training images",
                cure=f"use train_on={', '.join(get_args(TrainOn))}",
            )
        if train_on != "real" and synthetic is None:
            raise ConfigError(
                f"train_on={train_on} needs generated images, and synthetic names no folder of them",
                cure="set synthetic=FOLDER (made by python -m lfvar.generate), or train_on=real",
            )
        if config.measurements:
            raise ConfigError(
                "data.loader.measurements=true: a classifier sees images alone",
                cure="set data.loader.measurements=false",
            )
        self.synthetic = None if train_on == "real" else synthetic
        self.train_on = train_on
        super().__init__(folder, manifest, config)
        if self.synthetic is not None and not config.overfit:
            self.train_dataset = self._mixed(self.synthetic)

    @property
    def description(self) -> dict[str, Any]:
        """Which images these are, in plain data, for checkpoints."""
        return {
            "manifest": self.manifest.hash,
            "train_on": self.train_on,
            "synthetic": None if self.synthetic is None else self.synthetic.manifest.hash,
            "num_images": dict(sorted(Counter(row.label for row in self.train_dataset.rows).items())),
            "balanced": self.config.balanced,
        }

    def _mixed(self, synthetic: SyntheticImages) -> MixedDataset:
        real, made = self.manifest.select("train"), synthetic.manifest.select("train")
        if not made:
            raise DataError(
                f"'{synthetic.folder}' holds no images to train on", cure="generate some, or set train_on=real"
            )
        if self.train_on == "synthetic":
            real = []
        if self.train_on == "filled":
            made = fill_up(real, made, self.config.seed)
        header = self.manifest.header
        settings: dict[str, Any] = {"augment": self.config.augment, "seed": self.config.seed}
        return MixedDataset(self.folder, real, synthetic.folder, made, header.classes, header.image_size, **settings)

    def _order(self) -> dict[str, Any]:
        made = None if self.synthetic is None else self.synthetic.manifest.hash
        return {**super()._order(), "train_on": self.train_on, "synthetic": made}


class MixedDataset(LesionDataset):
    """Prepared pairs of two folders as one dataset: the real ones first.

    Args:
        folder: Of the real images.
        rows: Real images.
        made_folder: Of the generated images.
        made: Generated images.
        classes: Lesion types in the order of their label indices.
        image_size: Side of the squares in pixels.
        augment: See `Transform`.
        seed: With the place in the stream, decides the augmentation of a draw.
    """

    def __init__(
        self,
        folder: Path,
        rows: Sequence[ManifestRow],
        made_folder: Path,
        made: Sequence[ManifestRow],
        classes: Sequence[str],
        image_size: int,
        *,
        augment: Augment = "none",
        seed: int = 0,
    ) -> None:
        super().__init__(folder, [*rows, *made], classes, image_size, augment=augment, seed=seed)
        self.made_folder = made_folder
        self.num_real = len(rows)

    def open(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """As `LesionDataset.open`, from the folder that the row belongs to.

        Its place says which: ids of images may be those of their sources.
        """
        index = range(len(self))[index]
        if index < self.num_real:
            return super().open(index)
        row = self.rows[index]
        try:
            mask_HW = read_mask(self.made_folder / row.mask).astype(np.uint8)
            return read_image(self.made_folder / row.image), mask_HW
        except PairError as error:
            raise ArtefactError(
                f"generated image {row.image_id} in '{self.made_folder}': {error}",
                cure="run the lfvar.generate command of that folder again; it makes what is missing",
            ) from error


def fill_up(real: Sequence[ManifestRow], made: Sequence[ManifestRow], seed: int) -> list[ManifestRow]:
    """Of the generated images of each type, as many as the real ones lack of the most frequent type.

    Where there are fewer, all of them; which ones is drawn.
    """
    counts = Counter(row.label for row in real)
    rng = np.random.default_rng([seed, len(made)])
    chosen: list[ManifestRow] = []
    for label in sorted({row.label for row in made}):
        mine = [row for row in made if row.label == label]
        lacking = max(counts.values()) - counts[label]
        chosen += [mine[index] for index in sorted(rng.permutation(len(mine))[:lacking])]
    return chosen


def _check_fit(folder: Path, made: Manifest, real: Manifest) -> None:
    """Same size, no type that the real images do not know."""
    if made.header.image_size != real.header.image_size:
        raise DataError(
            f"'{folder}' holds images of {made.header.image_size} px, the real ones have {real.header.image_size}",
            cure="generate with a model of the same image_size, or prepare the real images at that size",
        )
    unknown = sorted({row.label for row in made.rows} - set(real.header.classes))
    if unknown:
        raise DataError(
            f"'{folder}' holds the types {', '.join(unknown)}; the real images have {', '.join(real.header.classes)}",
            cure="give a folder that was generated for the same types",
        )


def _check_sources(folder: Path, made: Manifest, real: Manifest) -> None:
    """No generated image shows skin of an image that is held out: the test would know it already."""
    held_out = [row for row in real.rows if row.split != "train"]
    known = {row.image_id for row in held_out} | {row.lesion_id for row in held_out if row.lesion_id}
    sources = {row.image_id: {row.lesion_id} for row in made.rows}
    for image_id, source_id in _source_ids(folder).items():
        sources.setdefault(image_id, set()).add(source_id)
    leaked = sorted(image_id for image_id, ids in sources.items() if ids & known)
    if leaked:
        raise DataError(
            f"{len(leaked)} of the {len(sources)} images in '{folder}' were painted into images of the validation or"
            f" test split (the first: {leaked[0]}): scores on those would mean nothing",
            cure="generate from the training split alone, of data prepared with the same split",
        )


def _source_ids(folder: Path) -> dict[str, str | None]:
    """The image that each generated one was painted into; empty for a folder of whole images that has no table."""
    if not (folder / GENERATED_FILE).is_file():
        return {}
    table = read_generated(folder)
    known = table["source_id"].where(table["source_id"].notna(), None)
    return dict(zip(table["image_id"], known, strict=True))
