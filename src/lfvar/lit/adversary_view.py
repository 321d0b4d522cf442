"""One discriminator with what it looks at, and the precision it may run in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lfvar.losses.adversarial import LeCam
from lfvar.nn.discriminator import PatchDiscriminator, PatchDiscriminatorConfig, crop_square, lesion_box


class View(nn.Module):
    """One discriminator, its LeCam anchors, and the part of the image that it sees.

    Args:
        discriminator: Sizes.
        image_size: Side of the images, in pixels.
        crop_fraction: Side of the crop around the lesion, relative to the image; None: the whole image.
        margin: Skin around the lesion's bounding box, relative to its longer side.
        weight: Of its losses.
        lecam_decay: Share of the old anchors kept at each step.
        seed: Decides the initial weights.

    Raises:
        ValueError: When what it sees is too small for the discriminator.
    """

    def __init__(
        self,
        discriminator: PatchDiscriminatorConfig,
        image_size: int,
        *,
        crop_fraction: float | None,
        margin: float,
        weight: float,
        lecam_decay: float,
        seed: int,
    ) -> None:
        super().__init__()
        self.crop_size = None if crop_fraction is None else round(crop_fraction * image_size)
        self.margin = margin
        self.weight = weight
        size = image_size if self.crop_size is None else self.crop_size
        try:
            discriminator.require_size(size, size)
        except ValueError as error:
            what = "whole images" if crop_fraction is None else f"lesion crops of {crop_fraction:g} of the image's side"
            raise ValueError(f"{what}: {error}") from None
        self.discriminator = PatchDiscriminator(discriminator, seed=seed)
        self.lecam = LeCam(lecam_decay)

    def look(self, image_BCHW: Tensor, mask_B1HW: Tensor) -> Tensor:
        """The part of images, or of maps as large, that this view is about; float32."""
        if self.crop_size is None:
            return image_BCHW.float()
        # Half the crop's side at least: a lesion of three pixels, blown up, shows interpolation and nothing else.
        box_B3 = lesion_box(mask_B1HW, margin=self.margin, min_side=self.crop_size / 2)
        return crop_square(image_BCHW, box_B3, self.crop_size)


@contextmanager
def trusted_precision(device: torch.device) -> Iterator[torch.autocast]:
    """Switch autocast off, and yield a context for the discriminators alone: bfloat16 if that was on, else float32.

    Backward passes belong outside of autocast, and float16 would need a loss scale of its own.
    """
    active = torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type) == torch.bfloat16
    with torch.autocast(device.type, enabled=False):
        # No cache of cast weights: they move within the step that casts them.
        yield torch.autocast(device.type, dtype=torch.bfloat16, enabled=active, cache_enabled=False)
