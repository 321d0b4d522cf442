"""Picture and mask of a request, from wherever the page says they are."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from lfvar.data.framing import choose_frame, cut_mask
from lfvar.data.imageio import read_mask
from lfvar.measure.mask_only import measure_mask
from lfvar.sampling.lesion_shapes import draw_shape
from lfvar.studio.pictures import VIEW, read_painted, read_photograph, resize_mask, view_size
from lfvar.studio.refusal import Refusal
from lfvar.studio.request import DatasetPicture, DrawnMask, Mask, OwnMask, PaintedMask, Picture
from lfvar.studio.sessions import Session
from lfvar.studio.workbench import Workbench

ONE_PHOTOGRAPH = threading.Lock()
"""A decoded photograph may take a hundred megabytes: whoever decodes one holds this."""


def picture_shape(workbench: Workbench, session: Session, picture: Picture) -> tuple[int, int]:
    """Height and width of a picture.

    Raises:
        Refusal: When it is not there.
    """
    if isinstance(picture, DatasetPicture):
        workbench.require_image(picture.id)
        return workbench.size, workbench.size
    return session.upload(picture.id).shape


def read_picture(workbench: Workbench, session: Session, picture: Picture) -> NDArray[np.uint8]:
    """A picture, RGB (H, W, 3).

    Raises:
        Refusal, ArtefactError: When it is not there, or damaged.
    """
    if isinstance(picture, DatasetPicture):
        return workbench.read_image(picture.id)
    upload = session.upload(picture.id)
    return read_photograph(upload.path, upload.name, workbench.limits.megapixels)


def read_mask_of(
    workbench: Workbench, session: Session, picture: Picture, mask: Mask, shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """The mask of a request at the size of its picture.

    Raises:
        Refusal: When it is damaged, empty, of another picture, or of another size.
    """
    if isinstance(mask, OwnMask):
        if not isinstance(picture, DatasetPicture):
            raise Refusal("a photograph brings no mask of its own", cure="paint one, load one, or draw a shape")
        mask_HW = workbench.read_mask(picture.id)
        if not mask_HW.any():
            raise Refusal("this image has no lesion of its own", cure="paint a mask, or draw a shape")
        return mask_HW
    if isinstance(mask, PaintedMask):
        return read_painted(mask.png, shape)
    if isinstance(mask, DrawnMask):
        return draw_mask(mask, shape)
    upload = session.upload(mask.id)
    if upload.mask_of != picture.id:
        raise Refusal("that mask was given for another picture", cure="load the mask of this one")
    return read_mask(upload.path)


def draw_mask(mask: DrawnMask, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """A drawn lesion on the square in the middle of a picture; as `lfvar.generate` draws it on a square one."""
    short = min(shape)
    if short <= VIEW and shape[0] == shape[1]:
        return draw_shape(mask.shape, short, mask.seed)
    drawn_SS = draw_shape(mask.shape, min(view_size(*shape)), mask.seed).astype(np.uint8) * np.uint8(255)
    frame = choose_frame(np.zeros(shape, np.bool_), "centre")
    mask_HW = np.zeros(shape, np.bool_)
    inside = (slice(frame.y0, frame.y0 + frame.height), slice(frame.x0, frame.x0 + frame.width))
    mask_HW[inside] = resize_mask(drawn_SS, (frame.height, frame.width))
    return mask_HW


def measure_outline(workbench: Workbench, mask_HW: NDArray[np.bool_]) -> dict[str, float]:
    """What a mask measures as the model sees it, of what the page always shows."""
    if mask_HW.shape != (workbench.size, workbench.size):
        mask_HW = cut_mask(mask_HW, choose_frame(mask_HW), workbench.size)
    found = measure_mask(mask_HW)
    return {name: found[name] for name in workbench.shown if name in found}
