"""Bootstrap replicates of a Fréchet distance, fast enough for a hundred of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lfvar.metrics.frechet import frechet_distance
from lfvar.metrics.intervals import draw_weights

Array = NDArray[np.float64]


def frechet_replicates(a_ND: Array, b_MD: Array, num_replicates: int, seed: int) -> Array:
    """Distances (R,) of resampled sets.

    As `lfvar.metrics.frechet.feature_distance`, with two short cuts that are good enough for a spread: samples that
    were not drawn are left out of the matrices, and singular values are roots of eigenvalues of X Yᵀ Y Xᵀ (relative
    error 1e-8 of the largest).
    """
    weights_RN, weights_RM = (draw_weights(len(x), num_replicates, seed + i) for i, x in enumerate((a_ND, b_MD)))
    pairs = zip(weights_RN, weights_RM, strict=True)
    return np.array([_distance(_resample(a_ND, w_N), _resample(b_MD, w_M)) for w_N, w_M in pairs])


def _resample(a_ND: Array, weights_N: Array) -> tuple[Array, Array]:
    """Mean (D,), and samples (n, D) scaled so that XᵀX is their covariance."""
    drawn = weights_N > 0
    rows_nD, weights_n = a_ND[drawn], weights_N[drawn]
    total = weights_n.sum()
    mean_D = weights_n @ rows_nD / total
    return mean_D, (rows_nD - mean_D) * np.sqrt(weights_n / (total - 1))[:, None]


def _distance(a: tuple[Array, Array], b: tuple[Array, Array]) -> float:
    (mean_a, x_nD), (mean_b, y_mD) = a, b
    if min(len(x_nD), len(y_mD)) >= x_nD.shape[1]:
        return frechet_distance(mean_a, x_nD.T @ x_nD, mean_b, y_mD.T @ y_mD)
    cross = x_nD @ y_mD.T if len(x_nD) <= len(y_mD) else y_mD @ x_nD.T
    root_trace = np.sqrt(np.maximum(np.linalg.eigvalsh(cross @ cross.T), 0)).sum()
    difference_D = mean_a - mean_b
    traces = (x_nD**2).sum() + (y_mD**2).sum()
    return max(0.0, float(difference_D @ difference_D + traces - 2 * root_trace))
