"""Masks of planned samples: rendered from their recipes, and scaled."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lfvar.data.imageio import read_mask
from lfvar.data.mask_bank import move_mask
from lfvar.data.records import PairError
from lfvar.errors import DataError
from lfvar.generation.plan import MaskPlan
from lfvar.generation.pool import Pool
from lfvar.sampling.lesion_shapes import LesionShape, draw_shape


def render_mask(plan: MaskPlan, pool: Pool) -> NDArray[np.bool_] | None:
    """Follow a recipe.

    Returns:
        bool (H, W) at the size of the model, True = lesion; None for a recipe without a mask.

    Raises:
        DataError: When a mask file is missing, damaged, of another size, or empty.
        ArtefactError: When a prepared mask is gone.
    """
    if plan.kind == "none":
        return None
    if plan.kind == "drawn":
        return draw_shape(LesionShape(**plan.shape), pool.size, plan.seed)
    if plan.kind == "file":
        assert plan.file is not None
        mask_HW = read_mask_file(Path(plan.file), pool.size)
    else:
        assert plan.image_id is not None
        mask_HW = pool.read_mask(plan.image_id)
    if plan.area is not None:
        mask_HW = scale_mask(mask_HW, plan.area)
    return mask_HW if plan.centre is None else move_mask(mask_HW, *plan.centre)


def read_mask_file(path: Path, size: int) -> NDArray[np.bool_]:
    """Read a mask that somebody drew for the model.

    Raises:
        DataError: When it is missing, damaged, of another size, or empty.
    """
    try:
        mask_HW = read_mask(path)
    except PairError as error:
        raise DataError(f"mask.file={path}: {error}", cure="give an image file, white = lesion") from error
    if mask_HW.shape != (size, size):
        height, width = mask_HW.shape
        raise DataError(
            f"mask.file={path} is {width}×{height}, the model makes {size}×{size}",
            cure=f"resize it to {size}×{size} without smoothing",
        )
    if not mask_HW.any():
        raise DataError(f"mask.file={path} is empty: there is nothing to paint", cure="mark the lesion white")
    return mask_HW


def size_and_place(mask_HW: NDArray[np.bool_]) -> dict[str, float]:
    """`clinical_relative_area`, `clinical_centroid_x` and `_y` of a mask, however small its lesion is."""
    y, x = np.nonzero(mask_HW)
    return {
        "clinical_relative_area": float(mask_HW.mean()),
        "clinical_centroid_x": float((x.mean() + 0.5) / mask_HW.shape[1]),
        "clinical_centroid_y": float((y.mean() + 0.5) / mask_HW.shape[0]),
    }


def scale_mask(mask_HW: NDArray[np.bool_], area: float) -> NDArray[np.bool_]:
    """Enlarge or shrink a lesion around its centroid without changing its shape.

    Its signed distance from the outline is resampled, and the highest values are taken, so that the area is met to the
    pixel. A lesion that would leave the image is moved in again, as far as it fits.

    Args:
        mask_HW: True = lesion, at least one pixel.
        area: Wanted, by the area of the image.
    """
    height, width = mask_HW.shape
    count = max(1, round(area * height * width))
    scale = float(np.sqrt(count / int(mask_HW.sum())))
    y, x = np.nonzero(mask_HW)
    from_x, from_y = float(x.mean()), float(y.mean())
    to_x = _keep_inside(from_x, scale * (from_x - x.min()), scale * (x.max() - from_x), width)
    to_y = _keep_inside(from_y, scale * (from_y - y.min()), scale * (y.max() - from_y), height)
    affine = np.array([[scale, 0, to_x - scale * from_x], [0, scale, to_y - scale * from_y]])
    scaled_HW = cv2.warpAffine(
        signed_distance(mask_HW),
        affine,
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(-float(height + width),),
    )
    highest = np.argsort(-np.asarray(scaled_HW, np.float64).ravel(), kind="stable")[:count]
    result = np.zeros(height * width, np.bool_)
    result[highest] = True
    return result.reshape(height, width)


def signed_distance(mask_HW: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance of each pixel from the outline, positive inside."""
    inside = cv2.distanceTransform(mask_HW.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outside = cv2.distanceTransform((~mask_HW).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    limit = float(sum(mask_HW.shape))  # where there is nothing to be far from, OpenCV says 3e38
    return np.asarray(np.minimum(inside, limit) - np.minimum(outside, limit), np.float32)


def _keep_inside(place: float, before: float, after: float, length: int) -> float:
    """The nearest place at which what reaches `before` and `after` it lies in [0, length - 1]; the middle if none."""
    low, high = before, length - 1 - after
    return (low + high) / 2 if low > high else min(max(place, low), high)
