"""The manifest: one row per prepared image, and a header that says what made it.

`manifest.parquet` lies in the prepared folder. It holds nothing that depends on when, where or by how many workers it
was made: the same images and settings give the same bytes.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lfvar.data.files import hash_bytes, replace_file
from lfvar.data.framing import Frame
from lfvar.data.splits import SPLITS, split_of_fold
from lfvar.errors import ArtefactError

MANIFEST_FILE = "manifest.parquet"
SCHEMA_VERSION = 1
"""Raised with every change of columns, header or meaning."""

_HEADER_KEY = b"lfvar"


@dataclass(frozen=True)
class ManifestRow:
    """One prepared image."""

    image_id: str
    label: str
    lesion_id: str | None
    patient_id: str | None
    split: str
    """train, val or test."""
    fold: int | None
    """None without k-fold."""
    image: str
    """Path relative to the manifest's folder."""
    mask: str
    original_width: int
    original_height: int
    frame_x0: int
    """The frame in pixels of the original; it may reach past its edges (see `lfvar.data.framing`)."""
    frame_y0: int
    frame_width: int
    frame_height: int
    lesion_fraction: float
    """Share of the prepared image that is lesion; 0 in datasets without masks."""
    lesion_in_view: float
    """Share of the original's lesion that the frame shows; 1 where there is none to cut off."""
    source_image_hash: str
    """SHA-256 of the original file, or of the pixels when the source generates them."""
    source_mask_hash: str
    image_hash: str
    """SHA-256 of the prepared file."""
    mask_hash: str

    @property
    def frame(self) -> Frame:
        """Where the prepared square lies in the original, to paste edits back."""
        return Frame(self.frame_x0, self.frame_y0, self.frame_width, self.frame_height)


_SCHEMA = pa.schema(
    [
        pa.field(
            field.name,
            {"str": pa.string(), "int": pa.int32(), "float": pa.float64()}[str(field.type).removesuffix(" | None")],
            nullable=str(field.type).endswith("None"),
        )
        for field in fields(ManifestRow)
    ]
)


@dataclass(frozen=True)
class ManifestHeader:
    """What made the manifest."""

    name: str
    """Of the dataset."""
    classes: tuple[str, ...]
    """In the order of their label indices."""
    image_size: int
    settings: Mapping[str, Any]
    """Everything that decides the content: source, prepare, split. Plain data."""
    inputs_hash: str
    """Of the source's list: ids, labels, lesions and patients, rejected ones included."""
    fold: int | None
    """The fold that `split` tests on; None without k-fold."""
    command: str
    """What rebuilds it."""
    lfvar_version: str
    schema_version: int = SCHEMA_VERSION

    @property
    def settings_hash(self) -> str:
        """Of the settings alone."""
        return hash_settings(self.settings)


@dataclass(frozen=True)
class Manifest:
    """A prepared dataset: read it with `Manifest.read(folder)`."""

    header: ManifestHeader
    rows: tuple[ManifestRow, ...]
    """Sorted by image id."""

    @cached_property
    def hash(self) -> str:
        """Of everything but the command and the version of lfvar: names the data in all that is made from it."""
        header = {k: v for k, v in _header_dict(self.header).items() if k not in ("command", "lfvar_version")}
        return hash_settings({"header": header, "rows": [list(vars(row).values()) for row in self.rows]})

    @cached_property
    def pixels_hash(self) -> str:
        """Of ids, images and masks alone, the same in every split and fold: for caches that depend on nothing else."""
        return hash_settings([[row.image_id, row.image_hash, row.mask_hash] for row in self.rows])

    @property
    def has_lesions(self) -> bool:
        """False for a dataset without masks: nothing can be measured, and lesion focus has nothing to act on."""
        return any(row.lesion_fraction > 0 for row in self.rows)

    def select(self, split: str) -> list[ManifestRow]:
        """The rows of one split."""
        return [row for row in self.rows if row.split == split]

    def with_fold(self, fold: int) -> Manifest:
        """The same images with another fold as the test set; only for manifests made with `num_folds`."""
        num_folds = int(self.header.settings["split"].get("num_folds", 0))
        if not 0 <= fold < num_folds:
            raise ArtefactError(
                f"manifest of '{self.header.name}' has {num_folds or 'no'} folds; fold {fold} was asked for",
                cure=f"prepare with data.split.num_folds: {self.header.command}",
            )
        rows = tuple(
            dataclasses.replace(row, split=split_of_fold(row.fold, fold, num_folds))
            for row in self.rows
            if row.fold is not None
        )
        return Manifest(dataclasses.replace(self.header, fold=fold), rows)

    def count(self) -> dict[str, dict[str, int]]:
        """Images per split and type: `count()["train"]["mel"]`."""
        counts = Counter((row.split, row.label) for row in self.rows)
        return {split: {label: counts[split, label] for label in self.header.classes} for split in SPLITS}

    def to_frame(self) -> pd.DataFrame:
        """The rows as a pandas table."""
        return pd.DataFrame([vars(row) for row in self.rows], columns=_SCHEMA.names)

    def write(self, folder: Path) -> Path:
        """Write `manifest.parquet` into `folder`, whole or not at all."""
        header = _header_dict(self.header) | {"hash": self.hash, "settings_hash": self.header.settings_hash}
        schema = _SCHEMA.with_metadata({_HEADER_KEY: json.dumps(header, sort_keys=True)})
        table = pa.Table.from_pylist([vars(row) for row in self.rows], schema=schema)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        path = folder / MANIFEST_FILE
        replace_file(path, sink.getvalue().to_pybytes(), sync=True)
        return path

    @classmethod
    def read(cls, folder: Path, *, command: str = "python -m lfvar.prepare") -> Manifest:
        """Read `manifest.parquet` from `folder`.

        Args:
            folder: A prepared folder.
            command: What the error tells the user to run; a readable manifest knows better and names its own.

        Raises:
            ArtefactError: When it is missing, damaged, or of another schema version.
        """
        path = Path(folder) / MANIFEST_FILE
        if not path.is_file():
            raise ArtefactError(f"no {MANIFEST_FILE} in '{folder}'", cure=f"prepare the dataset: {command}")
        try:
            file = pq.ParquetFile(path)
            header = json.loads((file.schema_arrow.metadata or {})[_HEADER_KEY])
            command, version = str(header["command"]), header["schema_version"]
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise ArtefactError(f"'{path}' is damaged or no lfvar manifest: {error}", cure=_rebuild(command)) from error
        if version != SCHEMA_VERSION:
            raise ArtefactError(
                f"'{path}' has schema version {version}; this lfvar reads version {SCHEMA_VERSION}",
                cure=_rebuild(command),
            )
        try:
            stored_hash = header.pop("hash")
            header.pop("settings_hash")
            header["classes"] = tuple(header["classes"])
            rows = tuple(ManifestRow(**row) for row in file.read().to_pylist())
            manifest = cls(ManifestHeader(**header), rows)
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise ArtefactError(f"'{path}' is damaged: {error}", cure=_rebuild(command)) from error
        if manifest.hash != stored_hash:
            raise ArtefactError(f"'{path}' was changed after it was made: its hash differs", cure=_rebuild(command))
        return manifest


def hash_settings(settings: object) -> str:
    """The SHA-256 of plain data, independent of the order of keys."""
    return hash_bytes(json.dumps(settings, sort_keys=True, ensure_ascii=False).encode())


def plain(settings: object) -> Any:
    """Settings as JSON gives them back (tuples become lists), so that what is compared with a file compares equal."""
    return json.loads(json.dumps(settings))


def find_differences(there: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Say which settings differ, one phrase each: "prepare.image_size is 64 there and 128 here"."""
    phrases: list[str] = []
    for key in sorted(there.keys() | wanted.keys()):
        old, new = there.get(key), wanted.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            phrases += find_differences(old, new, f"{prefix}{key}.")
        elif old != new:
            phrases.append(f"{prefix}{key} is {json.dumps(old)} there and {json.dumps(new)} here")
    return phrases


def hash_inputs(inputs: Sequence[Sequence[str | None]]) -> str:
    """The hash of a source's list, whatever its order."""
    return hash_settings(sorted([[field or "" for field in row] for row in inputs]))


def _header_dict(header: ManifestHeader) -> dict[str, Any]:
    return {field.name: getattr(header, field.name) for field in fields(header)}


def _rebuild(command: str) -> str:
    return f"rebuild it: {command}"
