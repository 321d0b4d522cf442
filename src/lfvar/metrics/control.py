"""Control: does an image measure what was asked of it?

Every generated image is measured again; what was asked and what came out are compared feature by feature. Two things a
reader needs to judge a number: what the tokenizer alone loses (`lfvar.metrics.preservation`, the ceiling), and what
comes out when nothing is asked (the floor).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from lfvar.measure.schema import SCHEMA
from lfvar.metrics.preservation import FOLLOWS_FROM_MASK, MIN_PAIRS

CONTROLLED = 0.5
"""Rank correlation from which on a feature counts as steered."""

_ROUNDING = 1e-9  # of the largest value: a smaller spread is a constant


def type_spreads(values_NM: NDArray[np.float64], label_N: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Standard deviation of each measurement among real lesions of each type: the unit of `control_table`'s errors.

    Args:
        values_NM: Measurements of real lesions in schema order; NaN where missing.
        label_N: Their types.

    Returns:
        (M,) for each type that occurs; NaN where fewer than two lesions have the feature, or all have the same value.
    """
    labels = np.asarray(label_N)
    spreads = {}
    for label in dict.fromkeys(label_N):
        rows_NM = values_NM[labels == label]
        counts_M = np.isfinite(rows_NM).sum(axis=0)
        spread_M = np.full(values_NM.shape[1], np.nan)
        enough_M = counts_M >= 2
        spread_M[enough_M] = np.nanstd(np.where(np.isfinite(rows_NM), rows_NM, np.nan)[:, enough_M], axis=0)
        largest_M = np.nanmax(np.where(np.isfinite(rows_NM), np.abs(rows_NM), 0), axis=0, initial=0)
        spreads[label] = np.where(spread_M > _ROUNDING * largest_M, spread_M, np.nan)
    return spreads


def control_table(
    asked_NM: NDArray[np.float64],
    got_NM: NDArray[np.float64],
    label_N: Sequence[str],
    spreads: Mapping[str, NDArray[np.float64]],
) -> pd.DataFrame:
    """Compare what was asked with what was measured.

    Args:
        asked_NM: In schema order and natural units, a row per generated image; NaN where a feature was left free.
        got_NM: Measurements of the generated images; NaN where missing.
        label_N: Type asked of each image.
        spreads: Of real lesions of those types, from `type_spreads`.

    Returns:
        One row per feature, none left out:

        - `feature`, `group`, `follows_from_mask` (whoever paints inside a given mask gets these for nothing);
        - `count`: images that were asked for it and have it;
        - `lost`: asked for it and do not have it;
        - `spearman`: rank correlation of asked and got over those images (ties share their mean rank);
        - `within_type`: the same after subtracting each type's mean from both: what is steered beyond the type;
        - `error`: median absolute difference, in units of the type's spread among real lesions;
        - `bias`: median difference (got minus asked), in the same unit;
        - `outcome`: "ok", or why numbers are NaN: "not asked", "too few pairs", "constant".

    Raises:
        ValueError: When shapes differ or a type has no spread.
    """
    if asked_NM.shape != got_NM.shape or asked_NM.shape != (len(label_N), len(SCHEMA)):
        raise ValueError(
            f"asked {asked_NM.shape} and got {got_NM.shape}: both must be ({len(label_N)} labels, {len(SCHEMA)})"
        )
    unknown = sorted(set(label_N) - set(spreads))
    if unknown:
        raise ValueError(f"no spread of real lesions for type {', '.join(unknown)}")
    unit_NM = np.stack([spreads[label] for label in label_N]) if len(label_N) else np.zeros((0, len(SCHEMA)))
    _, type_N = np.unique(np.asarray(label_N, dtype=str), return_inverse=True)
    rows = []
    for index, feature in enumerate(SCHEMA):
        about = {"feature": feature.name, "group": feature.group, "follows_from_mask": bool(FOLLOWS_FROM_MASK[index])}
        rows.append(about | _compare(asked_NM[:, index], got_NM[:, index], unit_NM[:, index], type_N))
    return pd.DataFrame(rows)


def summarise_control(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Sum a `control_table` up.

    Returns:
        For "histogram", "texture", "clinical" (what depends on the image), "from the mask" (shape, and clinical
        measurements that the mask decides) and "depends on the image" (the first three): number of features asked for,
        median Spearman, median Spearman within types, share of features from `CONTROLLED` up, median error.
    """
    from_mask, group = table["follows_from_mask"], table["group"]
    parts: Mapping[str, pd.Series[bool]] = {
        "histogram": (group == "histogram") & ~from_mask,
        "texture": (group == "texture") & ~from_mask,
        "clinical": (group == "clinical") & ~from_mask,
        "from the mask": from_mask,
        "depends on the image": ~from_mask,
    }
    return {name: _summary(table[part & (table["outcome"] != "not asked")]) for name, part in parts.items()}


def _compare(
    asked_N: NDArray[np.float64], got_N: NDArray[np.float64], unit_N: NDArray[np.float64], type_N: NDArray[np.int64]
) -> dict[str, Any]:
    wanted = np.isfinite(asked_N)
    both = wanted & np.isfinite(got_N)
    row: dict[str, Any] = {
        "count": int(both.sum()),
        "lost": int((wanted & ~both).sum()),
        "spearman": np.nan,
        "within_type": np.nan,
        "error": np.nan,
        "bias": np.nan,
        "outcome": "ok",
    }
    if not wanted.any():
        return row | {"outcome": "not asked"}
    if both.sum() < MIN_PAIRS:
        return row | {"outcome": "too few pairs"}
    asked, got, types = asked_N[both], got_N[both], type_N[both]
    difference = (got - asked) / unit_N[both]
    difference = difference[np.isfinite(difference)]
    if len(difference):
        row |= {"error": float(np.median(np.abs(difference))), "bias": float(np.median(difference))}
    if _is_constant(asked) or _is_constant(got):
        return row | {"outcome": "constant"}
    row["spearman"] = rank_correlation(asked, got)
    inner_asked, inner_got = _without_means(asked, types), _without_means(got, types)
    if not (_is_constant(inner_asked, asked) or _is_constant(inner_got, got)):
        row["within_type"] = rank_correlation(inner_asked, inner_got)
    return row


def rank_correlation(a_N: NDArray[np.float64], b_N: NDArray[np.float64]) -> float:
    """Spearman's coefficient; neither side may be constant."""
    return float(np.corrcoef(rankdata(a_N), rankdata(b_N))[0, 1])


def _without_means(values_N: NDArray[np.float64], type_N: NDArray[np.int64]) -> NDArray[np.float64]:
    counts_T = np.bincount(type_N)
    means_T = np.bincount(type_N, values_N) / np.maximum(counts_T, 1)
    return values_N - means_T[type_N]


def _is_constant(values_N: NDArray[np.float64], of_N: NDArray[np.float64] | None = None) -> bool:
    return bool(np.ptp(values_N) <= _ROUNDING * np.abs(values_N if of_N is None else of_N).max())


def _summary(rows: pd.DataFrame) -> dict[str, Any]:
    spearman = rows["spearman"].dropna()
    return {
        "features": len(rows),
        "spearman_median": float(spearman.median()),
        "within_type_median": float(rows["within_type"].median()),
        "share_controlled": float((rows["spearman"] >= CONTROLLED).mean()) if len(rows) else float("nan"),
        "error_median": float(rows["error"].median()),
    }
