"""Joint augmentation of image and mask: whatever moves one moves the other.

Two pipelines exist because the two stages allow different things. The tokenizer may see any part of any image. The
transformer learns measurements of the image as prepared, so only the eight symmetries of the square, which leave them
unchanged, are allowed. Neither touches colour, which is diagnostic.
"""

from __future__ import annotations

import os
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the internet for its newest version on import

Augment = Literal["crops", "symmetries", "none"]


class Transform:
    """Moves image and mask together; a seed alone decides how. Picklable, so that loading processes can have it.

    Args:
        augment: "crops": half of the images are cropped to a square of 64–100 % of the area and resized back, then one
            of the eight symmetries; "symmetries": one of the eight; "none": images as prepared.
        image_size: Side of the squares that come out, in pixels.

    Raises:
        ValueError: For any other name.
    """

    def __init__(self, augment: Augment, image_size: int) -> None:
        if augment not in get_args(Augment):
            raise ValueError(f"augment is 'crops', 'symmetries' or 'none', got {augment!r}")
        self.pipeline: Any = None
        if augment == "none":
            return
        import albumentations as A  # takes seconds, and images as they are need none of it

        steps: list[Any] = [A.D4(p=1.0)]
        if augment == "crops":
            crop = A.RandomResizedCrop((image_size, image_size), scale=(0.64, 1.0), ratio=(1.0, 1.0), p=0.5)
            steps.insert(0, crop)
        self.pipeline = A.Compose(steps)

    def __call__(
        self, image_HWC: NDArray[np.uint8], mask_HW: NDArray[np.uint8], seed: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The same pair, moved."""
        if self.pipeline is None:
            return image_HWC, mask_HW
        self.pipeline.set_random_seed(seed)
        moved = self.pipeline(image=image_HWC, mask=mask_HW)
        return moved["image"], moved["mask"]
