"""The 102 radiomics of one lesion, by pyradiomics on luminance inside the mask.

Values are exactly those of `RadiomicsFeatureExtractor` with shape2D enabled and `force2D` off (on, it would silently
drop three of four directions on flat images), in less than half of its time: the lesion is cut out and binned once
instead of once per class, and by numpy instead of Python's `min` and `max`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from lfvar.measure.schema import SCHEMA, Group
from lfvar.measure.settings import MeasureSettings

LUMINANCE_WEIGHTS = (0.2125, 0.7154, 0.0721)
"""Of R, G and B: the weights of LF-VAR's measurements (CIE luminance, on gamma-encoded values)."""

_CLASSES: dict[str, Group] = {
    "shape2D": "shape",
    "firstorder": "histogram",
    "glcm": "texture",
    "glrlm": "texture",
    "glszm": "texture",
    "ngtdm": "texture",
    "gldm": "texture",
}

_NAMES: dict[str, tuple[tuple[str, str], ...]] = {
    kind: tuple(
        (feature.name, feature.pyradiomics.removeprefix(f"{kind}_"))
        for feature in SCHEMA
        if feature.pyradiomics is not None and feature.pyradiomics.startswith(f"{kind}_")
    )
    for kind in _CLASSES
}


@dataclass(frozen=True)
class _Bins:
    """A lesion cut into bins once, for all classes."""

    matrix: NDArray[np.int_]
    """0 outside the lesion."""
    levels: NDArray[np.int_]
    """Bins that occur."""


def luminance(image_HWC: NDArray[Any]) -> NDArray[np.float64]:
    """Luminance in grey levels, 0 to 255."""
    red, green, blue = LUMINANCE_WEIGHTS
    image = image_HWC.astype(np.float64)
    return np.asarray(image[..., 0] * red + image[..., 1] * green + image[..., 2] * blue)


def measure_radiomics(
    image_HWC: NDArray[Any], mask_HW: NDArray[np.bool_], settings: MeasureSettings
) -> tuple[dict[str, float], dict[Group, str]]:
    """Measure shape, histogram and texture.

    Args:
        image_HWC: RGB, 0 to 255; uint8, or floating point.
        mask_HW: True = lesion; spans at least two rows and two columns.
        settings: Bin width.

    Returns:
        Values by feature name, and for each group that failed, wholly or in part, the reason. A value that is not a
        finite number is left out.
    """
    classes = _feature_classes()
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    box = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    mask_hw = np.ascontiguousarray(mask_HW[box])
    grey_hw = luminance(image_HWC[box])
    label = SimpleITK.GetImageFromArray(mask_hw.astype(np.uint8))
    grey = SimpleITK.GetImageFromArray(grey_hw)

    values: dict[str, float] = {}
    reasons: dict[Group, str] = {}
    bins: _Bins | None = None
    if np.isfinite(grey_hw[mask_hw]).all():
        bins = _bin(grey_hw, mask_hw, settings.bin_width)
    for kind, group in _CLASSES.items():
        if kind != "shape2D" and bins is None:
            reasons[group] = "the lesion has pixels that are not finite numbers"
            continue
        try:
            found = _run(classes[kind], label if kind == "shape2D" else grey, label, settings, bins)
        except Exception as error:
            # pyradiomics raises whatever its numerics raise; one class must not take the others with it.
            _add(reasons, group, f"{kind}: {error}")
            continue
        wrong = [name for name, theirs in _NAMES[kind] if not np.isfinite(found.get(theirs, np.nan))]
        values.update({name: float(found[theirs]) for name, theirs in _NAMES[kind] if name not in wrong})
        if wrong:
            _add(reasons, group, f"{kind}: no finite value for {', '.join(wrong)}")
    return values, reasons


def _run(
    kind: type[Any], image: SimpleITK.Image, label: SimpleITK.Image, settings: MeasureSettings, bins: _Bins | None
) -> Mapping[str, Any]:
    with np.errstate(all="ignore"):  # divisions by zero in flat lesions; what is not finite is left out above
        extractor = kind(image, label, label=1, binWidth=settings.bin_width, force2D=False, bins=bins)
        extractor.enableAllFeatures()  # all but the deprecated ones
        return extractor.execute()


def _bin(grey_hw: NDArray[np.float64], mask_hw: NDArray[np.bool_], width: float) -> _Bins:
    """The bins of `radiomics.imageoperations.binImage`, whose edges depend on lowest and highest value alone."""
    from radiomics.imageoperations import getBinEdges

    inside = grey_hw[mask_hw]
    edges = getBinEdges(np.array([inside.min(), inside.max()]), binWidth=width)
    matrix = np.zeros(grey_hw.shape, dtype=np.int_)
    matrix[mask_hw] = np.digitize(inside, edges)
    return _Bins(matrix, np.flatnonzero(np.bincount(matrix[mask_hw])))


class _BinnedOnce:
    """Mixed into a class of pyradiomics: takes the bins that were made for all of them."""

    settings: dict[str, Any]
    coefficients: dict[str, Any]

    def _applyBinning(  # noqa: N802 (their name)
        self, matrix: NDArray[Any]
    ) -> NDArray[np.int_]:
        bins: _Bins = self.settings["bins"]
        self.coefficients["grayLevels"] = bins.levels
        self.coefficients["Ng"] = int(bins.levels[-1])
        return bins.matrix.copy()


@cache
def _feature_classes() -> dict[str, type[Any]]:
    """The classes, made once per process; with them, ITK gets one thread and pyradiomics falls silent."""
    import radiomics

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # type: ignore[no-untyped-call]
    logging.getLogger("radiomics").setLevel(logging.CRITICAL + 1)
    theirs = radiomics.getFeatureClasses()
    return {
        kind: type(f"BinnedOnce_{kind}", (_BinnedOnce, theirs[kind]), {"__module__": theirs[kind].__module__})
        for kind in _CLASSES  # their module's name chooses their logger
    }


def _add(reasons: dict[Group, str], group: Group, reason: str) -> None:
    reasons[group] = f"{reasons[group]}; {reason}" if group in reasons else reason
