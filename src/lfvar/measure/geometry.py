"""Where the lesion lies and how large it is, by the frame: D of the ABCD rule, and position."""

from __future__ import annotations

import math

import cv2
import numpy as np

from lfvar.measure.lesion import Lesion


def measure_geometry(lesion: Lesion) -> dict[str, float]:
    """Measure size and position by the frame, so that they mean the same at every image size.

    relative_area: Pixels of the lesion by pixels of the image; 0 to 1.

    relative_diameter: Largest distance between two of its pixel centres, plus one pixel, by the side of the image
    (by the root of its area when it is not square); 0 to √2. The largest diameter is the D of the ABCD rule
    (Friedman, Rigel & Kopf, CA Cancer J Clin 35:130, 1985); in millimetres it is unknown, as photographs carry no
    scale.

    centroid_x, centroid_y: Mean position of its pixels by width and height, from the left and top edge; 0 to 1. These
    two are the only measurements that flips and rotations change.
    """
    frame = lesion.width * lesion.height
    x, y, *_ = lesion.moments
    return {
        "clinical_relative_area": lesion.area / frame,
        "clinical_relative_diameter": _largest_diameter(lesion) / math.sqrt(frame),
        "clinical_centroid_x": (lesion.x0 + x + 0.5) / lesion.width,
        "clinical_centroid_y": (lesion.y0 + y + 0.5) / lesion.height,
    }


def _largest_diameter(lesion: Lesion) -> float:
    """In pixels. The two ends are corners of the convex hull, and those are ends of rows."""
    mask = lesion.mask_hw
    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1)
    last = mask.shape[1] - 1 - mask[rows, ::-1].argmax(axis=1)
    ends = np.concatenate([np.stack([first, rows], axis=1), np.stack([last, rows], axis=1)]).astype(np.int32)
    hull = np.asarray(cv2.convexHull(ends)).reshape(-1, 2).astype(np.int64)
    apart = ((hull[:, None] - hull[None]) ** 2).sum(axis=-1)
    return math.sqrt(int(apart.max())) + 1
