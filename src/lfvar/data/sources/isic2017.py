"""ISIC 2017 as published for the challenge: melanoma, seborrhoeic keratosis, nevus (arXiv:1710.05006).

The published parts (training 2000, validation 150, test 600 images) stay apart: `parts` says which to list, and by
default it is the training part alone, so that nothing trains on the test part by accident. There are no lesion ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lfvar.data.records import Record
from lfvar.data.sources.mapping import Types, check_types, choose_classes, translate
from lfvar.data.sources.table import FolderSource, describe_problem, find_file, read_table
from lfvar.errors import ConfigError, DataError

CLASSES = ("melanoma", "nevus", "seborrheic_keratosis")
TO_HAM10000 = {"melanoma": "mel", "nevus": "nv", "seborrheic_keratosis": "bkl"}
"""Seborrhoeic keratosis is one of the three diagnoses that HAM10000 gathers under bkl (the others: solar lentigo and
lichen planus-like keratosis)."""
PARTS = {"training": ("Training",), "validation": ("Validation",), "test": ("Test_v2", "Test")}
"""How each part is spelt in the names of its folders."""

_CURE = (
    "set data.root to the folder that holds ISIC-2017_Training_Data, ISIC-2017_Training_Part1_GroundTruth and "
    "ISIC-2017_Training_Part3_GroundTruth.csv (docs/datasets.md has the download commands), choose other "
    "data.source.parts, or use data=folder for images that lie otherwise"
)


class ISIC2017(FolderSource):
    """ISIC 2017.

    Per part, as the archives unpack: images in `ISIC-2017_Training_Data` (`*_superpixels.png` there are not used),
    masks in `ISIC-2017_Training_Part1_GroundTruth`, labels in `ISIC-2017_Training_Part3_GroundTruth.csv`; likewise
    with `Validation` and `Test_v2`. A folder inside a folder of the same name (Kaggle's copies) is found too.

    Args:
        root: The folder that holds them; None for data that are prepared already.
        types: The dataset's own types, or those of HAM10000 they map onto.
        parts: Which of training, validation and test to list.

    Raises:
        ConfigError: When `types` or `parts` is not as above.
    """

    def __init__(self, root: str | Path | None, types: Types = "native", parts: Sequence[str] = ("training",)) -> None:
        check_types(types)
        if not parts or set(parts) - set(PARTS) or len(set(parts)) < len(parts):
            raise ConfigError(f"data.source.parts is {list(parts)}", cure=f"name some of {', '.join(PARTS)}, each once")
        super().__init__(root)
        self.types = types
        self.parts = tuple(part for part in PARTS if part in parts)

    @property
    def classes(self) -> Sequence[str]:
        """Lesion types in the order of their label indices."""
        return choose_classes(self.types, CLASSES)

    def describe(self) -> Mapping[str, object]:
        """Types and parts."""
        return {"types": self.types, "parts": self.parts}

    def records(self) -> Sequence[Record]:
        """List the rows of the tables with the files that belong to them.

        Raises:
            DataError: When a part's table or folder is missing.
        """
        if not self.root.is_dir():
            raise DataError(f"no folder '{self.root}' (data.root)", cure=_CURE)
        return [record for part in self.parts for record in self._list_part(part)]

    def _list_part(self, part: str) -> list[Record]:
        prefixes = [f"ISIC-2017_{name}" for name in PARTS[part]]
        tables = [f"{prefix}_Part3_GroundTruth.csv" for prefix in prefixes]
        table = find_file(
            self.root, [*tables, *(f"{prefix}_Data/{prefix}_Part3_GroundTruth.csv" for prefix in prefixes)]
        )
        if table is None:
            raise self._missing(part, "table", tables)
        image_folders = self._find_folders(part, "image folder", [f"{prefix}_Data" for prefix in prefixes])
        mask_folders = self._find_folders(part, "mask folder", [f"{prefix}_Part1_GroundTruth" for prefix in prefixes])
        rows = read_table(table, ("image_id", "melanoma", "seborrheic_keratosis"), cure=_CURE)
        return [
            self._make_record(
                row,
                [f"{folder}/{{id}}.jpg" for folder in image_folders],
                [f"{folder}/{{id}}_segmentation.png" for folder in mask_folders],
            )
            for row in rows
        ]

    def _find_folders(self, part: str, what: str, names: Sequence[str]) -> list[str]:
        """Folders with one of the names, each followed by one of the same name inside it."""
        found = [path for name in names for path in (name, f"{name}/{name}") if (self.root / path).is_dir()]
        if not found:
            raise self._missing(part, what, names)
        return found

    def _make_record(self, row: dict[str, str], image_patterns: Sequence[str], mask_patterns: Sequence[str]) -> Record:
        image_id = row["image_id"]
        image = find_file(self.root, image_patterns, id=image_id)
        mask = find_file(self.root, mask_patterns, id=image_id)
        return Record(
            image_id=image_id,
            label=translate(_read_label(row), self.types, TO_HAM10000),
            image_path=image,
            mask_path=mask,
            problem=describe_problem("image", image, self.root, image_patterns, id=image_id)
            or describe_problem("mask", mask, self.root, mask_patterns, id=image_id),
        )

    def _missing(self, part: str, what: str, names: Sequence[str]) -> DataError:
        return DataError(f"no {what} of the {part} part in '{self.root}' (looked for {', '.join(names)})", cure=_CURE)


def _read_label(row: Mapping[str, str]) -> str:
    """The type that two columns of 0 and 1 say; both 0 is a nevus, both 1 and all else is no type."""
    melanoma, keratosis = row["melanoma"], row["seborrheic_keratosis"]
    try:
        flags = (float(melanoma), float(keratosis))
    except ValueError:
        flags = (-1.0, -1.0)
    labels = {(1.0, 0.0): "melanoma", (0.0, 1.0): "seborrheic_keratosis", (0.0, 0.0): "nevus"}
    return labels.get(flags, f"melanoma={melanoma} seborrheic_keratosis={keratosis}")
