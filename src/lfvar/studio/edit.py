"""From a click on "Generate" to images: picture, mask, what is asked, samples one after the other."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lfvar.data.framing import Frame
from lfvar.measure.mask_only import measure_mask
from lfvar.measure.schema import FROM_MASK
from lfvar.sampling.editing import Job, Result
from lfvar.sampling.guidance import Guidance
from lfvar.sampling.photograph import Ground, Photograph
from lfvar.studio.desk import Ticket
from lfvar.studio.measured import Comparison, compare
from lfvar.studio.pictures import resize_mask
from lfvar.studio.refusal import Refusal
from lfvar.studio.request import DatasetPicture, EditRequest, OwnMask
from lfvar.studio.sessions import Session
from lfvar.studio.sources import ONE_PHOTOGRAPH, picture_shape, read_mask_of, read_picture
from lfvar.studio.workbench import Workbench


@dataclass(eq=False)
class Edit:
    """A request with everything that belongs to it, small: photographs are read again when they are needed."""

    request: EditRequest
    shape: tuple[int, int]
    """Height and width of the picture."""
    frame: Frame | None
    """Where the model's square lies in the picture; None: they are the same."""
    square_HWC: NDArray[np.uint8]
    """At the model's size."""
    mask_HW: NDArray[np.bool_]
    """Of the square."""
    erase_HW: NDArray[np.bool_] | None
    """Painted as well: the old lesion of an image of the dataset."""
    packed_mask: bytes
    """The mask at the picture's size, a bit per pixel."""
    told: dict[str, float]
    """What the mask measures."""
    source_measured: dict[str, float]
    """What the picture measured before; empty for a photograph."""
    asked: list[dict[str, float]] = field(default_factory=list)
    """Of each sample, in natural units; what is left free is not in it."""
    warnings: list[str] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    comparison: Comparison | None = None

    @property
    def source_id(self) -> str | None:
        """The image of the dataset; None: a photograph."""
        return self.request.picture.id if isinstance(self.request.picture, DatasetPicture) else None

    @property
    def whole_mask(self) -> NDArray[np.bool_]:
        """The mask at the picture's size."""
        height, width = self.shape
        bits = np.unpackbits(np.frombuffer(self.packed_mask, np.uint8), count=height * width)
        return bits.reshape(height, width).astype(np.bool_)

    @property
    def jobs(self) -> list[Job]:
        """A sample each."""
        request = self.request
        return [
            Job(request.seed + number, request.label, asked, self.square_HWC, self.mask_HW, self.erase_HW)
            for number, asked in enumerate(self.asked)
        ]


def check_request(workbench: Workbench, session: Session, request: EditRequest) -> None:
    """What can be said at once, before the request waits in the queue.

    Raises:
        Refusal, ConfigError: When it cannot be done.
    """
    limit = workbench.limits.samples
    if request.samples > limit:
        raise Refusal(f"{request.samples} samples are asked for at once", cure=f"ask for {limit} or fewer")
    picture_shape(workbench, session, request.picture)
    asking = workbench.synthesizer.asking
    asking.require_type(request.label)
    for name in request.measurements:
        asking.require_feature(name)
        if name in FROM_MASK:
            raise Refusal(f"{name} follows from the mask", cure="change the mask instead")
    if request.measurement_strength and not workbench.synthesizer.net.conditioning.can_drop_measurements:
        raise Refusal("this model takes no guidance by measurements", cure="leave that weight empty")
    if request.rest == "source":
        is_dataset = isinstance(request.picture, DatasetPicture)
        if not (is_dataset and request.picture.id in workbench.pool.measured):
            what = "this image" if is_dataset else "the photograph"
            raise Refusal(f"{what} is not measured", cure="leave the rest free, or let it go with what is set")


def make(workbench: Workbench, session: Session, request: EditRequest, ticket: Ticket) -> None:
    """Do a request. The numbers of finished samples appear in `ticket.parts`; the page keeps the edit.

    Raises:
        Refusal, DataError, ConfigError: When it cannot be done; nothing was made then.
    """
    ticket.report(0.0, "reading the picture")
    edit = prepare(workbench, session, request)
    session.add_result(ticket.id, edit)
    lengths = workbench.synthesizer.net.schedule.lengths
    batches = -(-len(edit.jobs) // workbench.batch_size)
    begun = 0

    def watch(k: int) -> None:
        nonlocal begun
        begun += k == 0
        share = (begun - 1 + sum(lengths[:k]) / sum(lengths)) / batches
        ticket.report(0.9 * share, f"painting {min(begun * workbench.batch_size, request.samples)}/{request.samples}")

    for result in workbench.synthesizer.run(
        edit.jobs,
        guidance=Guidance(request.class_strength, request.measurement_strength, workbench.guidance.ramp),
        filters=workbench.filters,
        editing=workbench.editing,
        batch_size=workbench.batch_size,
        watch=watch,
    ):
        edit.results.append(result)
        ticket.parts.append(len(edit.results) - 1)
    ticket.report(0.9, "measuring")
    edit.comparison = compare(
        label=request.label,
        stated=request.measurements,
        asked=edit.asked,
        told=edit.told,
        before=edit.source_measured,
        images=[result.image_HWC for result in edit.results],
        mask_HW=edit.mask_HW,
        watch=lambda done: ticket.report(0.9 + 0.1 * done / request.samples, "measuring"),
    )


def prepare(workbench: Workbench, session: Session, request: EditRequest) -> Edit:
    """Read picture and mask, and work out what each sample is asked for.

    Raises:
        Refusal, DataError, ConfigError: When it cannot be done.
    """
    with ONE_PHOTOGRAPH:
        image_HWC = read_picture(workbench, session, request.picture)
        shape = (image_HWC.shape[0], image_HWC.shape[1])
        whole_mask_HW = read_mask_of(workbench, session, request.picture, request.mask, shape)
        photograph = Photograph.frame_lesion(image_HWC, whole_mask_HW, workbench.size)
    edit = Edit(
        request=request,
        shape=shape,
        frame=photograph.frame,
        square_HWC=np.ascontiguousarray(photograph.square_HWC),
        mask_HW=photograph.mask_HW,
        erase_HW=None,
        packed_mask=np.packbits(whole_mask_HW).tobytes(),
        told=measure_mask(photograph.mask_HW),
        source_measured={},
    )
    if edit.source_id is not None:
        edit.source_measured = dict(workbench.pool.measured.get(edit.source_id, {}))
        if request.erase and not isinstance(request.mask, OwnMask):
            edit.erase_HW = workbench.read_mask(edit.source_id)
    edit.asked = [_asked(workbench, edit, request.seed + number) for number in range(request.samples)]
    edit.warnings = workbench.synthesizer.check(edit.jobs[:1])
    return edit


def render(workbench: Workbench, session: Session, edit: Edit, number: int) -> NDArray[np.uint8]:
    """A sample in the whole picture: outside what was painted, its bytes."""
    result = edit.results[number]
    if edit.frame is None:
        return result.image_HWC
    with ONE_PHOTOGRAPH:
        image_HWC = read_picture(workbench, session, edit.request.picture)
        return Ground.prepare(image_HWC, edit.whole_mask, edit.frame, workbench.editing).paste(result.raw_HWC)


def preview(workbench: Workbench, edit: Edit, number: int, view_hwC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A sample as the page shows it, without opening the photograph again.

    Args:
        workbench: For the feather.
        edit: With results.
        number: Which.
        view_hwC: The picture as the page shows it.
    """
    result = edit.results[number]
    if edit.frame is None:
        return result.image_HWC
    height, width = view_hwC.shape[:2]
    scale_y, scale_x = height / edit.shape[0], width / edit.shape[1]
    frame = Frame(
        round(edit.frame.x0 * scale_x),
        round(edit.frame.y0 * scale_y),
        max(1, round(edit.frame.width * scale_x)),
        max(1, round(edit.frame.height * scale_y)),
    )
    mask_hw = resize_mask(edit.whole_mask.astype(np.uint8) * np.uint8(255), (height, width))
    return Ground.prepare(view_hwC, mask_hw, frame, workbench.editing).paste(result.raw_HWC)


def _asked(workbench: Workbench, edit: Edit, seed: int) -> dict[str, float]:
    """What one sample is asked for, without what the mask decides."""
    request, stated = edit.request, dict(edit.request.measurements)
    base = workbench.vectors.base(
        request.rest, request.label, measured=edit.source_measured, seed=seed, given={**edit.told, **stated}
    )
    return {name: value for name, value in base.items() if name not in FROM_MASK} | stated
