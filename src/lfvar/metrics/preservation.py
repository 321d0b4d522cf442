"""What a tokenizer keeps of each measurement: the ceiling of all control by measurements later.

Original and reconstruction are measured alike, with the same mask, so what only the mask decides comes back exactly;
such features are marked and summed up apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from lfvar.measure.schema import FEATURE_NAMES, FROM_MASK, SCHEMA

MIN_PAIRS = 3
"""Fewer pairs have no rank correlation worth the name."""
GOOD = 0.8
"""Rank correlation from which on a feature counts as preserved."""

FOLLOWS_FROM_MASK: NDArray[np.bool_] = np.array([name in FROM_MASK for name in FEATURE_NAMES])
"""(M,) in schema order: the mask alone decides it, whatever the image."""

_ROUNDING = 1e-9  # of the largest value: a smaller spread is a constant


def preservation_table(original_NM: NDArray[np.float64], recon_NM: NDArray[np.float64]) -> pd.DataFrame:
    """Compare each measurement of the originals with that of their reconstructions.

    Args:
        original_NM: Measurements in schema order, a row per image; NaN where missing.
        recon_NM: The same of the reconstructions.

    Returns:
        One row per feature, none left out:

        - `feature`, `group`, `follows_from_mask`;
        - `count`: images that have it, finite, on both sides;
        - `missing`: images whose original lacks it; `lost`: the original has it and the reconstruction does not;
          `infinite`: images with an infinite value on either side (counted in the former two as well);
        - `spearman`: rank correlation over those images (ties share their mean rank);
        - `error`: median absolute difference, by the standard deviation of the originals;
        - `bias`: median difference (reconstruction minus original), in the same unit;
        - `std`: that standard deviation, in the feature's unit;
        - `outcome`: "ok", or why numbers are NaN: "too few pairs", "constant original" (no correlation, no unit),
          "constant reconstruction" (no correlation).

    Raises:
        ValueError: When the arrays are not both (N, M).
    """
    if original_NM.shape != recon_NM.shape or original_NM.shape[1:] != (len(FEATURE_NAMES),):
        raise ValueError(f"measurements are {original_NM.shape} and {recon_NM.shape}, not both (N, {len(SCHEMA)})")
    rows = []
    for index, feature in enumerate(SCHEMA):
        about = {"feature": feature.name, "group": feature.group, "follows_from_mask": bool(FOLLOWS_FROM_MASK[index])}
        rows.append(about | _compare(original_NM[:, index], recon_NM[:, index]))
    return pd.DataFrame(rows)


def summarise_preservation(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Sum a `preservation_table` up.

    Returns:
        For "histogram", "texture", "clinical", "shape" and "histogram and shape": number of features, how many have no
        rank correlation, median and lowest decile of it, the share of features from `GOOD` up, median error, median
        absolute bias. "clinical" is what depends on the image; "shape" and "clinical, from the mask" are 1 by
        construction, as the mask is shared.
    """
    from_mask, group = table["follows_from_mask"], table["group"]
    parts: Mapping[str, pd.Series[bool]] = {
        "histogram": group == "histogram",
        "texture": group == "texture",
        "clinical": (group == "clinical") & ~from_mask,
        "shape": group == "shape",
        "clinical, from the mask": (group == "clinical") & from_mask,
        "histogram and shape": group.isin(["histogram", "shape"]),
    }
    return {name: _summary(table[part]) for name, part in parts.items()}


def _compare(original_N: NDArray[np.float64], recon_N: NDArray[np.float64]) -> dict[str, Any]:
    has, kept = np.isfinite(original_N), np.isfinite(recon_N)
    both = has & kept
    a, b = original_N[both], recon_N[both]
    row: dict[str, Any] = {
        "count": int(both.sum()),
        "missing": int((~has).sum()),
        "lost": int((has & ~kept).sum()),
        "infinite": int((np.isinf(original_N) | np.isinf(recon_N)).sum()),
        "spearman": np.nan,
        "error": np.nan,
        "bias": np.nan,
        "std": float(a.std()) if len(a) else np.nan,
        "outcome": "ok",
    }
    if len(a) < MIN_PAIRS:
        return row | {"outcome": "too few pairs"}
    if _is_constant(a):
        return row | {"outcome": "constant original"}
    difference = (b - a) / row["std"]
    row |= {"error": float(np.median(np.abs(difference))), "bias": float(np.median(difference))}
    if _is_constant(b):
        return row | {"outcome": "constant reconstruction"}
    return row | {"spearman": float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])}


def _is_constant(values: NDArray[np.float64]) -> bool:
    return bool(np.ptp(values) <= _ROUNDING * np.abs(values).max())


def _summary(rows: pd.DataFrame) -> dict[str, Any]:
    spearman = rows["spearman"].dropna()
    return {
        "features": len(rows),
        "without_correlation": len(rows) - len(spearman),
        "spearman_median": float(spearman.median()),
        "spearman_lowest_decile": float(spearman.quantile(0.1)),
        "share_good": float((rows["spearman"] >= GOOD).mean()) if len(rows) else float("nan"),
        "error_median": float(rows["error"].median()),
        "abs_bias_median": float(rows["bias"].abs().median()),
        "follows_from_mask": bool(rows["follows_from_mask"].all()) if len(rows) else False,
    }
