"""Where the square lies in the original, and how it is cut out and resized.

`lesion` (the default) takes the largest square that fits the image and moves it onto the lesion: skin stays around it,
and a small lesion stays small, because relative size is a clinical measurement. `centre` takes the same square from the
middle. `squash` takes the whole image and gives up its aspect ratio. Without a lesion, `lesion` is `centre`.

A lesion longer than the square makes the square grow past the image's edge. What lies outside is filled by mirroring
image and mask together: on dermoscopy that gives skin, hair and vignette without a seam, while repeated edge pixels
give streaks that a tokenizer learns as texture; and what looks like lesion is marked as lesion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FramingKind = Literal["lesion", "centre", "squash"]
FRAMING_KINDS: tuple[str, ...] = get_args(FramingKind)


@dataclass(frozen=True)
class Frame:
    """A rectangle in pixels of the original; it may reach past the original's edges."""

    x0: int
    y0: int
    width: int
    height: int

    def padding(self, height: int, width: int) -> tuple[int, int, int, int]:
        """How far the frame reaches past an image of that size: top, bottom, left, right."""
        return (
            max(0, -self.y0),
            max(0, self.y0 + self.height - height),
            max(0, -self.x0),
            max(0, self.x0 + self.width - width),
        )


def choose_frame(
    mask_HW: NDArray[np.bool_], kind: FramingKind = "lesion", *, margin: float = 1.25, min_side: float = 1.0
) -> Frame:
    """Choose the frame of an image by its mask.

    Args:
        mask_HW: True = lesion.
        kind: `lesion`, `centre` or `squash`; an image without lesion is framed by its centre in place of the first.
        margin: The square is at least the lesion's longer side times this, as far as the image allows. Used by
            `lesion`, and only felt when `min_side` lets the square be smaller than the image.
        min_side: Smallest square, as a fraction of the image's short side. 1 keeps lesion sizes comparable; less zooms
            in on small lesions.
    """
    height, width = mask_HW.shape
    if kind == "squash":
        return Frame(0, 0, width, height)
    short = min(height, width)
    if kind == "centre" or not mask_HW.any():
        return Frame((width - short) // 2, (height - short) // 2, short, short)
    left, top, right, bottom = lesion_box(mask_HW)
    longest = max(right - left, bottom - top)
    # Only the lesion itself can push the square past the image; its margin alone does not.
    side = max(round(min_side * short), min(math.ceil(margin * longest), short), longest, 1)
    return Frame(_place(left, right, side, width), _place(top, bottom, side, height), side, side)


def lesion_box(mask_HW: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The smallest box around the lesion: left, top, right, bottom (the last two exclusive)."""
    columns = np.flatnonzero(mask_HW.any(axis=0))
    rows = np.flatnonzero(mask_HW.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def fraction_in_view(mask_HW: NDArray[np.bool_], frame: Frame) -> float:
    """How much of the lesion lies inside the frame, from 0 to 1; 0 without a lesion."""
    total = int(mask_HW.sum())
    seen = int(_inside(mask_HW, frame).sum())
    return seen / total if total else 0.0


def cut_frame(image_HWC: NDArray[np.uint8], frame: Frame, size: int) -> NDArray[np.uint8]:
    """Cut the frame out of an image and resize it to size × size.

    Lanczos, antialiased: the filter that VAR's training data went through, so that its tokenizer sees what it knows.
    """
    image = Image.fromarray(_crop(image_HWC, frame))
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS), dtype=np.uint8)


def cut_mask(mask_HW: NDArray[np.bool_], frame: Frame, size: int) -> NDArray[np.bool_]:
    """Cut the frame out of a mask and resize it to size × size: lesion where at least half of the area is."""
    crop_HW = _crop(mask_HW.astype(np.uint8) * np.uint8(255), frame)
    resized = np.asarray(Image.fromarray(crop_HW).resize((size, size), Image.Resampling.BOX))
    lesion_HW: NDArray[np.bool_] = resized >= 128
    return lesion_HW


def _place(low: int, high: int, side: int, length: int) -> int:
    """Where a stretch of `side` starts that shows [low, high) of [0, length).

    Centred on it and kept inside where it fits. Where it is longer, what reaches past the ends is shared out by how
    much skin lies there, so that the mirror shows skin rather than a second lesion as far as possible.
    """
    excess = side - length
    if excess <= 0:
        return min(max((low + high - side) // 2, 0), -excess)
    before, after = low, length - high
    return -round(excess * before / (before + after)) if before + after else -(excess // 2)


def _inside(pixels: NDArray[np.bool_], frame: Frame) -> NDArray[np.bool_]:
    return pixels[max(0, frame.y0) : frame.y0 + frame.height, max(0, frame.x0) : frame.x0 + frame.width]


def _crop(pixels: NDArray[np.uint8], frame: Frame) -> NDArray[np.uint8]:
    top, bottom, left, right = frame.padding(*pixels.shape[:2])
    if top or bottom or left or right:
        around = [(top, bottom), (left, right)] + [(0, 0)] * (pixels.ndim - 2)
        pixels = np.pad(pixels, around, mode="symmetric")
    y0, x0 = frame.y0 + top, frame.x0 + left
    return np.ascontiguousarray(pixels[y0 : y0 + frame.height, x0 : x0 + frame.width])
