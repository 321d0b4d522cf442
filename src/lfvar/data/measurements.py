"""Standardised measurements of prepared images, in each of the 8 positions that training shows them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lfvar.data.manifest import Manifest
from lfvar.errors import ConfigError, DataError
from lfvar.measure.schema import FEATURE_NAMES, GROUPS, SCHEMA
from lfvar.measure.standardise import Standardiser
from lfvar.measure.symmetry import SYMMETRIES, move_measurements


@dataclass(frozen=True)
class MeasurementRows:
    """The measurements of every image of a manifest; make it with `MeasurementRows.read(folder, manifest)`."""

    standardiser: Standardiser
    """Of the chosen features, fitted on the training split."""
    row_of: Mapping[str, int]
    """Row of each image id."""
    values_NM: NDArray[np.float32]
    """Standardised, of the image as prepared; 0 where missing."""
    present_NM: NDArray[np.bool_]
    moving: tuple[int, ...]
    """Columns that a flip or rotation changes: the position of the lesion."""
    moved_SNP: NDArray[np.float32]
    """Those columns for each of `SYMMETRIES`, standardised; 0 where missing."""
    moved_present_SNP: NDArray[np.bool_]
    """Which of them are present: a turn makes the other coordinate of it, and what is missing goes along."""

    @property
    def names(self) -> tuple[str, ...]:
        """The features, in the order of columns."""
        return self.standardiser.names

    @property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """Columns of each group that has any: shape, histogram, texture, clinical."""
        group_of = {feature.name: feature.group for feature in SCHEMA}
        columns = {
            group: tuple(index for index, name in enumerate(self.names) if group_of[name] == group) for group in GROUPS
        }
        return {group: indices for group, indices in columns.items() if indices}

    @classmethod
    def read(cls, folder: Path, manifest: Manifest, features: Sequence[str] | None = None) -> MeasurementRows:
        """Read what `lfvar.prepare` measured.

        Args:
            folder: The prepared folder.
            manifest: Of that folder.
            features: Names of features and groups; None: all.

        Raises:
            ConfigError: When there is no such feature.
            DataError: When the images have no lesions to measure.
            ArtefactError: When table or standardiser is missing, damaged, or of other images or another split.
        """
        from lfvar.measure.run import read_table  # takes half a second: pyradiomics and ITK
        from lfvar.measure.statistics import read_standardiser

        if not manifest.has_lesions:
            raise DataError(
                f"'{folder}' has no measurements: its images have no masks, so there is no lesion to describe",
                cure="set data.loader.measurements=false, or prepare images with masks",
            )
        table = read_table(folder, manifest)
        return cls.of_table(table, read_standardiser(folder, manifest), features)

    @classmethod
    def of_table(
        cls, table: pd.DataFrame, standardiser: Standardiser, features: Sequence[str] | None = None
    ) -> MeasurementRows:
        """Standardise a table.

        Args:
            table: `image_id` and every feature of the schema, in natural units; NaN where missing.
            standardiser: Of every feature that is chosen.
            features: Names of features and groups; None: all.
        """
        chosen = set(select_features(features))
        standardiser = replace(standardiser, features=tuple(f for f in standardiser.features if f.name in chosen))
        raw_NF = table[list(FEATURE_NAMES)].to_numpy(np.float64)
        still = {feature.name for feature in SCHEMA if feature.invariant}
        moving = tuple(index for index, name in enumerate(standardiser.names) if name not in still)
        values_NM, present_NM = standardiser.transform(table)
        moved = []
        for turns, mirrored in SYMMETRIES:  # moved in natural units: the scales of x and y differ
            frame = pd.DataFrame(move_measurements(raw_NF, turns, mirrored), columns=list(FEATURE_NAMES))
            moved.append([part[:, list(moving)] for part in standardiser.transform(frame)])
        moved_SNP, moved_present_SNP = (np.stack(parts) for parts in zip(*moved, strict=True))
        row_of = {str(image_id): row for row, image_id in enumerate(table["image_id"])}
        return cls(standardiser, row_of, values_NM, present_NM, moving, moved_SNP, moved_present_SNP)

    def get(self, image_id: str, symmetry: int = 0) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The measurements of an image, flipped or turned.

        Args:
            image_id: One of the manifest's.
            symmetry: Index into `SYMMETRIES`; 0 is the image as prepared.

        Returns:
            Values float32 (M,), 0 where missing, and which are present (M,).
        """
        row = self.row_of[image_id]
        values_M = self.values_NM[row].copy()
        present_M = self.present_NM[row].copy()
        values_M[list(self.moving)] = self.moved_SNP[symmetry, row]
        present_M[list(self.moving)] = self.moved_present_SNP[symmetry, row]
        return values_M, present_M


def select_features(features: Sequence[str] | None) -> tuple[str, ...]:
    """The features that names of features and groups stand for, each once, in the order of the schema.

    Args:
        features: "shape", "clinical_redness", …; None: all.

    Raises:
        ConfigError: When a name is unknown, or nothing is named.
    """
    if features is None:
        return FEATURE_NAMES
    known = (*GROUPS, *FEATURE_NAMES)
    for name in features:
        if name not in known:
            near = get_close_matches(name, known, n=3)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            raise ConfigError(
                f"data.loader.features has '{name}', which is neither a measurement nor a group of them",
                cure=f"{hint}Groups are {', '.join(GROUPS)}; names are in lfvar.measure.schema",
            )
    if not features:
        raise ConfigError(
            "data.loader.features is empty",
            cure=f"name measurements or groups ({', '.join(GROUPS)}), or set data.loader.measurements=false",
        )
    return tuple(f.name for f in SCHEMA if f.name in features or f.group in features)
