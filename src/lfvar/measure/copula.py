"""How measurements hang together: the correlation matrix of a Gaussian copula, fit for small samples.

A Gaussian copula joins arbitrary marginal distributions through the correlations of a normal vector (Nelsen, *An
Introduction to Copulas*, 2006, §2.4; Xue-Kun Song, *Multivariate dispersion models generated from Gaussian copula*,
2000). Its matrix is estimated from normal scores of ranks, and shrunk with the analytic intensity of Schäfer and
Strimmer (*A shrinkage approach to large-scale covariance matrix estimation*, 2005, doi:10.2202/1544-6115.1175), where
normal theory gives the variance of a correlation, since scores are normal.

No library does this: `copulas` has a source-available licence, statsmodels and copulae take neither missing values nor
more features than rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

_SMALLEST_EIGENVALUE = 1e-8


def normal_scores(values_NM: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each column's ranks as normal quantiles with mean 0 and variance 1; NaN stays, constant columns become 0."""
    ranks = rankdata(values_NM, axis=0, nan_policy="omit")
    count_M = np.isfinite(values_NM).sum(axis=0)
    scores = ndtri(ranks / (count_M + 1))
    with np.errstate(invalid="ignore"):
        std_M = np.sqrt(np.nansum(scores**2, axis=0) / np.maximum(count_M, 1))
        return np.asarray(scores / np.where(std_M > 1e-12, std_M, np.inf), dtype=np.float64)


def correlate(scores_NM: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Correlations of normal scores over their common rows, and how uncertain each is.

    Returns:
        Correlations with a diagonal of 1, and their variances (1 − r²)² / (n − 1), the asymptotic ones of a normal
        sample, with a diagonal of 0. A pair with fewer than 3 common rows, or with a constant, has correlation 0.
    """
    present = np.isfinite(scores_NM).astype(np.float64)
    z = np.where(present > 0, scores_NM, 0.0)
    count = present.T @ present
    squares = (z**2).T @ present  # Σ z_i² over the rows common with j
    norm = np.sqrt(squares * squares.T)
    usable = (count >= 3) & (norm > 1e-12)
    correlation = np.where(usable, (z.T @ z) / np.where(usable, norm, 1.0), 0.0)
    correlation = np.clip(correlation, -1.0, 1.0)
    variance = np.where(usable, (1 - correlation**2) ** 2 / np.maximum(count - 1, 1), 0.0)
    np.fill_diagonal(correlation, 1.0)
    np.fill_diagonal(variance, 0.0)
    return correlation, variance


def shrink(
    correlation: NDArray[np.float64], variance: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Pull a correlation matrix towards a target, by as much as its own noise asks for.

    λ* = Σ Var(r_ij) / Σ (r_ij − t_ij)², cut to [0, 1] (Schäfer and Strimmer, eq. 8).

    Returns:
        The shrunk matrix and λ*.
    """
    distance = float(((correlation - target) ** 2).sum())
    intensity = 1.0 if distance == 0 else min(1.0, float(variance.sum()) / distance)
    return intensity * target + (1 - intensity) * correlation, intensity


def make_positive(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """The matrix with negative eigenvalues (from missing values) raised to almost 0 and a diagonal of 1."""
    values, vectors = np.linalg.eigh((correlation + correlation.T) / 2)
    positive = (vectors * np.maximum(values, _SMALLEST_EIGENVALUE)) @ vectors.T
    scale = np.sqrt(np.diag(positive))
    positive = positive / scale / scale[:, None]
    return (positive + positive.T) / 2


def square_root(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """The symmetric square root, which does not depend on the signs of eigenvectors (they differ between machines)."""
    values, vectors = np.linalg.eigh(correlation)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T, dtype=np.float64)
