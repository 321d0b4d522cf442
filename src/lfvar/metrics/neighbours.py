"""Distances between all samples of two sets, in blocks: memory grows with a block, not with the product."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BLOCK = 1024
"""Rows at a time."""


def distance_blocks(a_ND: Array, b_MD: Array, block: int = BLOCK) -> Iterator[tuple[slice, Array]]:
    """Euclidean distances (rows of a block, M) of each block of `a` to all of `b`.

    ‖a − b‖² = ‖a‖² + ‖b‖² − 2 a·b around the mean of `b`: cancellation would otherwise hide what two near copies have
    in common behind what all samples have in common.
    """
    centre_D = b_MD.mean(axis=0) if len(b_MD) else 0.0
    b_MD = b_MD - centre_D
    b_M = np.einsum("md,md->m", b_MD, b_MD)
    for first in range(0, len(a_ND), block):
        rows = slice(first, min(first + block, len(a_ND)))
        part_BD = a_ND[rows] - centre_D
        squared_BM = np.einsum("bd,bd->b", part_BD, part_BD)[:, None] + b_M - 2 * part_BD @ b_MD.T
        yield rows, np.sqrt(np.maximum(squared_BM, 0.0))


def kth_distances(a_ND: Array, k: int, block: int = BLOCK) -> Array:
    """Distance (N,) of each sample to its k-th nearest other sample of the same set.

    Raises:
        ValueError: When there are not more than k samples.
    """
    if not 1 <= k < len(a_ND):
        raise ValueError(f"the {k}-th neighbour among {len(a_ND)} samples does not exist")
    radii_N = np.empty(len(a_ND))
    for rows, distances_BN in distance_blocks(a_ND, a_ND, block):
        distances_BN[np.arange(len(distances_BN)), np.arange(rows.start, rows.stop)] = np.inf
        radii_N[rows] = np.partition(distances_BN, k - 1, axis=1)[:, k - 1]
    return radii_N


def nearest(a_ND: Array, b_MD: Array, block: int = BLOCK) -> tuple[NDArray[np.int64], Array]:
    """Index into `b` and distance of the nearest sample of `b`, for each sample of `a`.

    Raises:
        ValueError: When `b` is empty.
    """
    if not len(b_MD):
        raise ValueError("there is nothing to be near to")
    index_N, distance_N = np.zeros(len(a_ND), dtype=np.int64), np.zeros(len(a_ND))
    for rows, distances_BM in distance_blocks(a_ND, b_MD, block):
        index_N[rows] = distances_BM.argmin(axis=1)
        distance_N[rows] = distances_BM.min(axis=1)
    return index_N, distance_N
