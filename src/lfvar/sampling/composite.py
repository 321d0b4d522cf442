"""Putting what was painted into the source, so that nothing else changes."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from lfvar.data.framing import Frame
from lfvar.sampling.filling import fill_hole

_DEEPEST = 0.5
"""At least this part of a lesion's depth is painted in full, however small it is."""


def feather_inward(mask_HW: NDArray[np.bool_], width: float) -> NDArray[np.float32]:
    """How much of the painted image counts at each pixel.

    0 outside the mask; inside it rises smoothly (3t² - 2t³) from 0 at the border to 1 at `width` pixels from it. Small
    lesions get a narrower rise. The edge of the image is no border.

    Args:
        mask_HW: True = painted.
        width: Pixels; 0: a hard edge.

    Returns:
        float32 (H, W) in [0, 1], exactly 0 outside the mask.
    """
    if mask_HW.all() or not mask_HW.any():
        return mask_HW.astype(np.float32)
    # Distance of a pixel's centre from the border, which runs half a pixel before the nearest pixel outside.
    depth_HW = np.asarray(cv2.distanceTransform(mask_HW.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)) - 0.5
    width = min(width, _DEEPEST * float(depth_HW.max()))
    if width <= 0:
        return mask_HW.astype(np.float32)
    rise_HW = np.clip(depth_HW / width, 0, 1)
    return np.where(mask_HW, rise_HW * rise_HW * (3 - 2 * rise_HW), 0).astype(np.float32)


def composite(
    source_HWC: NDArray[np.uint8], painted_HWC: NDArray[np.uint8], mask_HW: NDArray[np.bool_], feather: float
) -> NDArray[np.uint8]:
    """The source with the painted image inside the mask.

    Args:
        source_HWC: Pixels outside the mask come back byte by byte.
        painted_HWC: Of the same size.
        mask_HW: True = painted.
        feather: Width of the transition, which lies inside the mask, as a share of the image's side.
    """
    alpha_HW1 = feather_inward(mask_HW, feather * mask_HW.shape[1])[..., None]
    return np.where(mask_HW[..., None], _blend(source_HWC, painted_HWC, alpha_HW1), source_HWC)


def match_skin(
    source_HWC: NDArray[np.uint8], painted_HWC: NDArray[np.uint8], mask_HW: NDArray[np.bool_], margin: int
) -> NDArray[np.uint8]:
    """Give the painted image the skin tone of the source.

    By how much the two differ is known around the mask, where both show skin. That difference is continued into the
    mask as a membrane (`fill_hole`) and taken off: at the border both agree, and the lesion's contrast with the skin
    stays. Its own colour moves along with the skin's.

    Args:
        source_HWC: What is edited.
        painted_HWC: What the decoder made, skin included.
        mask_HW: True = painted.
        margin: Pixels around the mask that are not looked at: the painted lesion may reach beyond it.
    """
    if mask_HW.all():
        return painted_HWC
    difference_HWC = source_HWC.astype(np.float32) - painted_HWC.astype(np.float32)
    difference_1CHW = torch.from_numpy(difference_HWC.transpose(2, 0, 1))[None]
    mask_11HW = torch.from_numpy(np.ascontiguousarray(mask_HW))[None, None]
    shift_HWC = fill_hole(difference_1CHW, mask_11HW, margin)[0].permute(1, 2, 0).numpy()
    matched_HWC = np.clip(np.round(painted_HWC.astype(np.float32) + shift_HWC), 0, 255).astype(np.uint8)
    return np.where(mask_HW[..., None], matched_HWC, painted_HWC)


def paste_into_original(
    original_HWC: NDArray[np.uint8],
    original_mask_HW: NDArray[np.bool_],
    frame: Frame,
    painted_SSC: NDArray[np.uint8],
    *,
    feather: float,
) -> NDArray[np.uint8]:
    """Bring an edit back into the photograph it came from, at the photograph's resolution.

    Only the part of the square that the mask shows is enlarged (Lanczos). What the square holds of the world beyond the
    photograph's edges, which preparation mirrored into it, is dropped.

    Args:
        original_HWC: The photograph. Every byte outside the mask comes back as it was.
        original_mask_HW: True = painted, at its resolution; outside the frame it counts as False.
        frame: Where the square lies in the photograph.
        painted_SSC: The painted square. Give what the decoder made (`Result.raw_HWC`), not the composite: the two masks
            do not meet exactly, and the composite shows enlarged skin where they differ.
        feather: Width of the transition as a share of the frame's width.

    Raises:
        ValueError: When photograph and mask differ in size.
    """
    if original_HWC.shape[:2] != original_mask_HW.shape:
        raise ValueError(f"photograph is {original_HWC.shape[:2]} and its mask {original_mask_HW.shape}")
    result_HWC = original_HWC.copy()
    inside_HW = np.zeros_like(original_mask_HW)
    rows, columns = _visible(frame, *original_mask_HW.shape)
    inside_HW[rows, columns] = original_mask_HW[rows, columns]
    if not inside_HW.any():
        return result_HWC
    alpha_HW = feather_inward(inside_HW, feather * frame.width)
    y, x = np.flatnonzero(inside_HW.any(axis=1)), np.flatnonzero(inside_HW.any(axis=0))
    box = (slice(int(y[0]), int(y[-1]) + 1), slice(int(x[0]), int(x[-1]) + 1))
    blended_hwC = _blend(original_HWC[box], _enlarge(painted_SSC, frame, box), alpha_HW[box][..., None])
    result_HWC[box] = np.where(inside_HW[box][..., None], blended_hwC, original_HWC[box])
    return result_HWC


def mask_in_original(mask_SS: NDArray[np.bool_], frame: Frame, height: int, width: int) -> NDArray[np.bool_]:
    """A mask that was made at the model's size, at the resolution of the photograph, with a smooth outline."""
    rows, columns = _visible(frame, height, width)
    mask_HW = np.zeros((height, width), np.bool_)
    if rows.start < rows.stop and columns.start < columns.stop:
        grey_SS1 = mask_SS[..., None].astype(np.uint8) * np.uint8(255)
        enlarged = _enlarge(grey_SS1, frame, (rows, columns), Image.Resampling.BICUBIC)
        mask_HW[rows, columns] = enlarged[..., 0] >= 128
    return mask_HW


def _blend(source: NDArray[np.uint8], painted: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    mixed = source.astype(np.float32) * (1 - alpha) + painted.astype(np.float32) * alpha
    return np.clip(np.round(mixed), 0, 255).astype(np.uint8)


def _visible(frame: Frame, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of the photograph that the frame shows."""
    return (
        slice(max(0, frame.y0), min(height, frame.y0 + frame.height)),
        slice(max(0, frame.x0), min(width, frame.x0 + frame.width)),
    )


def _enlarge(
    square: NDArray[np.uint8],
    frame: Frame,
    box: tuple[slice, slice],
    resample: Image.Resampling = Image.Resampling.LANCZOS,
) -> NDArray[np.uint8]:
    """The part of a square that covers rows and columns `box` of the photograph, at its resolution.

    Pillow's `box` looks at pixels around it as well, so a part is what it would be in the whole square enlarged.
    """
    rows, columns = box
    side_y, side_x = square.shape[0] / frame.height, square.shape[1] / frame.width
    wanted = (
        (columns.start - frame.x0) * side_x,
        (rows.start - frame.y0) * side_y,
        (columns.stop - frame.x0) * side_x,
        (rows.stop - frame.y0) * side_y,
    )
    picture = Image.fromarray(square[..., 0] if square.shape[2] == 1 else square)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    enlarged = np.asarray(picture.resize(size, resample, box=wanted), dtype=np.uint8)
    return enlarged.reshape(size[1], size[0], square.shape[2])
