"""Pictures on their way in and out: uploads are looked at before they are decoded, and shown at the size of a page."""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lfvar.data.imageio import encode_png, read_image, read_mask
from lfvar.data.records import PairError
from lfvar.studio.refusal import Refusal

VIEW = 640
"""Longer side of what the page shows and paints on, about."""
MIN_SIDE = 16
"""Smaller pictures, or longer strips, are no photographs."""

# Pillow opens far more, some of it by starting other programs (EPS): an upload must be one of these by its first bytes.
_KINDS: dict[str, tuple[bytes, ...]] = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "BMP": (b"BM",),
    "TIFF": (b"II*\x00", b"MM\x00*"),
    "WebP": (b"RIFF",),
}


def view_size(height: int, width: int) -> tuple[int, int]:
    """Height and width at which a picture is shown: whole multiples of a small one, so that masks survive the trip."""
    longer = max(height, width)
    if longer <= VIEW:
        factor = VIEW // longer
        return height * factor, width * factor
    return max(1, round(height * VIEW / longer)), max(1, round(width * VIEW / longer))


def check_kind(path: Path, name: str) -> None:
    """Refuse what is no picture by its first bytes."""
    with path.open("rb") as file:
        head = file.read(12)
    if not any(head.startswith(start) for start in _KINDS.values()) or (head[:4] == b"RIFF" and head[8:] != b"WEBP"):
        raise Refusal(f"“{name}” is no picture that can be read", cure=f"use {', '.join(_KINDS)}")


def read_photograph(path: Path, name: str, megapixels: int) -> NDArray[np.uint8]:
    """Decode an upload.

    Raises:
        Refusal: When it is no picture, damaged, too large or too small.
    """
    check_kind(path, name)
    try:
        image_HWC = read_image(path, max_pixels=megapixels * 1_000_000)
    except PairError as error:
        raise _unreadable(name, error, megapixels) from error
    height, width = image_HWC.shape[:2]
    if min(height, width) < MIN_SIDE or min(view_size(height, width)) < MIN_SIDE:
        raise Refusal(f"“{name}” is {width}×{height} pixels", cure=f"use a photograph of {MIN_SIDE} pixels or more")
    return image_HWC


def read_mask_upload(path: Path, name: str, megapixels: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode an uploaded mask.

    Raises:
        Refusal: Also when it has another size than its picture, or is empty.
    """
    check_kind(path, name)
    try:
        mask_HW = read_mask(path, max_pixels=megapixels * 1_000_000)
    except PairError as error:
        raise _unreadable(name, error, megapixels) from error
    if mask_HW.shape != shape:
        raise Refusal(
            f"the mask “{name}” is {mask_HW.shape[1]}×{mask_HW.shape[0]} pixels, its picture {shape[1]}×{shape[0]}",
            cure="give the mask of this picture, at the picture's size",
        )
    if not mask_HW.any():
        raise Refusal(f"the mask “{name}” is black: there is nothing to paint", cure="mark the lesion white")
    return mask_HW


def read_painted(png: str, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask painted on the page.

    Args:
        png: Base64 of a PNG at the size of the view, white = lesion.
        shape: Height and width of the picture; the mask comes at that size.

    Raises:
        Refusal: When it is damaged, empty, or of another size.
    """
    view = view_size(*shape)
    try:
        data = base64.b64decode(png, validate=True)
        if not data.startswith(b"\x89PNG"):
            raise ValueError
        with Image.open(io.BytesIO(data), formats=("PNG",)) as opened:
            if opened.size != (view[1], view[0]):
                raise Refusal(
                    f"the painted mask is {opened.size[0]}×{opened.size[1]} pixels, the page paints on"
                    f" {view[1]}×{view[0]}",
                    cure="reload the page",
                )
            grey_hw = np.asarray(opened.convert("L"))
    except (ValueError, OSError, SyntaxError, binascii.Error, Image.DecompressionBombError) as error:
        raise Refusal("the painted mask cannot be read", cure="paint it again") from error
    mask_HW = resize_mask(grey_hw, shape)
    if not mask_HW.any():
        raise Refusal("the mask is empty: there is nothing to paint", cure="paint where the lesion shall be")
    return mask_HW


def resize_mask(grey_hw: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask of 0 to 255 at another size: lesion where at least half of the area is."""
    if grey_hw.shape == shape:
        return np.asarray(grey_hw >= 128)
    smaller = shape[0] < grey_hw.shape[0]
    resized = cv2.resize(grey_hw, shape[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return np.asarray(resized >= 128)


def show(image_HWC: NDArray[np.uint8]) -> bytes:
    """A picture as PNG, not larger than the page shows it; small ones as they are (the browser enlarges them)."""
    height, width = image_HWC.shape[:2]
    if max(height, width) > VIEW:
        size = view_size(height, width)[::-1]
        image_HWC = np.asarray(cv2.resize(image_HWC, size, interpolation=cv2.INTER_AREA), np.uint8)
    return encode_png(image_HWC)


def show_mask(mask_HW: NDArray[np.bool_]) -> bytes:
    """A mask as PNG at the size of the view, ready to be painted on."""
    size = view_size(*mask_HW.shape)[::-1]
    grey = mask_HW.astype(np.uint8) * np.uint8(255)
    method = cv2.INTER_NEAREST if size[0] >= mask_HW.shape[1] else cv2.INTER_AREA
    return encode_png(np.asarray(cv2.resize(grey, size, interpolation=method) >= 128))


def _unreadable(name: str, error: PairError, megapixels: int) -> Refusal:
    if "pixels, too many" in str(error) or "far too many pixels" in str(error):
        return Refusal(
            f"“{name}” is too large: {str(error).rpartition('claims ')[2]}",
            cure=f"use one of {megapixels} million pixels or fewer",
            status=413,
        )
    return Refusal(f"“{name}” cannot be decoded: it is damaged or cut short", cure="save it again, or use another file")
