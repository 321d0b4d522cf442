"""What the page asks for, as data: checked field by field before anything is done."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lfvar.sampling.lesion_shapes import LesionShape
from lfvar.sampling.vectors import Base
from lfvar.studio.refusal import Refusal


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DatasetPicture(_Data):
    """An image of the prepared dataset."""

    kind: Literal["dataset"]
    id: str


class UploadedPicture(_Data):
    """A file of this page."""

    kind: Literal["upload"]
    id: str


class OwnMask(_Data):
    """The lesion that the dataset marks."""

    kind: Literal["own"]


class FileMask(_Data):
    """A mask file of this page."""

    kind: Literal["file"]
    id: str


class PaintedMask(_Data):
    """Painted on the page."""

    kind: Literal["painted"]
    png: Annotated[str, Field(max_length=1_500_000)]
    """Base64, at the size of the view."""


class DrawnMask(_Data):
    """Drawn from shape sliders; see `LesionShape`."""

    kind: Literal["drawn"]
    relative_area: Annotated[float, Field(gt=0, le=0.9)] = 0.15
    centre_x: Annotated[float, Field(ge=0, le=1)] = 0.5
    centre_y: Annotated[float, Field(ge=0, le=1)] = 0.5
    elongation: Annotated[float, Field(ge=1, le=5)] = 1.2
    orientation: Annotated[float, Field(ge=-7, le=7)] = 0.0
    asymmetry: Annotated[float, Field(ge=0, le=1)] = 0.2
    irregularity: Annotated[float, Field(ge=0, le=1)] = 0.2
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @property
    def shape(self) -> LesionShape:
        """As the drawing takes it."""
        return LesionShape(**self.model_dump(exclude={"kind", "seed"}))


Picture = Annotated[DatasetPicture | UploadedPicture, Field(discriminator="kind")]
Mask = Annotated[OwnMask | FileMask | PaintedMask | DrawnMask, Field(discriminator="kind")]


class ShapeRequest(_Data):
    """A drawn mask to look at."""

    picture: Picture
    mask: DrawnMask


class EditRequest(_Data):
    """One click on "Generate"."""

    picture: Picture
    mask: Mask
    label: str | None = None
    """Type; None: any."""
    measurements: Annotated[dict[str, float], Field(max_length=150)] = {}
    """In natural units; all others as `rest` says."""
    rest: Base = "none"
    """Measurements that are not stated: `none` leaves them free, `source` takes the picture's own, `mean` the type's,
    `expected` what usually goes with the stated ones and the mask, `sampled` a draw of what goes with them."""
    erase: bool = True
    """Also paint over the dataset's own lesion where the mask leaves it bare."""
    class_strength: Annotated[float, Field(ge=0, le=20)] = 0.0
    measurement_strength: Annotated[float, Field(ge=0, le=20)] | None = None
    samples: Annotated[int, Field(ge=1)] = 4
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    prompt: Annotated[str, Field(max_length=500)] | None = None
    """The sentence that filled the controls, for the record."""


class JudgeRequest(_Data):
    """A blind test to start."""

    rater: Annotated[str, Field(max_length=80)] = ""
    trials: Annotated[int, Field(ge=2)] = 20
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    label: str | None = None
    """Only this type; None: all, evenly."""


class JudgeAnswer(_Data):
    """What a rater says of an image."""

    trial: Annotated[int, Field(ge=0)]
    answer: Literal["real", "synthetic"]
    seconds: Annotated[float, Field(ge=0, le=86_400)] = 0.0


class Sentence(_Data):
    """A prompt to understand."""

    text: Annotated[str, Field(max_length=500)]


def read_request(kind: type[BaseModel], data: Any) -> Any:
    """Data of the page as one of the above.

    Raises:
        Refusal: Naming the first field that does not fit.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the request"
        found = first.get("input")
        shown = f" (got {found!r:.60})" if isinstance(found, (int, float, str)) else ""
        raise Refusal(
            f"{place}: {first['msg'][:1].lower()}{first['msg'][1:]}{shown}", cure="change it and try again"
        ) from error
