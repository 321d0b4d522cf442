"""Bootstrap intervals: how much a number would move with other images of the same kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

COVERAGE = 0.95


class Interval(NamedTuple):
    """Where 95 % of the replicates lie; NaN where there are none."""

    low: float
    high: float


NO_INTERVAL = Interval(float("nan"), float("nan"))


def draw_weights(count: int, num_replicates: int, seed: int) -> Array:
    """How often each of `count` samples is drawn in each bootstrap replicate, (num_replicates, count)."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(count, np.full(count, 1 / count), size=num_replicates).astype(np.float64)


def interval_around(value: float, replicates: Array, limits: tuple[float, float] = (-np.inf, np.inf)) -> Interval:
    """The spread of replicates around the value of all samples.

    Replicates are moved so that their mean is the value: samples drawn twice raise a Fréchet distance as fewer samples
    would, so their own mean says nothing.

    Args:
        value: Of all samples.
        replicates: (R,).
        limits: Lowest and highest possible value.
    """
    if not np.isfinite(value) or len(replicates) < 2 or not np.isfinite(replicates).all():
        return NO_INTERVAL
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(replicates - replicates.mean(), (tail, 1 - tail)) + value
    return Interval(float(np.clip(low, *limits)), float(np.clip(high, *limits)))


def mean_interval(
    values_N: Array, num_replicates: int, seed: int, limits: tuple[float, float] = (-np.inf, np.inf)
) -> Interval:
    """The interval of a mean."""
    if len(values_N) < 2 or num_replicates < 2:
        return NO_INTERVAL
    replicates = draw_weights(len(values_N), num_replicates, seed) @ values_N / len(values_N)
    return interval_around(float(values_N.mean()), replicates, limits)


def share_interval(hits: int, count: int) -> Interval:
    """Wilson's interval of a share (Wilson 1927, eq. 8), which holds for few images and for shares near 0 and 1."""
    if count == 0:
        return NO_INTERVAL
    z = 1.959964
    share = hits / count
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    # At 0 and 1 the formula gives the share itself, up to rounding.
    return Interval(float(max(0.0, min(share, centre - half))), float(min(1.0, max(share, centre + half))))


def median_or_nan(values: Sequence[float] | Array) -> float:
    """The median of the finite values; NaN without any."""
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    return float(np.median(finite)) if len(finite) else float("nan")
