"""The measurement table with what the manifest knows of each image."""

from __future__ import annotations

import pandas as pd

from lfvar.data.manifest import Manifest
from lfvar.errors import ArtefactError


def label_table(manifest: Manifest, table: pd.DataFrame) -> pd.DataFrame:
    """Put label, split, lesion and share of the image beside the measurements, in the order of the manifest.

    Args:
        manifest: Of the prepared folder that was measured.
        table: What `lfvar.measure.run.read_table` returns: image_id and one column per feature.

    Returns:
        One row per image of the manifest. `lesion` is never missing: an image without a lesion id is its own lesion.

    Raises:
        ArtefactError: When images of the manifest are not in the table.
    """
    rows = manifest.to_frame()
    missing = sorted(set(rows["image_id"]) - set(table["image_id"]))
    if missing:
        raise ArtefactError(
            f"{len(missing)} of {len(rows)} images of '{manifest.header.name}' are not in the measurement table "
            f"(first: {missing[0]})",
            cure=f"measure the prepared folder again: {manifest.header.command}",
        )
    rows["lesion"] = rows["lesion_id"].fillna(rows["image_id"])
    known = rows[["image_id", "label", "split", "lesion", "lesion_fraction"]]
    return known.merge(table, on="image_id", how="left", validate="one_to_one")
