"""The coarse-to-fine schedule of token maps that tokenizer, transformer and masks share."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise


@dataclass(frozen=True)
class ScaleSchedule:
    """Side lengths p_1 < … < p_K of the token maps, coarse to fine; scale k holds p_k × p_k tokens.

    Args:
        patch_nums: Side lengths in tokens, strictly growing, at least one.

    Raises:
        ValueError: When they do not grow strictly from at least 1.
    """

    patch_nums: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "patch_nums", tuple(self.patch_nums))
        if not self.patch_nums or self.patch_nums[0] < 1:
            raise ValueError(f"patch_nums needs at least one scale of side >= 1, got {self.patch_nums}")
        for coarse, fine in pairwise(self.patch_nums):
            if fine <= coarse:
                raise ValueError(f"patch_nums must grow strictly, got {coarse} before {fine} in {self.patch_nums}")

    def __len__(self) -> int:
        return len(self.patch_nums)

    @property
    def latent_size(self) -> int:
        """Side of the finest map, which is the side of the latent."""
        return self.patch_nums[-1]

    @property
    def lengths(self) -> tuple[int, ...]:
        """Number of tokens of each scale, p_k²."""
        return tuple(side * side for side in self.patch_nums)

    @property
    def num_tokens(self) -> int:
        """L, the number of tokens of all scales."""
        return sum(self.lengths)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Where each scale lies in a sequence of all L tokens, coarse to fine."""
        ends = tuple(accumulate(self.lengths))
        return tuple(slice(end - length, end) for end, length in zip(ends, self.lengths, strict=True))
