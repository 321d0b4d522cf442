"""What sources with a table share: reading the table, finding files by pattern, opening a pair."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from lfvar.data.imageio import read_image, read_mask
from lfvar.data.records import Pair, PairError, Record
from lfvar.errors import DataError


class FolderSource:
    """What the sources share that read a folder as downloaded.

    Args:
        root: The folder; None for data that are prepared already.
    """

    def __init__(self, root: str | Path | None) -> None:
        self._root = root

    @property
    def root(self) -> Path:
        """The folder as downloaded.

        Raises:
            DataError: When none was given.
        """
        if self._root is None:
            raise DataError("data.root is not set", cure="set data.root to the folder of the dataset as downloaded")
        return Path(self._root).expanduser()

    def load(self, record: Record) -> Pair:
        """Open one pair.

        Raises:
            PairError: When image or mask cannot be decoded or their sizes differ.
        """
        return load_pair(record)


def read_table(path: Path, columns: Sequence[str], *, cure: str) -> list[dict[str, str]]:
    """Read a CSV (or tab-separated) file as one dictionary per row, with surrounding blanks removed.

    Args:
        path: The file; UTF-8, with or without a byte order mark.
        columns: Names that must be in its first line.
        cure: What an error tells the user to do.

    Raises:
        DataError: When the file is missing, is not text, or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            delimiter = max(",\t;", key=first.count)
            file.seek(0)
            reader = csv.DictReader(file, delimiter=delimiter, restval="")
            names = [(name or "").strip() for name in reader.fieldnames or []]
            reader.fieldnames = names
            missing = [column for column in columns if column not in names]
            if missing:
                raise DataError(f"table '{path}' has no column {_quote(missing)}; it has {_quote(names)}", cure=cure)
            return [{key: value.strip() for key, value in row.items() if isinstance(value, str)} for row in reader]
    except OSError as error:
        raise DataError(f"table '{path}' cannot be read: {error.strerror}", cure=cure) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"table '{path}' is no UTF-8 CSV file: {error}", cure=cure) from error


def find_file(root: Path, patterns: Sequence[str], **names: str) -> Path | None:
    """The first file that a pattern leads to, such as `images/{id}.jpg` with id=…; None when there is none."""
    for pattern in patterns:
        path = root / pattern.format(**names)
        if path.is_file():
            return path
    return None


def describe_problem(what: str, found: Path | None, root: Path, patterns: Sequence[str], **names: str) -> str | None:
    """Why a record without its image or mask cannot be used, with the places that were searched; None when found."""
    if found is not None:
        return None
    return f"missing {what}: looked for {', '.join(pattern.format(**names) for pattern in patterns)} in '{root}'"


def load_pair(record: Record) -> Pair:
    """Open the files of a record; of a dataset without masks, the image alone.

    Raises:
        PairError: When one is missing or damaged, or their sizes differ.
    """
    if record.image_path is None or (record.mask_path is None and record.has_mask):
        raise PairError(record.problem or "missing image: the source knows no path")
    image_HWC = read_image(record.image_path)
    if record.mask_path is None:
        return Pair(image_HWC, None)
    mask_HW = read_mask(record.mask_path)
    if image_HWC.shape[:2] != mask_HW.shape:
        (height, width), (mask_height, mask_width) = image_HWC.shape[:2], mask_HW.shape
        raise PairError(f"size mismatch: image {width}×{height}, mask {mask_width}×{mask_height}")
    return Pair(image_HWC, mask_HW)


def _quote(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
