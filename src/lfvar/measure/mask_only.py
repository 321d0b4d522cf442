"""What the mask alone says of a lesion: its shape, size and place, faster than by measuring everything."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from lfvar.measure.asymmetry import measure_shape_asymmetry
from lfvar.measure.border import measure_border
from lfvar.measure.geometry import measure_geometry
from lfvar.measure.lesion import Lesion, check_mask
from lfvar.measure.schema import SCHEMA
from lfvar.measure.settings import MeasurementError, MeasureSettings

_SHAPE = {
    feature.name: feature.pyradiomics.removeprefix("shape2D_")
    for feature in SCHEMA
    if feature.pyradiomics is not None and feature.pyradiomics.startswith("shape2D_")
}


def measure_mask(mask_HW: NDArray[np.bool_], settings: MeasureSettings | None = None) -> dict[str, float]:
    """Measure what needs no image.

    Args:
        mask_HW: True = lesion.
        settings: None: as they are by default.

    Returns:
        The values that `lfvar.measure.extract.measure` gives for any image with this mask, by name of feature; without
        those that cannot be measured (of a mask too small: none).
    """
    settings = settings or MeasureSettings()
    try:
        check_mask(mask_HW, settings)
    except MeasurementError:
        return {}
    lesion = Lesion.cut(np.zeros((*mask_HW.shape, 3), np.uint8), mask_HW, margin=0)
    values = _measure_shape(lesion.mask_hw)
    parts: tuple[Callable[[], dict[str, float]], ...] = (
        lambda: measure_geometry(lesion),
        lambda: measure_shape_asymmetry(lesion),
        lambda: measure_border(lesion, settings.border_sigma),
    )
    for measure_part in parts:
        try:
            values |= measure_part()
        except MeasurementError:
            continue
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _measure_shape(mask_hw: NDArray[np.bool_]) -> dict[str, float]:
    label = SimpleITK.GetImageFromArray(mask_hw.astype(np.uint8))
    try:
        extractor = _shape_class()(label, label, label=1)
        extractor.enableAllFeatures()
        found = extractor.execute()
    except Exception:  # pyradiomics raises whatever its numerics raise
        return {}
    return {ours: float(found[theirs]) for ours, theirs in _SHAPE.items() if theirs in found}


@cache
def _shape_class() -> Any:
    import radiomics  # takes a second

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # type: ignore[no-untyped-call]
    logging.getLogger("radiomics").setLevel(logging.CRITICAL + 1)
    return radiomics.getFeatureClasses()["shape2D"]
