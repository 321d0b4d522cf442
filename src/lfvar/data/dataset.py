"""Prepared images as training samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from lfvar.data.imageio import read_image, read_mask
from lfvar.data.manifest import ManifestRow
from lfvar.data.records import PairError
from lfvar.data.stream import Draw
from lfvar.data.transforms import Augment, Transform
from lfvar.errors import ArtefactError
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
    ) -> None:
        self.folder = folder
        self.rows = rows
        self.labels: Mapping[str, int] = {name: index for index, name in enumerate(classes)}
        self.transform = Transform(augment, image_size)
        self.seed = seed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, draw: int | Draw) -> Sample:
        """One sample.

        Args:
            draw: An index, or an index and the place in the stream that seeds its augmentation (0 for a plain index).

        Raises:
            ArtefactError: When a prepared file is gone or damaged.
        """
        index, place = (draw, 0) if isinstance(draw, int) else draw
        row = self.rows[index]
        try:
            image_HWC = read_image(self.folder / row.image)
            mask_HW = read_mask(self.folder / row.mask).astype(np.uint8)
        except PairError as error:
            raise ArtefactError(
                f"prepared image {row.image_id} in '{self.folder}': {error}",
                cure="run lfvar.prepare again with the same settings; it mends what is missing",
            ) from error
        seed = int(np.random.SeedSequence([self.seed, place]).generate_state(1)[0])
        image_HWC, mask_HW = self.transform(image_HWC, mask_HW, seed)
        image_CHW = torch.from_numpy(np.ascontiguousarray(image_HWC.transpose(2, 0, 1)))
        return Sample(
            image_CHW=image_CHW.float().div_(127.5).sub_(1),
            mask_1HW=torch.from_numpy(np.ascontiguousarray(mask_HW[None])).float(),
            label=self.labels[row.label],
            image_id=row.image_id,
        )
