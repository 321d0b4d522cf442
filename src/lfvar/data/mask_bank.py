"""Real lesion outlines to paint into: the masks of a prepared folder's training split, found by size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lfvar.data.imageio import read_mask
from lfvar.data.manifest import Manifest, ManifestRow
from lfvar.data.records import PairError
from lfvar.errors import ArtefactError, ConfigError, DataError

_STREAM = 0x6D61736B
"""Keeps draws apart from other uses of the same seed."""


@dataclass(frozen=True, eq=False)
class BankMask:
    """A mask of the bank."""

    mask_HW: NDArray[np.bool_]
    image_id: str
    label: str
    relative_area: float
    """Share of the image that is lesion; of the mask as it is here."""


class MaskBank:
    """Masks of one split, by the size of their lesions. Files are read when they are chosen.

    Args:
        folder: A prepared folder.
        rows: Those with a lesion are the bank.

    Raises:
        DataError: When no row has a lesion.
    """

    def __init__(self, folder: Path, rows: Sequence[ManifestRow]) -> None:
        self.folder = Path(folder)
        self.rows = sorted((row for row in rows if row.lesion_fraction > 0), key=lambda row: row.image_id)
        self._types: dict[str | None, tuple[list[ManifestRow], NDArray[np.float64]]] = {}
        if not self.rows:
            raise DataError(
                f"'{folder}' has no masks to take outlines from", cure="use a dataset with masks, or draw shapes"
            )

    @classmethod
    def read(cls, folder: Path, split: str = "train") -> MaskBank:
        """The bank of a prepared folder.

        Raises:
            ArtefactError: When its manifest is missing or damaged.
            DataError: When no image of the split has a lesion.
        """
        return cls(Path(folder), Manifest.read(Path(folder)).select(split))

    def __len__(self) -> int:
        return len(self.rows)

    def nearest(
        self,
        relative_area: float,
        *,
        label: str | None = None,
        centre: tuple[float, float] | None = None,
        seed: int = 0,
        among: int = 8,
    ) -> BankMask:
        """A mask of about that size: one of the few nearest, drawn by the seed.

        Args:
            relative_area: Wanted share of the image; compared by ratio, so that half is as far as double.
            label: Only outlines of this type; None: of any.
            centre: Move it there (x, y from the left and top edge, in [0, 1]), as far as it fits; masks that the edge
                of the image cuts are passed over, as their cut would show. None: where it lies.
            seed: 0 or more.
            among: How many nearest ones it is drawn from.

        Raises:
            ConfigError: When no mask is of that type.
            ArtefactError: When the file is gone or damaged.
        """
        rows, fraction_N = self._of_type(label)
        if not rows:
            raise ConfigError(
                f"no mask of type '{label}' in '{self.folder}'",
                cure=f"use one of {', '.join(sorted({row.label for row in self.rows}))}, or leave the type out",
            )
        # Stable: masks of one size come in the order of their image ids.
        order_N = np.argsort(np.abs(np.log(fraction_N / relative_area)), kind="stable")
        rng = np.random.default_rng([_STREAM, seed])
        first = int(rng.integers(min(among, len(rows))))
        if centre is None:
            return self._read(rows[order_N[first]])
        for index in [*order_N[first:], *order_N[:first][::-1]]:
            found = self._read(rows[index])
            if not touches_edge(found.mask_HW):
                return BankMask(move_mask(found.mask_HW, *centre), found.image_id, found.label, found.relative_area)
        return self._read(rows[order_N[first]])

    def _of_type(self, label: str | None) -> tuple[list[ManifestRow], NDArray[np.float64]]:
        """Rows of a type and the sizes of their lesions; kept, as a bank is asked again and again."""
        if label not in self._types:
            rows = [row for row in self.rows if label is None or row.label == label]
            self._types[label] = rows, np.array([row.lesion_fraction for row in rows])
        return self._types[label]

    def _read(self, row: ManifestRow) -> BankMask:
        try:
            mask_HW = read_mask(self.folder / row.mask)
        except PairError as error:
            raise ArtefactError(
                f"mask of {row.image_id} in '{self.folder}': {error}",
                cure="run lfvar.prepare again with the same settings; it mends what is missing",
            ) from error
        return BankMask(mask_HW, row.image_id, row.label, float(mask_HW.mean()))


def touches_edge(mask_HW: NDArray[np.bool_]) -> bool:
    """Whether the edge of the image cuts the lesion."""
    return bool(mask_HW[0].any() or mask_HW[-1].any() or mask_HW[:, 0].any() or mask_HW[:, -1].any())


def move_mask(mask_HW: NDArray[np.bool_], centre_x: float, centre_y: float) -> NDArray[np.bool_]:
    """Move a lesion by whole pixels so that its centroid comes as near to a place as the image's edges allow.

    Nothing of it leaves the image.

    Args:
        mask_HW: At least one pixel True.
        centre_x: Wanted centroid from the left edge by the width, in [0, 1].
        centre_y: From the top edge by the height.
    """
    y, x = np.nonzero(mask_HW)
    moved = np.zeros_like(mask_HW)
    shifts = []
    for places, wanted, length in ((y, centre_y, mask_HW.shape[0]), (x, centre_x, mask_HW.shape[1])):
        shift = round(wanted * length - (float(places.mean()) + 0.5))
        shifts.append(min(max(shift, -int(places.min())), length - 1 - int(places.max())))
    moved[y + shifts[0], x + shifts[1]] = True
    return moved
