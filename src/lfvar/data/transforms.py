"""Joint augmentation of image and mask: whatever moves one moves the other.

Two pipelines exist because the two stages allow different things. The tokenizer may see any part of any image. The
transformer learns measurements of the image as prepared, so only the eight symmetries of the square, which leave them
unchanged, are allowed. Neither touches colour, which is diagnostic.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the internet for its newest version on import
import albumentations as A

Augment = Literal["crops", "symmetries", "none"]

Transform = Callable[[NDArray[np.uint8], NDArray[np.uint8], int], tuple[NDArray[np.uint8], NDArray[np.uint8]]]
"""(image HWC, mask HW, seed) → the same, moved together; the seed alone decides how."""


def build_transform(augment: Augment, image_size: int) -> Transform:
    """The pipeline of a stage.

    Args:
        augment: "crops": half of the images are cropped to a square of 64–100 % of the area and resized back, then one
            of the eight symmetries; "symmetries": one of the eight; "none": images as prepared.
        image_size: Side of the squares that come out, in pixels.

    Raises:
        ValueError: For any other name.
    """
    size = (image_size, image_size)
    steps: list[Any] = []
    if augment == "crops":
        steps.append(A.RandomResizedCrop(size, scale=(0.64, 1.0), ratio=(1.0, 1.0), p=0.5))
    if augment in ("crops", "symmetries"):
        steps.append(A.D4(p=1.0))
    elif augment != "none":
        raise ValueError(f"augment is 'crops', 'symmetries' or 'none', got {augment!r}")
    pipeline = A.Compose(steps)

    def apply(
        image_HWC: NDArray[np.uint8], mask_HW: NDArray[np.uint8], seed: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        if not steps:
            return image_HWC, mask_HW
        pipeline.set_random_seed(seed)
        moved = pipeline(image=image_HWC, mask=mask_HW)
        return moved["image"], moved["mask"]

    return apply
