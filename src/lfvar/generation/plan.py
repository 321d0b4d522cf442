"""A plan: what each image is to be, as plain data. Planning draws nothing and needs no net."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from lfvar.data.files import hash_bytes


@dataclass(frozen=True)
class MaskPlan:
    """A recipe for a mask; `lfvar.generation.masks.render_mask` follows it."""

    kind: str
    """source, bank (both: the mask of `image_id`), file, drawn or none."""
    image_id: str | None = None
    file: str | None = None
    shape: Mapping[str, float] = field(default_factory=dict)
    """Parameters of `lfvar.sampling.lesion_shapes.LesionShape` (drawn)."""
    seed: int = 0
    """Of the drawn outline."""
    area: float | None = None
    """Scaled to this part of the image; None: as it is. Not for drawn ones, whose shape says it."""
    centre: tuple[float, float] | None = None
    """Moved so that the centroid lies here, as far as the lesion stays inside; None: as it is."""

    @property
    def is_source(self) -> bool:
        """Whether it is the source image's own lesion, unchanged."""
        return self.kind == "source" and self.area is None and self.centre is None


@dataclass(frozen=True)
class PlannedSample:
    """One image to be made."""

    image_id: str
    mode: str
    label: str | None
    """Asked type; None: any."""
    seed: int
    sample: int
    asked: Mapping[str, float]
    """Measurements asked of the net, in natural units, without those that follow from the mask where there is one."""
    mask: MaskPlan
    source_id: str | None = None
    prompt: str | None = None
    wanted: Mapping[str, float] = field(default_factory=dict)
    """Measurements that follow from the mask and that the mask was chosen for."""
    sheet: str = "samples"
    """The contact sheet it is shown on: its file name."""
    row: str = ""
    column: str = ""
    caption: str = ""


def hash_plan(plan: Sequence[PlannedSample]) -> str:
    """The SHA-256 of everything that the plan says, but where a mask file lies."""
    data = [asdict(sample) for sample in plan]
    for sample in data:
        sample["mask"].pop("file")
    return hash_bytes(json.dumps(data, sort_keys=True).encode())
