"""What colours the lesion has, and how they differ from the skin around: C of the ABCD rule."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from lfvar.measure.lesion import Lesion, equivalent_diameter
from lfvar.measure.settings import MeasurementError

DERMOSCOPIC_COLOURS: dict[str, tuple[float, float, float]] = {
    "white": (82.0, 4.0, 4.0),
    "red": (50.0, 42.0, 20.0),
    "light brown": (60.0, 16.0, 26.0),
    "dark brown": (33.0, 18.0, 18.0),
    "blue-grey": (46.0, 2.0, -6.0),
    "black": (10.0, 3.0, 2.0),
}
"""CIELAB centres of the six colours of the ABCD rule (Nachbar et al. 1994; Stolz et al. 1994)."""

_MIN_RING = 16
"""Pixels; a ring of fewer says nothing about the skin."""


def measure_colour(lesion: Lesion, share: float) -> dict[str, float]:
    """Measure mean colour, variegation, and the number of dermoscopic colours, all in CIELAB.

    colour_lightness (L*, 0 to 100), colour_redness (a*), colour_yellowness (b*): Means over the lesion.

    colour_variegation: Root mean square ΔE*ab (CIE 1976) from the mean colour; 0 up. One half in each of two colours
    gives half their ΔE. colour_variegation_chroma: The same in a* and b* alone. Relative colour variance is a feature
    since Umbaugh, Moss & Stoecker (IEEE Eng Med Biol 10:43, 1991).

    colour_count: How many of white, red, light brown, dark brown, blue-grey and black are present, that is, nearest
    (ΔE*ab) to at least `share` of the lesion's pixels; 1 to 6 unless the lesion is a patchwork. The six colours are
    those of the ABCD rule (Nachbar et al., J Am Acad Dermatol 30:551, 1994). Dermatologists judge them by eye and no
    calibrated values exist; ours are `DERMOSCOPIC_COLOURS`, so the count is a convention, not a diagnosis.

    Args:
        lesion: What to measure.
        share: See above.

    Raises:
        MeasurementError: When a pixel is not a finite number.
    """
    lab = lesion.lab_inside
    mean = lab.mean(axis=0)
    variance = ((lab - mean) ** 2).mean(axis=0)
    shares = colour_shares(lab)
    return {
        "clinical_colour_lightness": float(mean[0]),
        "clinical_colour_redness": float(mean[1]),
        "clinical_colour_yellowness": float(mean[2]),
        "clinical_colour_variegation": math.sqrt(float(variance.sum())),
        "clinical_colour_variegation_chroma": math.sqrt(float(variance[1:].sum())),
        "clinical_colour_count": float((shares >= share).sum()),
    }


def colour_shares(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of pixels (N, 3) nearest to each of `DERMOSCOPIC_COLOURS`."""
    centres = np.array(list(DERMOSCOPIC_COLOURS.values()))
    # |p - c|² = |p|² - 2 p·c + |c|²; the first term is the same for all.
    nearest = ((centres**2).sum(axis=1) - 2 * lab @ centres.T).argmin(axis=1)
    return np.asarray(np.bincount(nearest, minlength=len(centres)) / len(lab))


def measure_contrast(lesion: Lesion, ring_width: float) -> dict[str, float]:
    """Compare the lesion with the ring of skin around it.

    contrast_colour: ΔE*ab (CIE 1976) between the mean colours of ring and lesion; 0 up. contrast_lightness: Mean L* of
    the ring minus that of the lesion; positive for a lesion darker than its skin. The ring holds all pixels nearer to
    the lesion than `ring_width` equivalent diameters (at least 2 pixels); what lies beyond the image is left out. As
    skin tone, light and camera are in both, such relative colours are more comparable than absolute ones (Stanley,
    Stoecker & Moss, "A relative color approach", Skin Res Technol 13:62, 2007).

    Raises:
        MeasurementError: When a pixel is not a finite number, or the image shows next to no skin around the lesion.
    """
    outside = (~lesion.mask_hw).astype(np.uint8)
    width = ring_pixels(lesion.area, ring_width)
    if not outside.any():
        raise MeasurementError("no skin around the lesion: it fills the image")
    distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    ring = np.asarray((distance > 0) & (distance <= width))
    if int(ring.sum()) < _MIN_RING:
        raise MeasurementError(f"no skin around the lesion: the image shows {int(ring.sum())} pixels of it")
    difference = lesion.lab[ring].mean(axis=0) - lesion.lab_inside.mean(axis=0)
    return {
        "clinical_contrast_colour": math.sqrt(float((difference**2).sum())),
        "clinical_contrast_lightness": float(difference[0]),
    }


def ring_pixels(area: int, ring_width: float) -> float:
    """Width of the ring in pixels."""
    return max(2.0, ring_width * equivalent_diameter(area))
