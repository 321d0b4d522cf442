"""What later stages need of the measurements, fitted once on the training split and kept beside the table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lfvar.data.files import replace_file
from lfvar.data.manifest import Manifest
from lfvar.errors import ArtefactError
from lfvar.measure.collinearity import find_collinear
from lfvar.measure.labelled import label_table
from lfvar.measure.parquet import read_table_header
from lfvar.measure.profiles import Profiles
from lfvar.measure.schema import FEATURE_NAMES
from lfvar.measure.standardise import Standardiser, StandardiserConfig

STANDARDISER_FILE = "standardiser.json"
PROFILES_FILE = "profiles.parquet"
COLLINEAR_FILE = "collinear.csv"


def write_statistics(
    folder: Path, manifest: Manifest, table: pd.DataFrame, config: StandardiserConfig | None = None
) -> list[Path]:
    """Fit standardiser, profiles and collinearity on the training rows and write them.

    Args:
        folder: The prepared and measured folder.
        manifest: Of that folder.
        table: Its measurements, as `read_table` gives them.
        config: How to standardise.

    Returns:
        `standardiser.json`, `profiles.parquet` and `collinear.csv` (which feature stands for which dropped one).

    Raises:
        ArtefactError: When no training row has a measurement.
    """
    rows = label_table(manifest, table)
    train = rows[rows["split"] == "train"]
    made_from = _made_from(folder, manifest)
    standardiser = Standardiser.fit(train, config=config)
    profiles = Profiles.fit(
        train, list(train["label"]), FEATURE_NAMES, classes=manifest.header.classes, made_from=made_from
    )
    paths = [folder / name for name in (STANDARDISER_FILE, PROFILES_FILE, COLLINEAR_FILE)]
    replace_file(paths[0], json.dumps({"made_from": made_from, **standardiser.to_dict()}, indent=1).encode())
    profiles.write(paths[1])
    replace_file(paths[2], find_collinear(train, FEATURE_NAMES).to_frame().to_csv(index=False).encode())
    return paths


def read_standardiser(folder: Path, manifest: Manifest) -> Standardiser:
    """The standardiser of a prepared folder.

    Raises:
        ArtefactError: When it is missing, damaged, or was fitted on another split or other measurements.
    """
    path = folder / STANDARDISER_FILE
    cure = f"measure again: {manifest.header.command}"
    try:
        data: dict[str, Any] = json.loads(path.read_text())
        made_from = data.pop("made_from")
        standardiser = Standardiser.from_dict(data)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"'{path}' is missing or damaged: {error}", cure=cure) from error
    if made_from != _made_from(folder, manifest):
        raise ArtefactError(f"'{path}' was fitted on another split or other measurements", cure=cure)
    return standardiser


def _made_from(folder: Path, manifest: Manifest) -> Mapping[str, str]:
    """The hashes of the split and of the measurements."""
    return {"manifest_hash": manifest.hash, "table_hash": str(read_table_header(folder)["hash"])}
