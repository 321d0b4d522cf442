"""Whether two sets of features cover each other: precision, recall, density and coverage.

The support of a set is estimated by balls around its samples that reach to their k-th nearest neighbour within the set.
Precision and recall are those of Kynkäänniemi et al. (2019, arXiv 1904.06991, eq. 1 and 2), density and coverage those
of Naeem et al. (2020, arXiv 2002.09797, eq. 4 and 5), who show that one outlier among the real images, whose ball is
huge, makes precision and recall too kind.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lfvar.metrics.neighbours import distance_blocks, kth_distances

Array = NDArray[np.float64]

SUPPORT_METRICS = ("precision", "recall", "density", "coverage")


def support_values(generated_ND: Array, real_MD: Array, k: int = 5) -> Mapping[str, Array]:
    """What each sample adds to the four numbers, which are the means of these arrays.

    Args:
        generated_ND: Features of generated images.
        real_MD: Features of real images.
        k: Neighbour that the radius of a ball reaches to; both sets need more samples than that.

    Returns:
        - precision (N,): 1 where a generated sample lies in the ball of some real one;
        - recall (M,): 1 where a real sample lies in the ball of some generated one;
        - density (N,): how many real balls hold a generated sample, divided by k; its mean may exceed 1;
        - coverage (M,): 1 where the ball of a real sample holds a generated one.

    Raises:
        ValueError: When a set has k samples or fewer.
    """
    real_radius_M, generated_radius_N = kth_distances(real_MD, k), kth_distances(generated_ND, k)
    precision_N, density_N = np.zeros(len(generated_ND)), np.zeros(len(generated_ND))
    recall_M, coverage_M = np.zeros(len(real_MD)), np.zeros(len(real_MD))
    for rows, distances_BM in distance_blocks(generated_ND, real_MD):
        in_real_BM = distances_BM <= real_radius_M
        precision_N[rows] = in_real_BM.any(axis=1)
        density_N[rows] = in_real_BM.sum(axis=1) / k
        coverage_M = np.maximum(coverage_M, in_real_BM.any(axis=0))
        recall_M = np.maximum(recall_M, (distances_BM <= generated_radius_N[rows, None]).any(axis=0))
    return {"precision": precision_N, "recall": recall_M, "density": density_N, "coverage": coverage_M}
