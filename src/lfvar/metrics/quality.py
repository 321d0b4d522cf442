"""What is reported of each reconstruction: which measures there are, in which unit, and how they are summed up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lfvar.metrics.regions import REGIONS

Summary = dict[str, dict[str, dict[str, float]]]
"""measure → region → `mean`, `median`, `count`."""


@dataclass(frozen=True)
class Measure:
    """How a measure is shown."""

    name: str
    title: str
    digits: int
    higher_is_better: bool = False


MEASURES = (
    Measure("psnr", "PSNR, dB", 2, higher_is_better=True),
    Measure("ssim", "SSIM", 4, higher_is_better=True),
    Measure("l1", "L1, of range", 4),
    Measure("delta_e", "ΔE76 (CIELAB)", 3),
    Measure("delta_l", "|ΔL*|", 3),
    Measure("delta_a", "|Δa*|", 3),
    Measure("delta_b", "|Δb*|", 3),
    Measure("structure", "structure", 4),
    Measure("perceptual_lite0", "perceptual_lite0", 4),
)
"""In the order of tables; the perceptual ones only where they were computed."""


def summarise_quality(values: Mapping[str, NDArray[np.float64]]) -> Summary:
    """Mean and median over images.

    Args:
        values: "psnr_inside" → (N,), for each measure and region; infinite where an image lacks the region.

    Returns:
        Infinite values are left out and missing from `count`; NaN, the mark of a diverged net, makes NaN. Both numbers
        are NaN where no image has the region.
    """
    summary: Summary = {}
    for measure in dict.fromkeys(key.rsplit("_", 1)[0] for key in values):
        summary[measure] = {region: _summarise(values[f"{measure}_{region}"]) for region in REGIONS}
    return summary


def drop(better: Summary, worse: Summary) -> Summary:
    """What is lost from one to the other, as means and medians of the first minus the second."""
    return {
        measure: {
            region: {key: better[measure][region][key] - worse[measure][region][key] for key in ("mean", "median")}
            for region in regions
        }
        for measure, regions in better.items()
    }


def _summarise(values_N: NDArray[np.float64]) -> dict[str, float]:
    # Sorted, so that the mean does not depend on the order of images.
    kept = np.sort(values_N[~np.isinf(values_N)])
    if not len(kept):
        return {"mean": float("nan"), "median": float("nan"), "count": 0}
    return {"mean": float(kept.mean()), "median": float(np.median(kept)), "count": len(kept)}
