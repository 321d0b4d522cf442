"""A photograph of any size as the model sees it: a square around the lesion, and the edit put back into the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lfvar.data.framing import Frame, choose_frame, cut_frame, cut_mask
from lfvar.errors import DataError
from lfvar.sampling.composite import paste_into_original
from lfvar.sampling.editing import EditConfig, Result
from lfvar.sampling.skin import cover_with_skin


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

    def put_back(self, results: Sequence[Result], editing: EditConfig) -> list[NDArray[np.uint8]]:
        """The whole photograph with each edit in it: outside the mask, its bytes.

        Args:
            results: Of jobs on the square.
            editing: What those jobs were made with.
        """
        if self.frame is None:
            return [result.image_HWC for result in results]
        ground = Ground.prepare(self.whole_HWC, self.whole_mask_HW, self.frame, editing)
        return [ground.paste(result.raw_HWC) for result in results]


@dataclass(frozen=True, eq=False)
class Ground:
    """A photograph as edits are pasted onto it; make it with `Ground.prepare`.

    Edits are finished at the photograph's resolution as `lfvar.sampling.editing` finishes the square.
    """

    photograph_HWC: NDArray[np.uint8]
    """With skin over what is painted, if the edit covers."""
    painted_HW: NDArray[np.bool_]
    frame: Frame
    feather: float

    @classmethod
    def prepare(
        cls,
        photograph_HWC: NDArray[np.uint8],
        mask_HW: NDArray[np.bool_],
        frame: Frame,
        editing: EditConfig,
        *,
        erase_HW: NDArray[np.bool_] | None = None,
    ) -> Ground:
        """Cover what is painted over: once for all edits in one place.

        Args:
            photograph_HWC: RGB of any size.
            mask_HW: True = the new lesion.
            frame: Where the square lies in the photograph.
            editing: Whether skin covers what is painted over, and how wide the transition is.
            erase_HW: The old lesion, where it is not the new one's place.
        """
        painted_HW = mask_HW if erase_HW is None else mask_HW | erase_HW
        if editing.cover:
            margin = editing.fill_margin * frame.width / mask_HW.shape[1]
            photograph_HWC = cover_with_skin(photograph_HWC, painted_HW, margin=margin)
            painted_HW = mask_HW
        return cls(photograph_HWC, painted_HW, frame, editing.feather)

    def paste(self, raw_SSC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The photograph with one edit in it; every byte outside of both masks is the photograph's.

        Args:
            raw_SSC: What the decoder made of the square (`Result.raw_HWC`).
        """
        return paste_into_original(self.photograph_HWC, self.painted_HW, self.frame, raw_SSC, feather=self.feather)
