"""One set of features against another: every distance with its floor at equal counts and its interval.

Each number is given twice: of all images, with a bootstrap interval, and at equal counts, the mean over random draws of
m generated images against one real half of m. Only the latter compares with the floor, one real half against the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lfvar.metrics.frechet import MIN_SAMPLES, Spread, feature_distance, half_splits
from lfvar.metrics.frechet_replicates import frechet_replicates
from lfvar.metrics.intervals import NO_INTERVAL, Interval, draw_weights, interval_around, mean_interval
from lfvar.metrics.kernel_distance import kernel_distance, weighted_kernel_distances
from lfvar.metrics.support import SUPPORT_METRICS, support_values

Array = NDArray[np.float64]

METRICS = ("fd", "kid", *SUPPORT_METRICS)
LOWER_IS_BETTER = ("fd", "kid")
FEW = 50
"""Fewer images than this say little in any metric."""


@dataclass(frozen=True)
class ScoreSettings:
    """How sets are compared."""

    num_splits: int = 10
    """Random draws that numbers at equal counts, and floors, are averaged over."""
    num_bootstrap: int = 100
    """Replicates of an interval; 0: none."""
    neighbours: int = 5
    """k of precision, recall, density and coverage."""
    seed: int = 0
    """Decides draws and replicates."""

    def __post_init__(self) -> None:
        for name, low in (("num_splits", 1), ("num_bootstrap", 0), ("neighbours", 1), ("seed", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")


@dataclass(frozen=True)
class Score:
    """One metric of one pair of sets; NaN where counts do not allow it."""

    metric: str
    value: float
    """All generated images against all real ones."""
    interval: Interval
    """Of `value`."""
    matched: Spread
    """At `num_matched` images a side: what to hold against the floor."""
    floor: Spread
    """One real half against the other, at `num_matched` images a side."""
    num_generated: int
    num_real: int
    num_matched: int
    """0: too few for halves."""
    warning: str
    """Why the number means little; "" where it does not."""


def score_sets(
    generated_ND: Array, real_MD: Array, settings: ScoreSettings | None = None, *, refused: str = ""
) -> list[Score]:
    """All of `METRICS`.

    Args:
        generated_ND: Features of generated images.
        real_MD: Features of real images.
        settings: How; None: as it is by default.
        refused: Why the Fréchet distance is not to be computed; "" where it is.

    Raises:
        ValueError: When the widths differ.
    """
    settings = settings or ScoreSettings()
    generated_ND, real_MD = np.asarray(generated_ND, np.float64), np.asarray(real_MD, np.float64)
    if generated_ND.ndim != 2 or real_MD.ndim != 2 or generated_ND.shape[1] != real_MD.shape[1]:
        raise ValueError(f"features are (N, D) and (M, D), got {generated_ND.shape} and {real_MD.shape}")
    counts = (len(generated_ND), len(real_MD))
    draws = _draw_matched(*counts, settings)
    values, intervals = _all_images(generated_ND, real_MD, settings, skip_fd=bool(refused))
    matched = _at_equal_counts([(generated_ND[g], real_MD[b]) for g, _, b in draws], settings, bool(refused))
    floors = _at_equal_counts([(real_MD[a], real_MD[b]) for _, a, b in draws], settings, bool(refused))
    return [
        Score(
            metric=metric,
            value=values[metric],
            interval=intervals[metric],
            matched=matched[metric],
            floor=floors[metric],
            num_generated=counts[0],
            num_real=counts[1],
            num_matched=len(draws[0][0]) if draws else 0,
            warning=_warn(metric, counts, generated_ND.shape[1], settings, refused),
        )
        for metric in METRICS
    ]


def compute_metrics(generated_ND: Array, real_MD: Array, k: int, *, skip_fd: bool = False) -> dict[str, float]:
    """All of `METRICS` as plain numbers; NaN where counts do not allow one."""
    found = dict.fromkeys(METRICS, float("nan"))
    smallest = min(len(generated_ND), len(real_MD))
    if smallest < MIN_SAMPLES or not (np.isfinite(generated_ND).all() and np.isfinite(real_MD).all()):
        return found
    if not skip_fd:
        found["fd"] = feature_distance(generated_ND, real_MD)
    found["kid"] = kernel_distance(generated_ND, real_MD)
    if smallest > k:
        parts = support_values(generated_ND, real_MD, k)
        found |= {metric: float(parts[metric].mean()) for metric in SUPPORT_METRICS}
    return found


def _draw_matched(
    num_generated: int, num_real: int, settings: ScoreSettings
) -> list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Indices of generated images, of one real half and of the other, as many of each."""
    generator = np.random.default_rng([settings.seed, 1])
    count = min(num_generated, num_real // 2)
    if count < MIN_SAMPLES:
        return []
    return [
        (generator.choice(num_generated, count, replace=False), a[:count], b[:count])
        for a, b in half_splits(num_real, settings.num_splits, settings.seed)
    ]


def _all_images(
    generated_ND: Array, real_MD: Array, settings: ScoreSettings, *, skip_fd: bool
) -> tuple[dict[str, float], dict[str, Interval]]:
    values = compute_metrics(generated_ND, real_MD, settings.neighbours, skip_fd=skip_fd)
    intervals = dict.fromkeys(METRICS, NO_INTERVAL)
    count, seed = settings.num_bootstrap, settings.seed
    if count < 2 or np.isnan(values["kid"]):
        return values, intervals
    if not skip_fd:
        replicates = frechet_replicates(generated_ND, real_MD, count, seed)
        intervals["fd"] = interval_around(values["fd"], replicates, (0.0, np.inf))
    weights = (draw_weights(len(x), count, seed + i) for i, x in enumerate((generated_ND, real_MD)))
    # Of two or three samples a replicate may hold one alone, which has no pairs.
    with np.errstate(invalid="ignore", divide="ignore"):
        replicates = weighted_kernel_distances(generated_ND, real_MD, *weights)
    intervals["kid"] = interval_around(values["kid"], replicates[np.isfinite(replicates)])
    if np.isfinite(values["precision"]):
        parts = support_values(generated_ND, real_MD, settings.neighbours)
        for metric in SUPPORT_METRICS:
            limits = (0.0, np.inf if metric == "density" else 1.0)
            # Balls stay as they are: drawn twice, a sample would be its own neighbour at distance 0.
            intervals[metric] = mean_interval(parts[metric], count, seed, limits)
    return values, intervals


def _at_equal_counts(pairs: list[tuple[Array, Array]], settings: ScoreSettings, skip_fd: bool) -> Mapping[str, Spread]:
    rows = [compute_metrics(*pair, settings.neighbours, skip_fd=skip_fd) for pair in pairs]
    return {metric: Spread.of([row[metric] for row in rows]) for metric in METRICS}


def _warn(metric: str, counts: tuple[int, int], dimensions: int, settings: ScoreSettings, refused: str) -> str:
    smallest = min(counts)
    rules: tuple[tuple[Callable[[], bool], str], ...] = (
        (lambda: counts[0] == 0, "no generated images"),
        (lambda: counts[1] == 0, "no real images"),
        (lambda: smallest < MIN_SAMPLES, "one image has no distance"),
        (lambda: metric == "fd" and bool(refused), refused),
        (lambda: metric in SUPPORT_METRICS and smallest <= settings.neighbours, "not more images than neighbours"),
        (lambda: metric == "fd" and smallest <= dimensions, f"{smallest} images for {dimensions} dimensions"),
        (lambda: smallest < FEW, f"{smallest} images"),
    )
    return next((text for applies, text in rules if applies()), "")
