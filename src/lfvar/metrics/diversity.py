"""How different the images of one set are from each other, and how sure a classifier is of them.

MS-SSIM of pairs (Wang et al. 2003; as a measure of diversity Odena et al. 2017, arXiv 1610.09585): the higher, the more
alike. Inception Score (Salimans et al. 2016, arXiv 1606.03498): exp of the mean KL divergence between the classes of an
image and those of all; it knows nothing of real images, so those have a score of their own beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lfvar.metrics.frechet import Spread
from lfvar.metrics.intervals import Interval, mean_interval

BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of the scales, fine to coarse, as published."""
KERNEL = 11

Pixels = Callable[[NDArray[np.int64]], NDArray[np.uint8]]
"""Indices to images BHWC."""


@dataclass(frozen=True)
class Alikeness:
    """MS-SSIM of random pairs of one type."""

    mean: float
    interval: Interval
    num_pairs: int
    num_scales: int


def scale_weights(side: int) -> tuple[float, ...]:
    """Weights of as many scales as fit an image of this side, with sum 1; (1.0,), plain SSIM, below 22 pixels.

    The published five scales need 176 pixels: at the coarsest the window of 11 must still fit. 64 pixels have three.

    Raises:
        ValueError: When not even the first fits.
    """
    if side < KERNEL:
        raise ValueError(f"images of {side} pixels are smaller than the window of {KERNEL}")
    # The second condition is torchmetrics' own: it asks more room for four scales than the window takes.
    fits = [n for n in range(1, len(BETAS) + 1) if min(side // 2 ** (n - 1), side // max(1, (n - 1) ** 2)) >= KERNEL]
    count = max(fits)
    return tuple(beta / sum(BETAS[:count]) for beta in BETAS[:count])


def draw_pairs(labels: Sequence[str], num_pairs: int, seed: int) -> list[tuple[int, int]]:
    """Random pairs of different images of the same type; a type counts as often as it has images."""
    generator = np.random.default_rng(seed)
    names = np.asarray(labels)
    members = {name: np.flatnonzero(names == name) for name in np.unique(names)}
    usable = [name for name in members if len(members[name]) > 1]
    if not usable:
        return []
    weights = np.array([len(members[name]) for name in usable], np.float64)
    chosen = generator.choice(len(usable), size=num_pairs, p=weights / weights.sum())
    pairs = [generator.choice(members[usable[index]], 2, replace=False) for index in chosen]
    return [(int(first), int(second)) for first, second in pairs]


def alikeness(
    pixels: Pixels, pairs: Sequence[tuple[int, int]], *, num_bootstrap: int = 100, seed: int = 0, batch_size: int = 64
) -> Alikeness:
    """Mean MS-SSIM of pairs of images; NaN without pairs."""
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as ms_ssim
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    if not pairs:
        return Alikeness(float("nan"), Interval(float("nan"), float("nan")), 0, 0)
    values: list[float] = []
    weights: tuple[float, ...] = ()
    for first in range(0, len(pairs), batch_size):
        left, right = (np.array(side, np.int64) for side in zip(*pairs[first : first + batch_size], strict=True))
        a_BCHW, b_BCHW = (
            torch.from_numpy(pixels(index)).permute(0, 3, 1, 2).float().div(255) for index in (left, right)
        )
        weights = scale_weights(a_BCHW.shape[-1])
        if len(weights) == 1:
            found = ssim(a_BCHW, b_BCHW, data_range=1.0, reduction="none")
        else:
            found = ms_ssim(a_BCHW, b_BCHW, data_range=1.0, betas=weights, reduction="none", normalize="relu")
        assert isinstance(found, torch.Tensor)
        values += found.double().reshape(-1).tolist()
    mean = float(np.mean(values))
    interval = mean_interval(np.array(values), num_bootstrap, seed, (-1.0, 1.0))
    return Alikeness(mean, interval, len(values), len(weights))


def inception_score(logits_NK: NDArray[np.float64], num_splits: int = 10, seed: int = 0) -> Spread:
    """Mean and standard deviation over random parts of exp(mean KL(p(y|x) ‖ p(y))).

    Args:
        logits_NK: Of Inception, without bias as it is published.
        num_splits: Parts; as many as there are images where those are fewer.
        seed: Decides the parts.

    Returns:
        At least 1; NaN without images.
    """
    if not len(logits_NK):
        return Spread.of([])
    order = np.random.default_rng(seed).permutation(len(logits_NK))
    shifted_NK = np.asarray(logits_NK, np.float64)[order]
    shifted_NK = shifted_NK - shifted_NK.max(axis=1, keepdims=True)
    log_p_NK = shifted_NK - np.log(np.exp(shifted_NK).sum(axis=1, keepdims=True))
    scores = []
    for part_nK in np.array_split(log_p_NK, min(num_splits, len(log_p_NK))):
        p_nK = np.exp(part_nK)
        divergence_n = (p_nK * (part_nK - np.log(p_nK.mean(axis=0)))).sum(axis=1)
        scores.append(float(np.exp(divergence_n.mean())))
    return Spread.of(scores)
