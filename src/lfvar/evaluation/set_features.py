"""All features of a set of images: by networks and by measuring, from files where they are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lfvar.data.manifest import Manifest
from lfvar.errors import ArtefactError
from lfvar.evaluation.feature_cache import embed_set
from lfvar.evaluation.sets import ImageSet
from lfvar.measure.schema import FEATURE_NAMES
from lfvar.measure.settings import MeasureSettings
from lfvar.metrics.set_extractors import SetExtractor

FEATURES_FOLDER = "features"
"""Beside the images, unless another folder is given."""

Array = NDArray[np.float64]


@dataclass
class SetFeatures:
    """What is known of the images of a set, a row per image."""

    images: ImageSet
    spaces: dict[str, Array] = field(default_factory=dict)
    """Features by space."""
    hashes: dict[str, str] = field(default_factory=dict)
    """What made the features of each space."""
    logits: Array | None = None
    """Of Inception."""
    measured_NM: Array | None = None
    """In schema order and natural units, NaN where missing."""


def collect_features(
    images: ImageSet,
    extractors: Sequence[SetExtractor],
    *,
    measure: MeasureSettings | None,
    cache: Path | None = None,
    batch_size: int = 64,
    workers: int = 0,
) -> SetFeatures:
    """Compute what is not on disk yet.

    Args:
        images: The set.
        extractors: Networks.
        measure: How to measure; None: not at all.
        cache: Folder for what is computed; None: beside the images.
        batch_size: Images at once.
        workers: Processes that measure; 0: one per core.

    Raises:
        ArtefactError: When a cache is damaged or cannot be written.
    """
    found = SetFeatures(images)
    for extractor in extractors:
        folder = cache if cache is not None else images.folder / FEATURES_FOLDER
        vectors_ND = embed_set(images, extractor, folder, batch_size=batch_size)
        spaces = extractor.spaces(vectors_ND)
        found.spaces |= spaces
        found.hashes |= dict.fromkeys(spaces, extractor.weights_hash)
        logits = extractor.logits(vectors_ND)
        found.logits = logits if logits is not None else found.logits
    if measure is not None and images.manifest.has_lesions:
        found.measured_NM = measure_set(images, measure, cache, workers)
    return found


def measure_set(images: ImageSet, settings: MeasureSettings, cache: Path | None, workers: int) -> Array:
    """Measurements (N, M) in schema order: those of the folder where they fit, measured now otherwise."""
    from lfvar.measure.cache import MeasurementCache
    from lfvar.measure.run import cache_key, measure_manifest, read_table

    try:
        table = read_table(images.folder, Manifest.read(images.folder), settings).set_index("image_id")
        wanted = [row.image_id for row in images.rows]
        return table.loc[wanted, list(FEATURE_NAMES)].to_numpy(np.float64)
    except ArtefactError:
        pass
    path = (cache if cache is not None else images.folder) / "measurements.sqlite"
    measure_manifest(images.folder, images.manifest, settings, path, workers=workers)
    with MeasurementCache(path) as opened:
        rows = [opened.get(cache_key(row, settings)) for row in images.rows]
    assert all(row is not None for row in rows)
    return np.stack([row.values for row in rows if row is not None])
