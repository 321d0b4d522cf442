"""The measurement table: `measurements.parquet` in the prepared folder, one row per image of the manifest.

Columns: `image_id`, one float64 column per feature in schema order (NaN where missing), and `reason` (why, or "").
The header says what made it. The same images and settings give the same bytes, whatever measured them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

import lfvar
from lfvar.data.files import hash_bytes, replace_file
from lfvar.data.manifest import Manifest
from lfvar.errors import ArtefactError
from lfvar.measure.cache import CacheKey, MeasurementCache
from lfvar.measure.extract import Measurements
from lfvar.measure.schema import FEATURE_NAMES, SCHEMA_VERSION
from lfvar.measure.settings import MeasureSettings

MEASUREMENTS_FILE = "measurements.parquet"

_HEADER_KEY = b"lfvar"
_COMMAND = "python -m lfvar.prepare"


def write_table(
    folder: Path,
    manifest: Manifest,
    cache: MeasurementCache | Path,
    settings: MeasureSettings,
    *,
    command: str | None = None,
) -> Path:
    """Write the table of a prepared folder from a cache, whole or not at all.

    Args:
        folder: The prepared folder.
        manifest: Of that folder.
        cache: An open cache, or the path of one.
        settings: How the images were measured.
        command: What rebuilds the table, for errors about it; None: the manifest's command.

    Raises:
        ArtefactError: When the cache lacks images of the manifest, or is damaged.
    """
    if not isinstance(cache, MeasurementCache):
        with MeasurementCache(cache, create=False) as opened:
            return write_table(folder, manifest, opened, settings, command=command)
    command = command or manifest.header.command
    measured: list[Measurements] = []
    absent: list[str] = []
    for row in manifest.rows:
        found = cache.get(CacheKey(row.image_hash, row.mask_hash, settings.hash))
        if found is None:
            absent.append(row.image_id)
        else:
            measured.append(found)
    if absent:
        raise ArtefactError(
            f"cache '{cache.path}' lacks {len(absent)} of {len(manifest.rows)} images (first: {absent[0]})",
            cure=f"measure them, or merge the caches of all shards: {command}",
        )
    values = np.stack([item.values for item in measured]) if measured else np.zeros((0, len(FEATURE_NAMES)))
    columns = {
        "image_id": pa.array([row.image_id for row in manifest.rows], pa.string()),
        **{name: pa.array(values[:, column], pa.float64()) for column, name in enumerate(FEATURE_NAMES)},
        "reason": pa.array([item.reason for item in measured], pa.string()),
    }
    header = {
        "schema_version": SCHEMA_VERSION,
        "features": list(FEATURE_NAMES),
        "settings": settings.describe(),
        "settings_hash": settings.hash,
        "pixels_hash": manifest.pixels_hash,
        "hash": _hash_rows([row.image_id for row in manifest.rows], values, [item.reason for item in measured]),
        "command": command,
        "lfvar_version": lfvar.__version__,
    }
    table = pa.table(columns).replace_schema_metadata({_HEADER_KEY: json.dumps(header, sort_keys=True)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    path = Path(folder) / MEASUREMENTS_FILE
    replace_file(path, sink.getvalue().to_pybytes(), sync=True)
    return path


def read_table(folder: Path, manifest: Manifest, settings: MeasureSettings | None = None) -> pd.DataFrame:
    """Read the table of a prepared folder.

    Args:
        folder: The prepared folder.
        manifest: Of that folder; the rows come in its order.
        settings: How the images should have been measured; None takes them as they are.

    Returns:
        Columns `image_id`, the features, `reason`; `attrs["header"]` holds the header.

    Raises:
        ArtefactError: When the table is missing, damaged, of another schema, of other images or of other settings.
    """
    path = Path(folder) / MEASUREMENTS_FILE
    header = read_table_header(folder, command=manifest.header.command)
    cure = f"measure again, which keeps what is unchanged: {header['command']}"
    if header["schema_version"] != SCHEMA_VERSION or header["features"] != list(FEATURE_NAMES):
        raise ArtefactError(
            f"'{path}' has schema version {header['schema_version']}; this lfvar reads version {SCHEMA_VERSION}",
            cure=cure,
        )
    if header["pixels_hash"] != manifest.pixels_hash:
        raise ArtefactError(f"'{path}' was measured on other images than the manifest lists", cure=cure)
    if settings is not None and header["settings_hash"] != settings.hash:
        raise ArtefactError(f"'{path}' was measured with other settings", cure=cure)
    try:
        frame = pq.read_table(path).to_pandas()
        values = frame[list(FEATURE_NAMES)].to_numpy(np.float64)
        found = _hash_rows(frame["image_id"].tolist(), values, frame["reason"].tolist())
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"'{path}' is damaged: {error}", cure=cure) from error
    if found != header["hash"]:
        raise ArtefactError(f"'{path}' was changed after it was made: its hash differs", cure=cure)
    frame.attrs["header"] = dict(header)
    return frame


def read_table_header(folder: Path, *, command: str = _COMMAND) -> Mapping[str, Any]:
    """What made the table of a folder.

    Args:
        folder: The prepared folder.
        command: What the error tells the user to run.

    Raises:
        ArtefactError: When the table is missing or damaged.
    """
    path = Path(folder) / MEASUREMENTS_FILE
    if not path.is_file():
        raise ArtefactError(f"no {MEASUREMENTS_FILE} in '{folder}'", cure=f"measure the images: {command}")
    try:
        header: Mapping[str, Any] = json.loads((pq.read_schema(path).metadata or {})[_HEADER_KEY])
        for key in ("schema_version", "features", "settings_hash", "pixels_hash", "hash", "command"):
            header[key]
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(
            f"'{path}' is damaged or no table of measurements: {error}", cure=f"measure again: {command}"
        ) from error
    return header


def _hash_rows(image_ids: list[str], values: np.ndarray[Any, np.dtype[np.float64]], reasons: list[str]) -> str:
    """Independent of how Parquet happens to store them."""
    text = json.dumps([image_ids, reasons], ensure_ascii=False).encode()
    return hash_bytes(text + np.where(np.isnan(values), np.nan, values).astype("<f8").tobytes())
