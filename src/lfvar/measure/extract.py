"""Measure one lesion: everything in the schema, or the reason why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lfvar.measure.clinical import measure_clinical
from lfvar.measure.lesion import check_mask
from lfvar.measure.radiomics import measure_radiomics
from lfvar.measure.schema import FEATURE_NAMES, GROUPS, Group
from lfvar.measure.settings import MeasurementError, MeasureSettings

__all__ = ["MeasureSettings", "MeasurementError", "Measurements", "measure"]


@dataclass(frozen=True)
class Measurements:
    """The measurements of one lesion, in schema order."""

    values: NDArray[np.float64]
    """(M,); NaN where missing."""
    reasons: Mapping[Group, str]
    """Why values of a group are missing; only groups that lack some."""

    @property
    def present(self) -> NDArray[np.bool_]:
        """(M,); False where missing."""
        return np.asarray(np.isfinite(self.values))

    @property
    def reason(self) -> str:
        """All reasons as one phrase; "" when nothing is missing."""
        groups_of: dict[str, list[str]] = {}
        for group in GROUPS:
            if group in self.reasons:
                groups_of.setdefault(self.reasons[group], []).append(group)
        return " | ".join(f"{', '.join(groups)}: {reason}" for reason, groups in groups_of.items())

    def as_dict(self) -> dict[str, float]:
        """Values by name; NaN where missing."""
        return dict(zip(FEATURE_NAMES, self.values.tolist(), strict=True))


def measure(
    image_HWC: NDArray[Any], mask_HW: NDArray[np.bool_], settings: MeasureSettings | None = None
) -> Measurements:
    """Measure a lesion.

    Args:
        image_HWC: RGB, 0 to 255: the prepared square, as uint8 or as floating point.
        mask_HW: True = lesion. Several pieces are measured as one lesion; the edge of the image is border where it
            cuts the lesion.
        settings: None: as they are by default.

    Raises:
        ValueError: When image and mask are not of this kind.
    """
    settings = settings or MeasureSettings()
    if mask_HW.dtype != np.bool_ or mask_HW.ndim != 2:
        raise ValueError(f"mask is bool (H, W), got {mask_HW.dtype} {mask_HW.shape}; binarise it as read_mask does")
    if image_HWC.shape != (*mask_HW.shape, 3):
        raise ValueError(f"image is {image_HWC.shape} and mask is {mask_HW.shape}; they are (H, W, 3) and (H, W)")
    if image_HWC.dtype != np.uint8 and not np.issubdtype(image_HWC.dtype, np.floating):
        raise ValueError(f"image is uint8 or floating point from 0 to 255, got {image_HWC.dtype}")
    try:
        check_mask(mask_HW, settings)
    except MeasurementError as error:
        return Measurements(np.full(len(FEATURE_NAMES), np.nan), dict.fromkeys(GROUPS, str(error)))
    found, reasons = measure_radiomics(image_HWC, mask_HW, settings)
    clinical, reason = measure_clinical(image_HWC, mask_HW, settings)
    if reason is not None:
        reasons["clinical"] = reason
    found.update(clinical)
    return Measurements(np.array([found.get(name, np.nan) for name in FEATURE_NAMES], np.float64), reasons)
