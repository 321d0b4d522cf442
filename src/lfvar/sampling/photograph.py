"""A photograph of any size as the model sees it: a square around the lesion, and the edit put back into the whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lfvar.data.framing import Frame, choose_frame, cut_frame, cut_mask
from lfvar.errors import DataError
from lfvar.sampling.composite import paste_into_original
from lfvar.sampling.editing import Result


@dataclass(frozen=True, eq=False)
class Photograph:
    """Make it with `Photograph.frame_lesion`."""

    whole_HWC: NDArray[np.uint8]
    whole_mask_HW: NDArray[np.bool_]
    """True = painted."""
    frame: Frame | None
    """Where the square lies in the whole; None: the whole has the model's size."""
    square_HWC: NDArray[np.uint8]
    """At the model's size."""
    mask_HW: NDArray[np.bool_]
    """Of the square."""

    @classmethod
    def frame_lesion(cls, image_HWC: NDArray[np.uint8], mask_HW: NDArray[np.bool_], side: int) -> Photograph:
        """Cut the square out.

        Args:
            image_HWC: RGB of any size.
            mask_HW: Of the same size.
            side: Of the model's images.

        Raises:
            DataError: When nothing of the lesion is left at the model's size.
        """
        if mask_HW.shape == (side, side):
            return cls(image_HWC, mask_HW, None, image_HWC, mask_HW)
        frame = choose_frame(mask_HW)
        square_mask_HW = cut_mask(mask_HW, frame, side)
        if mask_HW.any() and not square_mask_HW.any():
            raise DataError(
                f"the lesion ({int(mask_HW.sum())} of {mask_HW.size} pixels) is too small to be seen at {side}×{side}",
                cure="cut the photograph closer to the lesion",
            )
        return cls(image_HWC, mask_HW, frame, cut_frame(image_HWC, frame, side), square_mask_HW)

    def put_back(self, result: Result, feather: float) -> NDArray[np.uint8]:
        """The whole photograph with the edit in it: outside the mask, its bytes.

        Args:
            result: Of a job on the square.
            feather: As in `lfvar.sampling.editing.EditConfig`.
        """
        if self.frame is None:
            return result.image_HWC
        return paste_into_original(self.whole_HWC, self.whole_mask_HW, self.frame, result.raw_HWC, feather=feather)
