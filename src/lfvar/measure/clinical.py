"""The clinical measurements of one lesion: the ABCD rule in numbers.

The rule is Nachbar, Stolz, Merkle et al., "The ABCD rule of dermatoscopy" (J Am Acad Dermatol 30:551-559, 1994). Each
part is defined where it is measured: `asymmetry`, `border`, `colour` and `geometry` beside this file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lfvar.measure.asymmetry import measure_colour_asymmetry, measure_shape_asymmetry
from lfvar.measure.border import measure_border
from lfvar.measure.colour import measure_colour, measure_contrast, ring_pixels
from lfvar.measure.geometry import measure_geometry
from lfvar.measure.lesion import Lesion
from lfvar.measure.settings import MeasurementError, MeasureSettings


def measure_clinical(
    image_HWC: NDArray[Any], mask_HW: NDArray[np.bool_], settings: MeasureSettings
) -> tuple[dict[str, float], str | None]:
    """Measure asymmetry, border, colour, contrast, size and position.

    Args:
        image_HWC: RGB, 0 to 255; uint8, or floating point.
        mask_HW: True = lesion; passes `lfvar.measure.lesion.check_mask`.
        settings: Smoothing, width of the ring, share of a colour.

    Returns:
        Values by feature name, and why some are missing: one part that fails leaves the others.
    """
    margin = math.ceil(ring_pixels(int(mask_HW.sum()), settings.ring_width)) + 1
    lesion = Lesion.cut(image_HWC, mask_HW, margin)
    parts: dict[str, Callable[[], dict[str, float]]] = {
        "geometry": lambda: measure_geometry(lesion),
        "asymmetry of shape": lambda: measure_shape_asymmetry(lesion),
        "asymmetry of colour": lambda: measure_colour_asymmetry(lesion),
        "border": lambda: measure_border(lesion, settings.border_sigma),
        "colour": lambda: measure_colour(lesion, settings.colour_share),
        "contrast": lambda: measure_contrast(lesion, settings.ring_width),
    }
    values: dict[str, float] = {}
    reasons: dict[str, list[str]] = {}
    for part, measure_part in parts.items():
        try:
            values.update(measure_part())
        except MeasurementError as error:
            reasons.setdefault(str(error), []).append(part)
    return values, "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items()) or None
