"""What travels between the stages, and the legend of tensor names.

Shape legend, used in every file: B batch, C channels, H W pixels, h w latent positions, K scales, k one scale,
L all tokens, l tokens of one scale, V codes, D width, N heads, M measurements. `image_BCHW` is a batch of images,
`ids_BL` all token ids of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lfvar.scales import ScaleSchedule


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


@dataclass
class TokenSample:
    """One image as the token ids of all its scales, with what is known about it."""

    ids_L: Tensor
    """int64, coarse to fine, each scale row by row."""
    mask_1HW: Tensor
    """bool at the size of the image, True = lesion."""
    label: int
    """Index into the dataset's class order."""
    image_id: str
    measurements_M: Tensor = field(default_factory=lambda: torch.zeros(0))
    """float32, standardised; 0 where missing. M = 0 for a run without measurements."""
    present_M: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))
    """bool, False where a measurement is missing."""
    skin_ids_L: Tensor | None = None
    """int64, likewise of the image without its lesion; None where nobody asks for them."""


@dataclass
class TokenBatch:
    """Token ids stacked along B: what the transformer trains on. Fields but `ids_BL` are as those of `Batch`."""

    ids_BL: Tensor
    """int64, all scales coarse to fine."""
    mask_B1HW: Tensor
    """bool at the size of the image, True = lesion; regions of tokens are `lfvar.nn.mask_pyramid`'s."""
    label_B: Tensor
    """int64."""
    measurements_BM: Tensor
    """float32, standardised."""
    present_BM: Tensor
    """bool."""
    image_id: list[str]
    skin_ids_BL: Tensor | None = None
    """int64, as `ids_BL`, of the images without their lesions; None where nobody asks for them."""

    def __len__(self) -> int:
        return self.ids_BL.shape[0]

    def scale_ids(self, schedule: ScaleSchedule) -> list[Tensor]:
        """Token ids of each scale, K int64 tensors (B, p_k²), as a tokenizer gives and takes them.

        Raises:
            ValueError: When the ids were made with a schedule of another length.
        """
        if self.ids_BL.shape[1] != schedule.num_tokens:
            raise ValueError(
                f"{self.ids_BL.shape[1]} tokens do not fit the schedule {schedule.patch_nums}, which has "
                f"{schedule.num_tokens}"
            )
        return [self.ids_BL[:, part] for part in schedule.slices]

    def pin_memory(self) -> TokenBatch:
        """In page-locked memory, from which copies to a GPU run beside computation (the DataLoader calls this)."""
        return replace(
            self,
            skin_ids_BL=None if self.skin_ids_BL is None else self.skin_ids_BL.pin_memory(),
            ids_BL=self.ids_BL.pin_memory(),
            mask_B1HW=self.mask_B1HW.pin_memory(),
            label_B=self.label_B.pin_memory(),
            measurements_BM=self.measurements_BM.pin_memory(),
            present_BM=self.present_BM.pin_memory(),
        )

    @classmethod
    def collate(cls, samples: list[TokenSample]) -> TokenBatch:
        """Stack samples; the `collate_fn` of every loader."""
        skin = [sample.skin_ids_L for sample in samples if sample.skin_ids_L is not None]
        return cls(
            skin_ids_BL=torch.stack(skin) if skin else None,
            ids_BL=torch.stack([sample.ids_L for sample in samples]),
            mask_B1HW=torch.stack([sample.mask_1HW for sample in samples]),
            label_B=torch.tensor([sample.label for sample in samples], dtype=torch.int64),
            measurements_BM=torch.stack([sample.measurements_M for sample in samples]),
            present_BM=torch.stack([sample.present_M for sample in samples]),
            image_id=[sample.image_id for sample in samples],
        )
