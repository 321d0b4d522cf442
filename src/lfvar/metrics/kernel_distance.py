"""Kernel distance between sets of features: the unbiased squared maximum mean discrepancy, KID in Inception features.

k(x, y) = (x·y / D + 1)³ (Bińkowski et al. 2018, arXiv 1801.01401, sec. 4). Unlike a Fréchet distance its mean does not
depend on the number of samples: two samples of one distribution are 0 apart on average, below 0 about half of the time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_BLOCK = 1024


def polynomial_kernel(a_ND: Array, b_MD: Array) -> Array:
    """k(x, y) = (x·y / D + 1)³, (N, M)."""
    return np.asarray((a_ND @ b_MD.T / a_ND.shape[1] + 1) ** 3)


def kernel_distance(a_ND: Array, b_MD: Array) -> float:
    """The complete U-statistic, over all pairs: what the mean over ever more random subsets tends to.

    Raises:
        ValueError: When a set has fewer than 2 samples.
    """
    return float(weighted_kernel_distances(a_ND, b_MD, np.ones((1, len(a_ND))), np.ones((1, len(b_MD))))[0])


def weighted_kernel_distances(a_ND: Array, b_MD: Array, weights_RN: Array, weights_RM: Array) -> Array:
    """Distances (R,) of R weightings of the same samples: each weight says how often a sample was drawn.

    A sample drawn twice is never paired with itself, so that replicates of a bootstrap stay unbiased.

    Args:
        a_ND: (N, D).
        b_MD: (M, D).
        weights_RN: Not negative.
        weights_RM: Not negative.

    Raises:
        ValueError: When a set has fewer than 2 samples.
    """
    if min(len(a_ND), len(b_MD)) < 2:
        raise ValueError(f"a kernel distance needs 2 samples a side, got {len(a_ND)} and {len(b_MD)}")
    within_a_R = _mean_within(a_ND, weights_RN)
    within_b_R = _mean_within(b_MD, weights_RM)
    across_R = _sum_pairs(a_ND, b_MD, weights_RN, weights_RM) / (weights_RN.sum(axis=1) * weights_RM.sum(axis=1))
    return np.asarray(within_a_R + within_b_R - 2 * across_R)


def subset_kernel_distances(a_ND: Array, b_MD: Array, *, num_subsets: int, subset_size: int, seed: int = 0) -> Array:
    """Distances (num_subsets,) of random subsets, as KID is published: give their mean and standard deviation.

    Raises:
        ValueError: When a set is smaller than a subset.
    """
    if subset_size > min(len(a_ND), len(b_MD)):
        raise ValueError(f"subsets of {subset_size} from sets of {len(a_ND)} and {len(b_MD)}")
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(num_subsets):
        a = generator.choice(len(a_ND), subset_size, replace=False)
        b = generator.choice(len(b_MD), subset_size, replace=False)
        values.append(kernel_distance(a_ND[a], b_MD[b]))
    return np.array(values)


def _mean_within(a_ND: Array, weights_RN: Array) -> Array:
    diagonal_N = (np.einsum("nd,nd->n", a_ND, a_ND) / a_ND.shape[1] + 1) ** 3
    squares_RN = weights_RN**2
    total_R = _sum_pairs(a_ND, a_ND, weights_RN, weights_RN) - squares_RN @ diagonal_N
    return np.asarray(total_R / (weights_RN.sum(axis=1) ** 2 - squares_RN.sum(axis=1)))


def _sum_pairs(a_ND: Array, b_MD: Array, weights_RN: Array, weights_RM: Array) -> Array:
    """Σ_ij w_i k(a_i, b_j) v_j, for each of R weightings, a block of rows at a time."""
    total_R = np.zeros(len(weights_RN))
    for first in range(0, len(a_ND), _BLOCK):
        rows = slice(first, first + _BLOCK)
        kernel_BM = polynomial_kernel(a_ND[rows], b_MD)
        total_R += np.einsum("rm,rm->r", weights_RN[:, rows] @ kernel_BM, weights_RM)
    return total_R
