"""Does a generator repeat its training images? Nearest training images, against those of held-out real images.

Two eyes: features of the whole image, and pixels inside the lesion mask, for which every training image is tried in all
8 flips and rotations, as training shows them. Held-out real images say how near an image is that was never seen: one
in a hundred of them is nearer than the threshold; where more of the generated ones are than chance explains, copies are
among them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from lfvar.measure.symmetry import SYMMETRIES, move_image
from lfvar.metrics.intervals import Interval, share_interval
from lfvar.metrics.neighbours import nearest

Array = NDArray[np.float64]

PIXEL_SIDE = 32
"""Pixels are compared at this size: a copy is one at any size, and the search takes (side / 32)⁴ as long."""
NEAR_QUANTILE = 0.01
"""Share of the held-out images that the threshold is set by; with fewer than a hundred it is their nearest."""
SIGNIFICANT = 0.01
_BLOCK = 512


@dataclass(frozen=True)
class Nearest:
    """The nearest training image of each image of a set."""

    index_N: NDArray[np.int64]
    """Into the training images."""
    distance_N: Array
    """Infinite where an image has nothing to compare, such as no lesion."""


@dataclass(frozen=True)
class Memorisation:
    """What the distances to training images say, seen by one eye."""

    space: str
    generated: Nearest
    held_out: Nearest
    threshold: float
    """The r-th smallest held-out distance, r = ⌈`NEAR_QUANTILE` · number of held-out images⌉."""
    expected: float
    """Share of generated images nearer than that if they were unseen images too: r / (held-out images + 1)."""
    num_near: int
    """Generated images nearer than that."""
    share_near: float
    share_interval: Interval
    """Wilson's, of `share_near`, with the threshold as it is."""
    p_value: float
    """Chance of as many near images, or more, among unseen ones; exact, whatever the distances are like."""
    nearer: float
    """Chance that a generated image is nearer to the training set than a held-out one: 0.5 where they are alike."""

    @property
    def suspicious(self) -> bool:
        """More near images than chance explains."""
        return self.p_value < SIGNIFICANT


def compare_distances(space: str, generated: Nearest, held_out: Nearest) -> Memorisation:
    """Sum up distances to the training images.

    Raises:
        ValueError: When one of the sets has no finite distance.
    """
    a_N = generated.distance_N[np.isfinite(generated.distance_N)]
    b_M = held_out.distance_N[np.isfinite(held_out.distance_N)]
    if not len(a_N) or not len(b_M):
        raise ValueError("memorisation needs generated and held-out images with a distance each")
    ranks = np.sort(b_M)
    rank = int(np.ceil(NEAR_QUANTILE * len(b_M)))
    threshold = float(ranks[rank - 1])
    num_near = int((a_N < threshold).sum())
    farther = len(b_M) - np.searchsorted(ranks, a_N, side="right")
    ties = np.searchsorted(ranks, a_N, side="right") - np.searchsorted(ranks, a_N, side="left")
    return Memorisation(
        space=space,
        generated=generated,
        held_out=held_out,
        threshold=threshold,
        num_near=num_near,
        share_near=num_near / len(a_N),
        expected=rank / (len(b_M) + 1),
        share_interval=share_interval(num_near, len(a_N)),
        p_value=_chance(num_near, len(a_N), rank, len(b_M)),
        nearer=float((farther + ties / 2).mean() / len(b_M)),
    )


def _chance(num_near: int, num_generated: int, rank: int, num_held_out: int) -> float:
    """Chance that `num_near` or more come before the held-out image of this rank, if all orders are equally likely.

    That is: of the first `num_near + rank − 1` in the common order, at least `num_near` are generated.
    """
    if num_near == 0:
        return 1.0
    drawn = num_near + rank - 1
    return float(hypergeom.sf(num_near - 1, num_generated + num_held_out, num_generated, drawn))


def nearest_by_features(features_ND: Array, train_MD: Array) -> Nearest:
    """Nearest training image by Euclidean distance of features."""
    return Nearest(*nearest(features_ND, train_MD))


def shrink(image_BHWC: NDArray[np.uint8], mask_BHW: NDArray[np.bool_]) -> tuple[Array, NDArray[np.bool_]]:
    """Images and masks at `PIXEL_SIDE`, by area; a pixel is lesion from half of its area up. Smaller ones stay."""
    side = image_BHWC.shape[1]
    if side <= PIXEL_SIDE:
        return image_BHWC.astype(np.float64), mask_BHW
    size = (PIXEL_SIDE, PIXEL_SIDE)
    images = [cv2.resize(image.astype(np.float64), size, interpolation=cv2.INTER_AREA) for image in image_BHWC]
    masks = [cv2.resize(mask.astype(np.float64), size, interpolation=cv2.INTER_AREA) >= 0.5 for mask in mask_BHW]
    return np.stack(images), np.stack(masks)


def nearest_inside_mask(image_NHWC: Array, mask_NHW: NDArray[np.bool_], train_MHWC: Array) -> Nearest:
    """Nearest training image by the root mean square difference inside each image's own mask, in grey levels.

    Every training image is tried in all 8 flips and rotations. Σ m (g − t)² = Σ m g² − 2 (m g)·t + m·t² makes the
    search two matrix products.

    Args:
        image_NHWC: 0 to 255, small (see `shrink`).
        mask_NHW: True = lesion; an image without one has distance infinity.
        train_MHWC: 0 to 255, of the same size.

    Raises:
        ValueError: When there are no training images.
    """
    if not len(train_MHWC):
        raise ValueError("there are no training images")
    count = len(image_NHWC)
    # float32 halves the time; around the mean its rounding stays below a tenth of a grey level.
    centre = train_MHWC.mean()
    g_ND = (image_NHWC - centre).reshape(count, -1).astype(np.float32)
    m_ND = np.repeat(mask_NHW.reshape(count, -1), 3, axis=1).astype(np.float32)
    own_N = (m_ND * g_ND**2).sum(axis=1, dtype=np.float64)
    pixels_N = m_ND.sum(axis=1, dtype=np.float64)
    best_N = np.full(count, np.inf)
    index_N = np.zeros(count, dtype=np.int64)
    for first in range(0, len(train_MHWC), _BLOCK):
        block = train_MHWC[first : first + _BLOCK] - centre
        for symmetry in SYMMETRIES:
            t_BD = np.stack([move_image(image, *symmetry) for image in block]).reshape(len(block), -1)
            t_BD = t_BD.astype(np.float32)
            squared_NB = own_N[:, None] - 2 * (m_ND * g_ND) @ t_BD.T + m_ND @ (t_BD**2).T
            here_N = squared_NB.min(axis=1)
            better_N = here_N < best_N
            index_N[better_N] = first + squared_NB.argmin(axis=1)[better_N]
            best_N[better_N] = here_N[better_N]
    with np.errstate(invalid="ignore", divide="ignore"):
        distance_N = np.sqrt(np.maximum(best_N, 0) / pixels_N)
    return Nearest(index_N, np.where(pixels_N > 0, distance_N, np.inf))


def closest_pairs(found: Nearest, count: int) -> list[tuple[int, int, float]]:
    """The nearest pairs (generated, training, distance), nearest first."""
    order = np.argsort(found.distance_N, kind="stable")[:count]
    return [
        (int(i), int(found.index_N[i]), float(found.distance_N[i])) for i in order if np.isfinite(found.distance_N[i])
    ]
