"""Any folder of images: with or without masks, with or without a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lfvar.data.records import Record
from lfvar.data.sources.listing import EVERY_IMAGE, Found, check_patterns, list_files
from lfvar.data.sources.table import FolderSource, describe_problem, find_file, read_table
from lfvar.errors import ConfigError, DataError

IMAGE_PATTERNS = ("images/{id}.jpg", "images/{id}.jpeg", "images/{id}.png")
MASK_PATTERNS = ("masks/{id}.png", "masks/{id}_segmentation.png", "masks/{id}_mask.png")
ONE_TYPE = "image"
"""The label of all images where neither a table nor a pattern tells types apart."""


class Folder(FolderSource):
    """Images, with masks and a CSV table where there are any.

    Without a table, all files that fit `image_pattern` are listed: the type is what stands for `{label}`, and the id
    what stands for `{id}` (behind `label/` where there are labels, since folders of types often number alike).

    Args:
        root: The folder; None for data that are prepared already.
        table: CSV file, relative to `root` or absolute; None lists files instead.
        image_pattern: Where images lie, relative to `root`; `{id}` and `{label}` are filled in. Of several patterns the
            first that leads to a file is taken. None: `images/{id}.jpg`, `.jpeg` or `.png`; with neither table nor
            masks every image file at any depth.
        mask_pattern: Where masks lie, likewise; None: the images have no masks, and nothing of them is lesion.
        id_column: Names each image.
        label_column: Lesion type; None: all images are of one type.
        lesion_column: Images with the same value stay in the same split.
        patient_column: Likewise.
        classes: Lesion types in the order of their label indices; None takes all labels, sorted.

    Raises:
        ConfigError: When a pattern names no file, types are named twice, or columns of no table are asked for.
    """

    def __init__(
        self,
        root: str | Path | None,
        table: str | None = "labels.csv",
        *,
        image_pattern: str | Sequence[str] | None = None,
        mask_pattern: str | Sequence[str] | None = MASK_PATTERNS,
        id_column: str = "image_id",
        label_column: str | None = "label",
        lesion_column: str | None = None,
        patient_column: str | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        super().__init__(root)
        if image_pattern is None:
            image_pattern = EVERY_IMAGE if table is None and mask_pattern is None else IMAGE_PATTERNS
        self.table = table
        self.image_patterns = check_patterns("image_pattern", image_pattern)
        self.mask_patterns = None if mask_pattern is None else check_patterns("mask_pattern", mask_pattern)
        self.id_column = id_column
        self.label_column = label_column
        self.lesion_column = lesion_column
        self.patient_column = patient_column
        self._given_classes = None if classes is None else tuple(classes)
        self._classes = self._given_classes
        if self._classes is not None and (not self._classes or len(set(self._classes)) < len(self._classes)):
            raise ConfigError(f"data.source.classes is {list(self._classes)}", cure="name each lesion type once")
        if table is None and (lesion_column or patient_column):
            raise ConfigError(
                f"data.source.table is null, so there is no column '{lesion_column or patient_column}' to read",
                cure="set data.source.table to a CSV file, or data.source.lesion_column and patient_column to null",
            )

    @property
    def classes(self) -> Sequence[str]:
        """Lesion types in the order of their label indices."""
        if self._classes is None:
            self._classes = tuple(sorted({record.label for record in self.records()} - {""}))
        return self._classes

    def describe(self) -> Mapping[str, object]:
        """The settings as given; labels that were found are content, not settings."""
        return {
            "table": None if self.table is None else Path(self.table).name,
            "image_pattern": self.image_patterns,
            "mask_pattern": self.mask_patterns,
            "id_column": self.id_column,
            "label_column": self.label_column,
            "lesion_column": self.lesion_column,
            "patient_column": self.patient_column,
            "classes": self._given_classes,
        }

    def records(self) -> Sequence[Record]:
        """List the table's rows with the files that belong to them, or the files where there is no table.

        Raises:
            DataError: When the folder or the table is missing, the table lacks a column, or no file fits.
        """
        if not self.root.is_dir():
            raise DataError(
                f"no folder '{self.root}' (data.root)", cure="set data.root to the folder that holds the images"
            )
        if self.table is not None:
            return [self._make_record(row) for row in self._read_rows(self.table)]
        found = list_files(self.root, self.image_patterns)
        if not found:
            raise DataError(
                f"no image below '{self.root}' (looked for {', '.join(self.image_patterns)})",
                cure="set data.root to the folder that holds the images, or data.source.image_pattern to where they "
                "lie in it, such as '{label}/{id}.jpg'",
            )
        return [self._make_listed(image) for image in found]

    def _read_rows(self, table: str) -> list[dict[str, str]]:
        wanted = (self.id_column, self.label_column, self.lesion_column, self.patient_column)
        return read_table(
            self.root / table,
            [column for column in wanted if column is not None],
            cure="set data.source.table to the CSV file (relative to data.root) or to null where there is none, or "
            "data.source.id_column, label_column, lesion_column and patient_column to the names of its columns",
        )

    def _make_record(self, row: dict[str, str]) -> Record:
        image_id = row[self.id_column]
        label = row[self.label_column] if self.label_column else ONE_TYPE
        names = {"id": image_id, "label": label}
        image = find_file(self.root, self.image_patterns, **names)
        mask, problem = self._find_mask(names)
        return Record(
            image_id=image_id,
            label=label,
            lesion_id=(row[self.lesion_column] or None) if self.lesion_column else None,
            patient_id=(row[self.patient_column] or None) if self.patient_column else None,
            image_path=image,
            mask_path=mask,
            has_mask=self.mask_patterns is not None,
            problem=describe_problem("image", image, self.root, self.image_patterns, **names) or problem,
        )

    def _make_listed(self, image: Found) -> Record:
        label = ONE_TYPE if image.label is None else image.label
        mask, problem = self._find_mask({"id": image.id, "label": label})
        return Record(
            image_id=image.id if image.label is None else f"{image.label}/{image.id}",
            label=label,
            image_path=image.path,
            mask_path=mask,
            has_mask=self.mask_patterns is not None,
            problem=problem,
        )

    def _find_mask(self, names: Mapping[str, str]) -> tuple[Path | None, str | None]:
        """The mask, and what is wrong where one is expected and not there."""
        if self.mask_patterns is None:
            return None, None
        mask = find_file(self.root, self.mask_patterns, **names)
        return mask, describe_problem("mask", mask, self.root, self.mask_patterns, **names)
