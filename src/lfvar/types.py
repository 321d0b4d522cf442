"""What travels between the stages, and the legend of tensor names.

Shape legend, used in every file: B batch, C channels, H W pixels, h w latent positions, K scales, k one scale,
L all tokens, l tokens of one scale, V codes, D width, N heads, M measurements. `image_BCHW` is a batch of images,
`ids_BL` all token ids of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass
class Sample:
    """One image with what is known about it, as the dataset yields it."""

    image_CHW: Tensor
    """float32, three channels, in [-1, 1]."""
    mask_1HW: Tensor
    """float32, {0, 1}, 1 = lesion."""
    label: int
    """Index into the dataset's class order."""
    image_id: str
    measurements_M: Tensor = field(default_factory=lambda: torch.zeros(0))
    """float32, standardised; 0 where missing. M = 0 until measurements are computed."""
    present_M: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))
    """bool, False where a measurement is missing."""


@dataclass
class Batch:
    """Samples stacked along B. Lightning moves its tensors to the device by itself."""

    image_BCHW: Tensor
    """float32 in [-1, 1]."""
    mask_B1HW: Tensor
    """float32, {0, 1}, 1 = lesion."""
    label_B: Tensor
    """int64."""
    measurements_BM: Tensor
    """float32, standardised."""
    present_BM: Tensor
    """bool."""
    image_id: list[str]

    def __len__(self) -> int:
        return self.image_BCHW.shape[0]

    def pin_memory(self) -> Batch:
        """In page-locked memory, from which copies to a GPU run beside computation (the DataLoader calls this)."""
        return replace(
            self,
            image_BCHW=self.image_BCHW.pin_memory(),
            mask_B1HW=self.mask_B1HW.pin_memory(),
            label_B=self.label_B.pin_memory(),
            measurements_BM=self.measurements_BM.pin_memory(),
            present_BM=self.present_BM.pin_memory(),
        )

    @classmethod
    def collate(cls, samples: list[Sample]) -> Batch:
        """Stack samples; the `collate_fn` of every loader."""
        return cls(
            image_BCHW=torch.stack([sample.image_CHW for sample in samples]),
            mask_B1HW=torch.stack([sample.mask_1HW for sample in samples]),
            label_B=torch.tensor([sample.label for sample in samples], dtype=torch.int64),
            measurements_BM=torch.stack([sample.measurements_M for sample in samples]),
            present_BM=torch.stack([sample.present_M for sample in samples]),
            image_id=[sample.image_id for sample in samples],
        )
