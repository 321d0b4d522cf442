"""Fréchet distance between Gaussians fitted to features, and the floor that real images themselves have.

d² = ‖μ_a − μ_b‖² + tr Σ_a + tr Σ_b − 2 tr (Σ_a^½ Σ_b Σ_a^½)^½ (Dowson & Landau 1982, eq. 4; Heusel et al. 2017,
arXiv 1706.08500, apply it to Inception features and call that FID). Here it is FD(extractor), in squared units of the
features. A sample of few images has a distance above 0 to another sample of the same images' distribution, so every
distance comes with that of two halves of the real images, at equal counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MIN_SAMPLES = 2
"""Fewer have no covariance."""


def frechet_distance(mean_a: Array, cov_a: Array, mean_b: Array, cov_b: Array) -> float:
    """Fréchet distance of two Gaussians, squared, in float64.

    Stable where covariances lack rank (fewer samples than features): the square root is taken of the symmetric product
    Σ_a^½ Σ_b Σ_a^½, whose eigenvalues are real and not negative, with rounding around zero cut off.

    Args:
        mean_a: (D,).
        cov_a: (D, D), symmetric, positive semi-definite.
        mean_b: (D,).
        cov_b: (D, D).

    Returns:
        At least 0; NaN when a number is not finite.
    """
    mean_a, cov_a, mean_b, cov_b = (np.asarray(item, np.float64) for item in (mean_a, cov_a, mean_b, cov_b))
    if not all(np.isfinite(item).all() for item in (mean_a, cov_a, mean_b, cov_b)):
        return float("nan")
    values, vectors = np.linalg.eigh(_symmetric(cov_a))
    root_a = (vectors * np.sqrt(_without_rounding(values))) @ vectors.T
    product = _without_rounding(np.linalg.eigvalsh(_symmetric(root_a @ _symmetric(cov_b) @ root_a)))
    return _assemble(mean_a - mean_b, np.trace(cov_a) + np.trace(cov_b), float(np.sqrt(product).sum()))


def feature_distance(a_ND: Array, b_ND: Array) -> float:
    """Fréchet distance of the Gaussians fitted to two sets of features (unbiased covariances).

    With fewer samples than features no D × D matrix is needed: for centred X, Y the trace of the root is the sum of the
    singular values of X Yᵀ / √((n−1)(m−1)), since (Σ_a^½ Σ_b Σ_a^½) and X Σ_b Xᵀ / (n−1) share their eigenvalues.

    Args:
        a_ND: (N, D).
        b_ND: (M, D).

    Returns:
        At least 0; NaN when a number is not finite.

    Raises:
        ValueError: When a set has fewer than `MIN_SAMPLES` samples, or the widths differ.
    """
    a_ND, b_ND = np.asarray(a_ND, np.float64), np.asarray(b_ND, np.float64)
    if a_ND.ndim != 2 or b_ND.ndim != 2 or a_ND.shape[1] != b_ND.shape[1]:
        raise ValueError(f"features are (N, D) and (M, D), got {a_ND.shape} and {b_ND.shape}")
    if min(len(a_ND), len(b_ND)) < MIN_SAMPLES:
        raise ValueError(f"a distance needs at least {MIN_SAMPLES} samples a side, got {len(a_ND)} and {len(b_ND)}")
    if not (np.isfinite(a_ND).all() and np.isfinite(b_ND).all()):
        return float("nan")
    mean_a, mean_b = a_ND.mean(axis=0), b_ND.mean(axis=0)
    x_ND, y_ND = (a_ND - mean_a) / np.sqrt(len(a_ND) - 1), (b_ND - mean_b) / np.sqrt(len(b_ND) - 1)
    if min(len(a_ND), len(b_ND)) >= a_ND.shape[1]:
        return frechet_distance(mean_a, x_ND.T @ x_ND, mean_b, y_ND.T @ y_ND)
    root_trace = float(np.linalg.svd(x_ND @ y_ND.T, compute_uv=False).sum())
    return _assemble(mean_a - mean_b, float((x_ND**2).sum() + (y_ND**2).sum()), root_trace)


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over the random splits."""

    mean: float
    std: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Of a list; NaN when it is empty."""
        return cls(float(np.mean(values)), float(np.std(values))) if values else cls(float("nan"), float("nan"))


@dataclass(frozen=True)
class VariantDistance:
    """How far one set of images made from the real ones is from them."""

    same_images: float
    """To the very images they were made from: lower than two samples can ever be, so not comparable with the floor."""
    across_halves: Spread
    """Made from one half, to the other real half: the number to hold against the floor."""


@dataclass(frozen=True)
class FrechetComparison:
    """Distances at stated counts, beside the floor."""

    count: int
    half_count: int
    """Images per half; 0: too few for halves."""
    num_splits: int
    dimensions: int
    floor: Spread
    """One real half to the other."""
    variants: Mapping[str, VariantDistance]


def compare(real_ND: Array, variants: Mapping[str, Array], *, num_splits: int = 10, seed: int = 0) -> FrechetComparison:
    """Distances of images made from real ones, with the floor at equal counts.

    Args:
        real_ND: Features of the real images.
        variants: Name → features of what was made from them, row by row.
        num_splits: Random splits into two disjoint halves to average over.
        seed: Decides the splits.

    Returns:
        NaN for whatever too few images leave undefined: all below 2, floor and halves below 4.

    Raises:
        ValueError: When a variant has not a row for each real image.
    """
    count = len(real_ND)
    for name, made_ND in variants.items():
        if made_ND.shape != real_ND.shape:
            raise ValueError(f"features of '{name}' are {made_ND.shape}, those of the real images {real_ND.shape}")
    splits = half_splits(count, num_splits, seed)
    floor = [feature_distance(real_ND[a], real_ND[b]) for a, b in splits]
    distances = {}
    for name, made_ND in variants.items():
        across = [
            (feature_distance(made_ND[a], real_ND[b]) + feature_distance(made_ND[b], real_ND[a])) / 2 for a, b in splits
        ]
        same = feature_distance(made_ND, real_ND) if count >= MIN_SAMPLES else float("nan")
        distances[name] = VariantDistance(same, Spread.of(across))
    half = len(splits[0][0]) if splits else 0
    return FrechetComparison(count, half, len(splits), real_ND.shape[1], Spread.of(floor), distances)


def half_splits(count: int, num_splits: int, seed: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Random pairs of disjoint halves, count // 2 each (one image is left out of an odd number); none below 4."""
    half = count // 2
    if half < MIN_SAMPLES:
        return []
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(count) for _ in range(num_splits)]
    return [(order[:half], order[half : 2 * half]) for order in orders]


def _assemble(difference_D: Array, traces: float, root_trace: float) -> float:
    return max(0.0, float(difference_D @ difference_D) + float(traces) - 2 * root_trace)


def _symmetric(matrix: Array) -> Array:
    return np.asarray((matrix + matrix.T) / 2)


def _without_rounding(eigenvalues: NDArray[np.floating]) -> Array:
    """Zero what is rounding: the root of 1e-16 is 1e-8, and a thousand of them are seen."""
    threshold = eigenvalues.max(initial=0.0) * len(eigenvalues) * np.finfo(np.float64).eps
    return np.where(eigenvalues > threshold, eigenvalues, 0.0).astype(np.float64)
