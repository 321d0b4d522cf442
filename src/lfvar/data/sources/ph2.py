"""PH² as published: 200 dermoscopic images from Hospital Pedro Hispano (doi:10.1109/EMBC.2013.6610779).

80 common nevi, 80 atypical nevi, 40 melanomas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lfvar.data.records import Record
from lfvar.data.sources.mapping import Types, check_types, choose_classes, translate
from lfvar.data.sources.table import FolderSource, describe_problem, find_file
from lfvar.errors import DataError

CLASSES = ("common_nevus", "atypical_nevus", "melanoma")
"""In the order of the table's codes for the clinical diagnosis: 0, 1, 2."""
TO_HAM10000 = {"common_nevus": "nv", "atypical_nevus": "nv", "melanoma": "mel"}
TABLE = "PH2_dataset.txt"
FOLDER = "PH2 Dataset images"
IMAGE_PATTERNS = (
    FOLDER + "/{id}/{id}_Dermoscopic_Image/{id}.bmp",
    FOLDER + "/{id}/{id}_Dermoscopic_Image/{id}.png",
    "{id}/{id}_Dermoscopic_Image/{id}.bmp",
)
MASK_PATTERNS = (
    FOLDER + "/{id}/{id}_lesion/{id}_lesion.bmp",
    FOLDER + "/{id}/{id}_lesion/{id}_lesion.png",
    "{id}/{id}_lesion/{id}_lesion.bmp",
)

_CURE = (
    f"set data.root to the folder that holds {TABLE} and '{FOLDER}' (docs/datasets.md says where to get them), or use "
    "data=folder with a table of your own"
)


class PH2(FolderSource):
    """PH².

    `PH2_dataset.txt` beside `PH2 Dataset images`, at the root or in `PH2Dataset` below it (as the archive unpacks); the
    spreadsheet `PH2_dataset.xlsx` is not needed. Images also when unpacked right beside the table.

    Args:
        root: The folder that holds them; None for data that are prepared already.
        types: The dataset's own types, or those of HAM10000 they map onto (both kinds of nevus become nv).

    Raises:
        ConfigError: When `types` is not as above.
    """

    def __init__(self, root: str | Path | None, types: Types = "native") -> None:
        check_types(types)
        super().__init__(root)
        self.types = types

    @property
    def root(self) -> Path:
        """The folder with the table: the one that was given, or `PH2Dataset` in it.

        Raises:
            DataError: When none was given.
        """
        root = super().root
        inner = root / "PH2Dataset"
        return inner if not (root / TABLE).is_file() and (inner / TABLE).is_file() else root

    @property
    def classes(self) -> Sequence[str]:
        """Lesion types in the order of their label indices."""
        return choose_classes(self.types, CLASSES)

    def describe(self) -> Mapping[str, object]:
        """Types."""
        return {"types": self.types}

    def records(self) -> Sequence[Record]:
        """List the table's rows with the files that belong to them.

        Raises:
            DataError: When the table is missing or holds no row as published.
        """
        root = self.root
        path = root / TABLE
        try:
            text = path.read_bytes().decode("utf-8-sig", errors="replace")
        except OSError as error:
            raise DataError(f"table '{path}' cannot be read: {error.strerror}", cure=_CURE) from error
        diagnoses = read_diagnoses(text)
        if not diagnoses:
            raise DataError(
                f"table '{path}' has no row as published ('|| IMD003 || histology || 0 || …')",
                cure=f"use {TABLE} as published, or data=folder with a CSV table",
            )
        return [self._make_record(root, image_id, code) for image_id, code in diagnoses]

    def _make_record(self, root: Path, image_id: str, code: str) -> Record:
        known = code.isdecimal() and int(code) < len(CLASSES)
        label = CLASSES[int(code)] if known else f"clinical diagnosis {code}"
        image = find_file(root, IMAGE_PATTERNS, id=image_id)
        mask = find_file(root, MASK_PATTERNS, id=image_id)
        return Record(
            image_id=image_id,
            label=translate(label, self.types, TO_HAM10000),
            image_path=image,
            mask_path=mask,
            problem=describe_problem("image", image, root, IMAGE_PATTERNS, id=image_id)
            or describe_problem("mask", mask, root, MASK_PATTERNS, id=image_id),
        )


def read_diagnoses(text: str) -> list[tuple[str, str]]:
    """Image id and code of the clinical diagnosis, per row of `PH2_dataset.txt`.

    A row reads `|| IMD003 ||  || 0 || 0 | T | A | A | A | A || 4 ||`: name, histology (often empty), clinical
    diagnosis, six dermoscopic criteria, colours. The heading and the legend at the end hold no id and are skipped.
    """
    rows = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split("||")]
        if len(fields) >= 4 and fields[0] == "" and fields[1].startswith("IMD"):
            rows.append((fields[1], fields[3]))
    return rows
