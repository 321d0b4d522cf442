"""HAM10000 as published, with the lesion masks of Tschandl et al. 2020.

Dataset: doi:10.1038/sdata.2018.161. Masks: doi:10.1038/s41591-020-0942-0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lfvar.data.records import HAM10000_CLASSES, Record
from lfvar.data.sources.table import FolderSource, describe_problem, find_file, read_table
from lfvar.errors import DataError

IMAGE_FOLDERS = ("HAM10000_images_part_1", "HAM10000_images_part_2", "HAM10000_images")
MASK_FOLDERS = ("HAM10000_segmentations_lesion_tschandl", "HAM10000_GroundTruth")
TABLES = ("HAM10000_metadata.csv", "HAM10000_metadata.tab", "HAM10000_metadata")
IMAGE_NAMES = ("{id}.jpg", "{id}.JPG", "{id}.jpeg", "{id}.png")
MASK_NAMES = ("{id}_segmentation.png", "{id}.png", "{id}_mask.png", "{id}_Segmentation.png")

_OTHER_WAY = (
    "or use data=folder and set data.source.table, data.source.image_pattern and data.source.mask_pattern for images "
    "that lie otherwise"
)


class HAM10000(FolderSource):
    """HAM10000 in the folders people have.

    Images in `HAM10000_images_part_1` and `_2`, or in one `HAM10000_images`; masks in
    `HAM10000_segmentations_lesion_tschandl` or `HAM10000_GroundTruth`; the table `HAM10000_metadata.csv`. The case of
    folder names does not matter.

    Args:
        root: The folder that holds them; None for data that are prepared already.
    """

    def __init__(self, root: str | Path | None) -> None:
        super().__init__(root)

    @property
    def classes(self) -> Sequence[str]:
        """The seven lesion types."""
        return HAM10000_CLASSES

    def describe(self) -> Mapping[str, object]:
        """Nothing to choose: the layout decides all."""
        return {}

    def records(self) -> Sequence[Record]:
        """List the table's rows with the files that belong to them.

        Raises:
            DataError: When the folder, the table, or a folder of images or masks is missing.
        """
        entries = self._list_root()
        tables = _pick(entries, TABLES)
        if not tables:
            raise self._missing("metadata table", TABLES)
        image_folders = _pick(entries, IMAGE_FOLDERS)
        if not image_folders:
            raise self._missing("image folder", IMAGE_FOLDERS)
        mask_folders = _pick(entries, MASK_FOLDERS)
        if not mask_folders:
            raise self._missing("mask folder", MASK_FOLDERS)
        rows = read_table(
            self.root / tables[0],
            ("image_id", "lesion_id", "dx"),
            cure="use the table as published (lesion_id, image_id, dx, …) " + _OTHER_WAY,
        )
        image_patterns = [f"{folder}/{name}" for folder in image_folders for name in IMAGE_NAMES]
        mask_patterns = [f"{folder}/{name}" for folder in mask_folders for name in MASK_NAMES]
        return [self._make_record(row, image_patterns, mask_patterns) for row in rows]

    def _make_record(self, row: dict[str, str], image_patterns: Sequence[str], mask_patterns: Sequence[str]) -> Record:
        image_id = row["image_id"]
        image = find_file(self.root, image_patterns, id=image_id)
        mask = find_file(self.root, mask_patterns, id=image_id)
        return Record(
            image_id=image_id,
            label=row["dx"],
            lesion_id=row["lesion_id"] or None,
            image_path=image,
            mask_path=mask,
            problem=describe_problem("image", image, self.root, image_patterns, id=image_id)
            or describe_problem("mask", mask, self.root, mask_patterns, id=image_id),
        )

    def _list_root(self) -> list[str]:
        if not self.root.is_dir():
            raise DataError(
                f"no folder '{self.root}' (data.root)",
                cure=f"set data.root to the folder that holds {IMAGE_FOLDERS[0]} and {TABLES[0]}, {_OTHER_WAY}",
            )
        return sorted(path.name for path in self.root.iterdir())

    def _missing(self, what: str, names: Sequence[str]) -> DataError:
        return DataError(
            f"no {what} in '{self.root}' (looked for {', '.join(names)})",
            cure=f"set data.root to the folder that holds {names[0]}, {_OTHER_WAY}",
        )


def _pick(entries: Sequence[str], names: Sequence[str]) -> list[str]:
    """The entries with one of the names, whatever their case, in the order of the names."""
    return [entry for name in names for entry in entries if entry.casefold() == name.casefold()]
