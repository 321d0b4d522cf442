"""Any folder of images and masks with a table that names them."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from pathlib import Path

from lfvar.data.records import Record
from lfvar.data.sources.table import FolderSource, describe_problem, find_file, read_table
from lfvar.errors import ConfigError, DataError

IMAGE_PATTERNS = ("images/{id}.jpg", "images/{id}.jpeg", "images/{id}.png")
MASK_PATTERNS = ("masks/{id}.png", "masks/{id}_segmentation.png", "masks/{id}_mask.png")


class Folder(FolderSource):
    """Images, masks and a CSV table.

    Args:
        root: The folder; None for data that are prepared already.
        table: CSV file, relative to `root` or absolute.
        image_pattern: Where images lie, relative to `root`; `{id}` and `{label}` are filled in. Of several patterns the
            first that leads to a file is taken.
        mask_pattern: Where masks lie, likewise.
        id_column: Names each image.
        label_column: Lesion type.
        lesion_column: Images with the same value stay in the same split.
        patient_column: Likewise.
        classes: Lesion types in the order of their label indices; None takes all labels of the table, sorted.
    """

    def __init__(
        self,
        root: str | Path | None,
        table: str = "labels.csv",
        *,
        image_pattern: str | Sequence[str] = IMAGE_PATTERNS,
        mask_pattern: str | Sequence[str] = MASK_PATTERNS,
        id_column: str = "image_id",
        label_column: str = "label",
        lesion_column: str | None = None,
        patient_column: str | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        super().__init__(root)
        self.table = table
        self.image_patterns = _check_patterns("image_pattern", image_pattern)
        self.mask_patterns = _check_patterns("mask_pattern", mask_pattern)
        self.id_column = id_column
        self.label_column = label_column
        self.lesion_column = lesion_column
        self.patient_column = patient_column
        self._given_classes = None if classes is None else tuple(classes)
        self._classes = self._given_classes
        if self._classes is not None and (not self._classes or len(set(self._classes)) < len(self._classes)):
            raise ConfigError(f"data.source.classes is {list(self._classes)}", cure="name each lesion type once")

    @property
    def classes(self) -> Sequence[str]:
        """Lesion types in the order of their label indices."""
        if self._classes is None:
            self._classes = tuple(sorted({row[self.label_column] for row in self._read_rows()} - {""}))
        return self._classes

    def describe(self) -> Mapping[str, object]:
        """The settings as given; labels found in the table are content, not settings."""
        return {
            "table": Path(self.table).name,
            "image_pattern": self.image_patterns,
            "mask_pattern": self.mask_patterns,
            "id_column": self.id_column,
            "label_column": self.label_column,
            "lesion_column": self.lesion_column,
            "patient_column": self.patient_column,
            "classes": self._given_classes,
        }

    def records(self) -> Sequence[Record]:
        """List the table's rows with the files that belong to them.

        Raises:
            DataError: When the folder or the table is missing, or the table lacks a column.
        """
        return [self._make_record(row) for row in self._read_rows()]

    def _read_rows(self) -> list[dict[str, str]]:
        if not self.root.is_dir():
            raise DataError(
                f"no folder '{self.root}' (data.root)", cure="set data.root to the folder that holds images and masks"
            )
        wanted = (self.id_column, self.label_column, self.lesion_column, self.patient_column)
        return read_table(
            self.root / self.table,
            [column for column in wanted if column is not None],
            cure="set data.source.table to the CSV file (relative to data.root), or data.source.id_column, "
            "label_column, lesion_column and patient_column beside it to the names of its columns",
        )

    def _make_record(self, row: dict[str, str]) -> Record:
        image_id, label = row[self.id_column], row[self.label_column]
        names = {"id": image_id, "label": label}
        image = find_file(self.root, self.image_patterns, **names)
        mask = find_file(self.root, self.mask_patterns, **names)
        return Record(
            image_id=image_id,
            label=label,
            lesion_id=(row[self.lesion_column] or None) if self.lesion_column else None,
            patient_id=(row[self.patient_column] or None) if self.patient_column else None,
            image_path=image,
            mask_path=mask,
            problem=describe_problem("image", image, self.root, self.image_patterns, **names)
            or describe_problem("mask", mask, self.root, self.mask_patterns, **names),
        )


def _check_patterns(name: str, value: str | Sequence[str]) -> tuple[str, ...]:
    patterns = (value,) if isinstance(value, str) else tuple(value)
    for pattern in patterns:
        try:
            fields = {field for _, field, _, _ in string.Formatter().parse(pattern) if field is not None}
        except ValueError:
            fields = set()
        if "id" not in fields or not fields <= {"id", "label"}:
            raise ConfigError(
                f"data.source.{name} has '{pattern}'",
                cure="use {id}, and {label} if needed, as in 'images/{label}/{id}.jpg'",
            )
    if not patterns:
        raise ConfigError(f"data.source.{name} is empty", cure="give at least one pattern, such as 'images/{id}.jpg'")
    return patterns
