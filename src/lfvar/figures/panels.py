"""Tables of image tiles with a heading per column and the lesion outlined."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

RGB = NDArray[np.uint8]
GAP = 3
HEADING = 20
OUTLINE = (64, 224, 208)  # turquoise: on no skin and in no lesion


def to_pixels(image_CHW: NDArray[np.floating]) -> RGB:
    """[-1, 1] to RGB bytes."""
    pixels = np.rint((np.clip(image_CHW, -1, 1) + 1) * 127.5).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))


def enlarge(pixels: RGB, side: int) -> RGB:
    """To side × side; small images keep their pixels visible (nearest neighbour at whole multiples)."""
    factor, rest = divmod(side, pixels.shape[0])
    method = cv2.INTER_NEAREST if rest == 0 and factor >= 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(pixels, (side, side), interpolation=method), dtype=np.uint8)


def outline(pixels: RGB, mask_HW: NDArray[np.bool_], side: int) -> RGB:
    """The image at side × side with the mask's contour drawn on it."""
    canvas = enlarge(pixels, side).copy()
    contours, _ = cv2.findContours(enlarge(mask_HW.astype(np.uint8), side), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, contours, -1, OUTLINE, 1, cv2.LINE_AA)
    return canvas


def draw_table(rows: Sequence[Sequence[RGB]], headings: Sequence[str]) -> RGB:
    """Tiles of one size in rows, a heading above each column, on white.

    Args:
        rows: Tiles, all of the same square size, as many per row as there are headings.
        headings: One short line per column.

    Returns:
        One RGB picture.
    """
    side = rows[0][0].shape[0]
    pitch = side + GAP
    size = (pitch * len(headings) - GAP, HEADING + pitch * len(rows) - GAP)
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(13)
    for column, heading in enumerate(headings):
        draw.text((column * pitch + side / 2, HEADING / 2), heading, fill="black", font=font, anchor="mm")
    for y, tiles in enumerate(rows):
        for x, tile in enumerate(tiles):
            picture.paste(Image.fromarray(tile), (x * pitch, HEADING + y * pitch))
    return np.asarray(picture)


def draw_reconstructions(
    image_BCHW: NDArray[np.floating],
    mask_BHW: NDArray[np.bool_],
    scales: Sequence[NDArray[np.floating]],
    patch_nums: Sequence[int],
    *,
    side: int = 128,
) -> RGB:
    """Originals with the lesion outlined, what the tokenizer gives after each scale, and where it errs.

    Args:
        image_BCHW: In [-1, 1].
        mask_BHW: True = lesion.
        scales: Reconstruction after each scale, coarse to fine, each BCHW in [-1, 1].
        patch_nums: Side of each token map, for the headings.
        side: Side of a tile in pixels.

    Returns:
        One RGB picture, a row per image. The last column is the mean absolute difference, white at 10 % of full range.
    """
    rows = []
    for b in range(len(image_BCHW)):
        original = to_pixels(image_BCHW[b])
        tiles = [enlarge(original, side), outline(original, mask_BHW[b], side)]
        tiles += [enlarge(to_pixels(scale_BCHW[b]), side) for scale_BCHW in scales]
        error_HW = np.abs(scales[-1][b] - image_BCHW[b]).mean(0) / 2
        grey = np.rint(np.clip(error_HW / 0.1, 0, 1) * 255).astype(np.uint8)
        tiles.append(enlarge(np.repeat(grey[..., None], 3, axis=-1), side))
        rows.append(tiles)
    headings = ["original", "lesion", *(f"{'+ ' if i else ''}{p}x{p}" for i, p in enumerate(patch_nums)), "error"]
    return draw_table(rows, headings)
