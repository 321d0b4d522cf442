"""Dermofit Image Library (University of Edinburgh): ten types, 1300 lesions, one folder per lesion.

The library is sold under licence; what is assumed of its layout comes from public code that reads it: archives named
after the types unpack to `ak/A1/A1.png` and `ak/A1/A1mask.png`, beside `lesionlist.txt`. The images are macroscopic
photographs, not dermoscopy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lfvar.data.records import Record
from lfvar.data.sources.mapping import Types, check_types, choose_classes, translate
from lfvar.data.sources.table import FolderSource
from lfvar.errors import DataError

CLASSES = ("ak", "bcc", "df", "iec", "mel", "ml", "pyo", "scc", "sk", "vasc")
"""Actinic keratosis, basal cell carcinoma, dermatofibroma, intraepithelial carcinoma, malignant melanoma, melanocytic
nevus (mole), pyogenic granuloma, squamous cell carcinoma, seborrhoeic keratosis, haemangioma."""
TO_HAM10000 = {
    "ak": "akiec",
    "iec": "akiec",
    "bcc": "bcc",
    "sk": "bkl",
    "df": "df",
    "mel": "mel",
    "ml": "nv",
    "vasc": "vasc",
    "pyo": "vasc",
}
"""HAM10000's vasc includes pyogenic granulomas; invasive squamous cell carcinoma has no counterpart there. LF-VAR's
script (generate_metadata_Dermofit.py) has ML as mel and MEL as nv, the wrong way round."""

_CURE = (
    f"set data.root to the folder with one folder per type ({', '.join(CLASSES)}), or use data=folder with a table of "
    "your own"
)


class Dermofit(FolderSource):
    """Dermofit Image Library.

    A folder per type (in capitals or not), at the root or one level below it (`ALLTYPES/AK`); in it pairs `X.png` and
    `Xmask.png`, directly or in folders, however deep. What lies beside them (`lesionlist.txt`, `__MACOSX`) is ignored.

    Args:
        root: The folder that holds them; None for data that are prepared already.
        types: The dataset's own types, or those of HAM10000 they map onto (scc has none and is rejected).

    Raises:
        ConfigError: When `types` is not as above.
    """

    def __init__(self, root: str | Path | None, types: Types = "native") -> None:
        check_types(types)
        super().__init__(root)
        self.types = types

    @property
    def classes(self) -> Sequence[str]:
        """Lesion types in the order of their label indices."""
        return choose_classes(self.types, CLASSES)

    def describe(self) -> Mapping[str, object]:
        """Types."""
        return {"types": self.types}

    def records(self) -> Sequence[Record]:
        """List all images, by type and path.

        Raises:
            DataError: When there is no folder of a type, or only archives that nobody unpacked.
        """
        if not self.root.is_dir():
            raise DataError(f"no folder '{self.root}' (data.root)", cure=_CURE)
        folders = self._find_type_folders()
        if not folders:
            archives = sorted(path.name for path in self.root.glob("*.[zZ][iI][pP]"))
            if archives:
                raise DataError(
                    f"'{self.root}' holds archives that are not unpacked: {', '.join(archives[:3])}, …",
                    cure=f"unpack them there: cd '{self.root}' && for z in *.zip; do unzip -qo \"$z\"; done",
                )
            raise DataError(f"no folder of a lesion type in '{self.root}' or one level below", cure=_CURE)
        return [self._make_record(label, path) for label, folder in folders for path in _list_images(folder)]

    def _find_type_folders(self) -> list[tuple[str, Path]]:
        """Type and folder, at the root; one level below it only when the root has none."""
        for pattern in ("*", "*/*"):
            folders = [
                (path.name.lower(), path)
                for path in self.root.glob(pattern)
                if path.is_dir() and path.name.lower() in CLASSES and "__MACOSX" not in path.parts
            ]
            if folders:
                return sorted(folders)
        return []

    def _make_record(self, label: str, path: Path) -> Record:
        mask = next((mask for mask in _name_masks(path) if mask.is_file()), None)
        return Record(
            image_id=path.stem,
            label=translate(label, self.types, TO_HAM10000),
            image_path=path,
            mask_path=mask,
            problem=None if mask else f"missing mask: looked for {path.stem}mask.png in '{path.parent}'",
        )


def _name_masks(path: Path) -> list[Path]:
    return [path.with_name(f"{path.stem}{ending}{path.suffix}") for ending in ("mask", "_mask", "Mask")]


def _list_images(folder: Path) -> list[Path]:
    """All PNG files that are no masks, by their path."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() == ".png" and not path.stem.lower().endswith("mask") and not path.name.startswith("._")
    )
