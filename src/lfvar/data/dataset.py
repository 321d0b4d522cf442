"""Prepared images as training samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from lfvar.data.imageio import read_image, read_mask
from lfvar.data.manifest import ManifestRow
from lfvar.data.measurements import MeasurementRows
from lfvar.data.records import PairError
from lfvar.data.stream import Draw
from lfvar.data.transforms import Augment, Transform
from lfvar.errors import ArtefactError
from lfvar.measure.symmetry import SYMMETRIES, move_image
from lfvar.types import Sample


class LesionDataset(Dataset[Sample]):
    """Reads prepared pairs and moves image and mask together.

    Args:
        folder: The prepared folder the rows' paths start from.
        rows: Which images.
        classes: Lesion types in the order of their label indices.
        image_size: Side of the prepared squares in pixels.
        augment: See `Transform`.
        seed: With the place in the stream, decides the augmentation of a draw.
        measurements: Of all rows; None: samples come without.
    """

    def __init__(
        self,
        folder: Path,
        rows: Sequence[ManifestRow],
        classes: Sequence[str],
        image_size: int,
        *,
        augment: Augment = "none",
        seed: int = 0,
        measurements: MeasurementRows | None = None,
    ) -> None:
        self.folder = folder
        self.rows = rows
        self.labels: Mapping[str, int] = {name: index for index, name in enumerate(classes)}
        # Flips and rotations are drawn and applied here, so that ids from a cache and measurements move alike.
        self.moves = augment == "symmetries"
        self.transform = Transform("none" if self.moves else augment, image_size)
        self.seed = seed
        self.measurements = measurements

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, draw: int | Draw) -> Sample:
        """One sample.

        Args:
            draw: An index, or an index and the place in the stream that seeds its augmentation (0 for a plain index).

        Raises:
            ArtefactError: When a prepared file is gone or damaged.
        """
        row, seed, symmetry = self.locate(draw)
        image_HWC, mask_HW = self.transform(*self.open(draw if isinstance(draw, int) else draw[0]), seed)
        values_M, present_M = self.measurements_of(row, symmetry)
        return Sample(
            image_CHW=to_model_range(move_image(image_HWC, *SYMMETRIES[symmetry])),
            mask_1HW=torch.from_numpy(move_image(mask_HW, *SYMMETRIES[symmetry])[None]).float(),
            label=self.labels[row.label],
            image_id=row.image_id,
            measurements_M=values_M,
            present_M=present_M,
        )

    def locate(self, draw: int | Draw) -> tuple[ManifestRow, int, int]:
        """What a draw means: the row, the seed of its augmentation, and its flip or rotation (into `SYMMETRIES`)."""
        index, place = (draw, 0) if isinstance(draw, int) else draw
        seed = int(np.random.SeedSequence([self.seed, place]).generate_state(1)[0])
        return self.rows[index], seed, seed % len(SYMMETRIES) if self.moves else 0

    def measurements_of(self, row: ManifestRow, symmetry: int) -> tuple[Tensor, Tensor]:
        """Values and presence (M,) of a row, flipped or turned; M = 0 for a dataset without measurements."""
        if self.measurements is None:
            return torch.zeros(0), torch.zeros(0, dtype=torch.bool)
        values_M, present_M = self.measurements.get(row.image_id, symmetry)
        return torch.from_numpy(values_M), torch.from_numpy(present_M)

    def open(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """What `read` gives of a row, by its place."""
        return self.read(self.rows[index])

    def read(self, row: ManifestRow) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Image (H, W, 3) and mask (H, W) of 0 and 1, as prepared.

        Raises:
            ArtefactError: When a prepared file is gone or damaged.
        """
        try:
            return read_image(self.folder / row.image), read_mask(self.folder / row.mask).astype(np.uint8)
        except PairError as error:
            raise ArtefactError(
                f"prepared image {row.image_id} in '{self.folder}': {error}",
                cure="run lfvar.prepare again with the same settings; it mends what is missing",
            ) from error


def to_model_range(image_HWC: NDArray[np.generic]) -> Tensor:
    """Pixels, 0 to 255, as a network takes them: float32 (3, H, W) in [-1, 1]."""
    image_CHW = torch.from_numpy(np.ascontiguousarray(image_HWC.transpose(2, 0, 1)))
    return image_CHW.float().div_(127.5).sub_(1)
