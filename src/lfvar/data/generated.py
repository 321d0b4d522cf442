"""The folder of generated images: a prepared dataset like any other, and a table that says how each image was made.

| file | holds |
| --- | --- |
| `manifest.parquet`, `images/`, `masks/` | as in every prepared folder; `settings.source.kind` is "generated" |
| `generated.parquet` | a row per image: source, seed, prompt, what was asked; its header says what decided it |
| `raw/` | images before compositing (`raw=true`) |
| `full/` | edits pasted into the original photographs (`full=true`) |
| `sheets/` | contact sheets |
| `journal.jsonl` | what is finished, so that a killed run goes on |

Nothing in it depends on when or where it was made, so the same command gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lfvar.data.files import replace_file
from lfvar.data.manifest import Manifest, find_differences
from lfvar.data.records import Pair, Record
from lfvar.data.sources.table import load_pair
from lfvar.errors import ArtefactError, DataError
from lfvar.measure.schema import FEATURE_NAMES

FORMAT_VERSION = 1
"""Raised with every change of columns, header or meaning."""

NAME = "generated"
KIND = "generated"
"""What `settings.source.kind` of the manifest says: these images are synthetic."""
GENERATED_FILE = "generated.parquet"
IMAGES, MASKS, RAW, FULL, SHEETS = "images", "masks", "raw", "full", "sheets"
ASKED = "asked_"
"""Prefix of the columns that hold what was asked."""

_HEADER_KEY = b"lfvar"


@dataclass(frozen=True)
class GeneratedRow:
    """How one image was made."""

    image_id: str
    mode: str
    source_id: str | None
    """The image whose skin it shows; None for a whole new image."""
    source_label: str | None
    source_split: str | None
    """Of the real image: what was painted on test images must not train what is tested on them."""
    label: str | None
    """The type that was asked for; None: any."""
    seed: int
    sample: int
    """Which of the samples of one request, from 0."""
    prompt: str | None
    mask_kind: str
    """source, file, bank, drawn or none."""
    mask_from: str | None
    """The image, or the name of the file, that the mask was taken from."""
    asked: Mapping[str, float]
    """What the net was told, in natural units; measurements that were left free are not in it."""


_COLUMNS = [field for field in fields(GeneratedRow) if field.name != "asked"]
_SCHEMA = pa.schema(
    [
        *(
            pa.field(field.name, pa.int64() if field.type == "int" else pa.string(), "None" in str(field.type))
            for field in _COLUMNS
        ),
        *(pa.field(f"{ASKED}{name}", pa.float64()) for name in FEATURE_NAMES),
    ]
)


def write_generated(folder: Path, rows: Sequence[GeneratedRow], header: Mapping[str, Any]) -> Path:
    """Write `generated.parquet`, whole or not at all.

    Args:
        folder: Of the generated images.
        rows: In the order of the plan.
        header: Plain data: settings, hashes of what made the images, command.
    """
    columns = {field.name: [getattr(row, field.name) for row in rows] for field in _COLUMNS}
    columns |= {f"{ASKED}{name}": [row.asked.get(name, float("nan")) for row in rows] for name in FEATURE_NAMES}
    stored = json.dumps({"format_version": FORMAT_VERSION, **header}, sort_keys=True)
    table = pa.Table.from_pydict(columns, schema=_SCHEMA.with_metadata({_HEADER_KEY: stored}))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    path = Path(folder) / GENERATED_FILE
    replace_file(path, sink.getvalue().to_pybytes(), sync=True)
    return path


def read_generated(folder: Path) -> pd.DataFrame:
    """Read how the images of a folder were made.

    Returns:
        A row per image: the fields of `GeneratedRow`, and `asked_<feature>` for every feature of the schema in natural
        units, NaN where it was left free. `attrs["header"]` holds the header.

    Raises:
        ArtefactError: When the table is missing, damaged, or of another version.
    """
    path = Path(folder) / GENERATED_FILE
    cure = "generate the images again: python -m lfvar.generate"
    if not path.is_file():
        raise ArtefactError(f"no {GENERATED_FILE} in '{folder}'", cure=cure)
    try:
        table = pq.read_table(path)
        header = json.loads((table.schema.metadata or {})[_HEADER_KEY])
        version = header["format_version"]
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise ArtefactError(f"'{path}' is damaged or no table of generated images: {error}", cure=cure) from error
    if version != FORMAT_VERSION or table.schema.names != _SCHEMA.names:
        raise ArtefactError(
            f"'{path}' has format {version}; this lfvar reads format {FORMAT_VERSION}",
            cure=f"rebuild it: {header.get('command', 'python -m lfvar.generate')}",
        )
    frame = table.to_pandas()
    frame.attrs["header"] = header
    return frame


def find_claims(folder: Path, settings: Mapping[str, Any], there: Mapping[str, Any] | None) -> None:
    """Make sure that what a folder holds was made by these settings.

    Args:
        folder: Of the generated images.
        settings: Wanted.
        there: What the folder was started with; None: nothing is there yet.

    Raises:
        ArtefactError: When they differ; other settings never overwrite.
    """
    if there is None:
        return
    differences = find_differences(there, settings)
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise ArtefactError(
            f"'{folder}' holds images of other settings: {'; '.join(differences[:3])}{more}",
            cure="choose another output=FOLDER, or remove that folder if its images are not needed",
        )


class Generated:
    """Generated images as a dataset to prepare, split and train on.

    A generated image keeps the lesion id of its source, so the two never part at a split.

    Args:
        root: A folder that `lfvar.generate` wrote; None for data that are prepared already.
    """

    def __init__(self, root: str | Path | None) -> None:
        self._root = root

    @cached_property
    def manifest(self) -> Manifest:
        """Of the folder.

        Raises:
            DataError: When no folder was given, or it holds no generated images.
            ArtefactError: When it is damaged.
        """
        if self._root is None:
            raise DataError("data.root is not set", cure="set data.root to a folder that lfvar.generate wrote")
        manifest = Manifest.read(Path(self._root).expanduser(), command="python -m lfvar.generate")
        kind = manifest.header.settings.get("source", {}).get("kind")
        if kind != KIND:
            raise DataError(
                f"'{self._root}' holds prepared images of {manifest.header.name}, not generated ones",
                cure="give the folder that lfvar.generate wrote",
            )
        return manifest

    @property
    def classes(self) -> Sequence[str]:
        """Lesion types in the order of their label indices."""
        return self.manifest.header.classes

    def describe(self) -> Mapping[str, object]:
        """That the images are synthetic, and which ones."""
        return {"manifest_hash": None if self._root is None else self.manifest.hash}

    def records(self) -> Sequence[Record]:
        """List all generated images."""
        folder = Path(str(self._root)).expanduser()
        return [
            Record(
                image_id=row.image_id,
                label=row.label,
                lesion_id=row.lesion_id,
                patient_id=row.patient_id,
                image_path=folder / row.image,
                mask_path=folder / row.mask,
            )
            for row in self.manifest.rows
        ]

    def load(self, record: Record) -> Pair:
        """Open one pair.

        Raises:
            PairError: When one is missing or damaged.
        """
        return load_pair(record)
