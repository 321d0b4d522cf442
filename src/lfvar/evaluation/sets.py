"""Folders of images to compare: which of their images can be used, and their pixels."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lfvar.data.files import hash_bytes
from lfvar.data.imageio import read_image, read_mask
from lfvar.data.manifest import Manifest, ManifestRow
from lfvar.data.records import PairError
from lfvar.errors import DataError

MAX_LEFT_OUT = 0.1
"""A folder that lacks more of its images than this is no longer the set that its manifest describes."""

Pixels = tuple[NDArray[np.uint8], NDArray[np.bool_]]


@dataclass(frozen=True)
class ImageSet:
    """Some images of a prepared or generated folder, all of which can be read; make it with `open_set`."""

    name: str
    """What reports call it: "generated", "real"."""
    folder: Path
    manifest: Manifest
    """Of the folder, with the rows of this set alone."""
    manifest_hash: str
    """Of the folder's whole manifest."""
    left_out: tuple[str, ...]
    """Why images are left out, one phrase each."""

    @property
    def rows(self) -> tuple[ManifestRow, ...]:
        """The images."""
        return self.manifest.rows

    @property
    def labels(self) -> list[str]:
        """Type of each image."""
        return [row.label for row in self.rows]

    @property
    def image_size(self) -> int:
        """Side of the squares."""
        return self.manifest.header.image_size

    def __len__(self) -> int:
        return len(self.rows)

    def of_type(self, label: str | None) -> NDArray[np.int64]:
        """Indices of the images of a type; all for None."""
        return np.array([i for i, row in enumerate(self.rows) if label in (None, row.label)], dtype=np.int64)

    def read(self, index: int) -> Pixels:
        """Image (H, W, 3) and mask (H, W).

        Raises:
            DataError: When a file cannot be decoded, or is of another size than the manifest says.
        """
        row, size = self.rows[index], self.image_size
        cure = f"make the {self.name} images again: {self.manifest.header.command}"
        try:
            image_HWC, mask_HW = read_image(self.folder / row.image), read_mask(self.folder / row.mask)
        except PairError as error:
            raise DataError(f"{self.name} image {row.image_id} in '{self.folder}': {error}", cure=cure) from error
        if image_HWC.shape != (size, size, 3) or mask_HW.shape != (size, size):
            raise DataError(
                f"{self.name} image {row.image_id} in '{self.folder}' is {image_HWC.shape[1]}×{image_HWC.shape[0]} and "
                f"its mask {mask_HW.shape[1]}×{mask_HW.shape[0]}; the manifest says {size}×{size}",
                cure=cure,
            )
        return image_HWC, mask_HW

    def images(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Images BHWC."""
        size = self.image_size
        found = [self.read(int(index))[0] for index in indices]
        return np.stack(found) if found else np.zeros((0, size, size, 3), np.uint8)

    def batches(self, indices: Sequence[int] | NDArray[np.int64], size: int) -> Iterator[Pixels]:
        """Images BHWC and masks BHW, `size` at a time."""
        for first in range(0, len(indices), size):
            pairs = [self.read(int(index)) for index in indices[first : first + size]]
            yield np.stack([image for image, _ in pairs]), np.stack([mask for _, mask in pairs])

    def count_types(self) -> dict[str, int]:
        """Images of each type, in the order of the classes."""
        counts = Counter(self.labels)
        return {label: counts[label] for label in self.manifest.header.classes}


def open_set(
    name: str, folder: Path, manifest: Manifest, *, splits: Sequence[str] | None = None, limit: int = 0
) -> ImageSet:
    """Select images of a folder and make sure that their files are those of the manifest.

    Args:
        name: What reports call it.
        folder: Prepared or generated.
        manifest: Of that folder.
        splits: Of these splits alone; None: all images.
        limit: That many, evenly over the rows; 0: all.

    Raises:
        DataError: When more than `MAX_LEFT_OUT` of the files are missing or changed, or nothing is left.
    """
    rows = [row for row in manifest.rows if splits is None or row.split in splits]
    if limit:
        picks = np.linspace(0, len(rows) - 1, min(limit, len(rows))).round().astype(int)
        rows = [rows[index] for index in picks]
    problems = {row.image_id: problem for row in rows if (problem := _find_problem(folder, row))}
    if len(problems) > MAX_LEFT_OUT * len(rows):
        image_id, problem = next(iter(problems.items()))
        raise DataError(
            f"{len(problems)} of {len(rows)} {name} images in '{folder}' cannot be used; first {image_id}: {problem}",
            cure=f"make them again: {manifest.header.command}",
        )
    usable = tuple(row for row in rows if row.image_id not in problems)
    if not usable:
        where = f" in the {' and '.join(splits)} split" if splits is not None else ""
        raise DataError(f"'{folder}' has no {name} images{where}", cure="choose another split, or another folder")
    return ImageSet(
        name=name,
        folder=folder,
        manifest=dataclasses.replace(manifest, rows=usable),
        manifest_hash=manifest.hash,
        left_out=tuple(f"{image_id}: {problem}" for image_id, problem in problems.items()),
    )


def require_comparable(generated: ImageSet, real: ImageSet) -> None:
    """Make sure that two sets can be held against each other.

    Raises:
        DataError: When sizes differ, or they have no type in common.
    """
    if generated.image_size != real.image_size:
        raise DataError(
            f"generated images have {generated.image_size} pixels a side, real ones {real.image_size}: resizing one of "
            "them would be what a distance sees first",
            cure=f"prepare the real images with image_size={generated.image_size}",
        )
    if not set(generated.labels) & set(real.labels):
        raise DataError(
            f"generated images are of {', '.join(sorted(set(generated.labels)))}, real ones of "
            f"{', '.join(sorted(set(real.labels)))}: no type in common",
            cure="compare with the data that the model was trained on: data=… or real=FOLDER",
        )


def _find_problem(folder: Path, row: ManifestRow) -> str:
    """Why the files of a row are not what the manifest describes; "" where they are."""
    for what, path, expected in (("image", row.image, row.image_hash), ("mask", row.mask, row.mask_hash)):
        try:
            found = hash_bytes((folder / path).read_bytes())
        except OSError as error:
            return f"{what} cannot be read ({error.strerror})"
        if found != expected:
            return f"{what} was changed or damaged after it was made"
    return ""
