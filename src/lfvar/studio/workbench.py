"""Everything the studio works with, loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lfvar.errors import ArtefactError
from lfvar.generation.pool import Pool
from lfvar.measure.profiles import Profiles
from lfvar.sampling.editing import EditConfig
from lfvar.sampling.filters import Filters
from lfvar.sampling.guidance import Guidance
from lfvar.sampling.vectors import Vectors
from lfvar.studio.controls import MAIN, OF_MASK, describe_knob, ranges, turnable
from lfvar.studio.limits import Limits
from lfvar.studio.refusal import missing
from lfvar.synthesizer import Synthesizer


@dataclass(frozen=True)
class Workbench:
    """Made by `lfvar.studio.opening.open_workbench`."""

    synthesizer: Synthesizer
    pool: Pool
    """The prepared images; may have no rows."""
    profiles: Profiles | None
    limits: Limits
    output: Path
    """Where blind tests are kept."""
    guidance: Guidance = field(default_factory=Guidance)
    """What the page starts with."""
    filters: Filters = field(default_factory=lambda: Filters(top_k=900, top_p=0.96))
    editing: EditConfig = field(default_factory=EditConfig)
    batch_size: int = 4
    """Images made at once: more is faster, fewer shows the first one earlier."""
    generated: Pool | None = None
    """Generated images to judge; None: made when they are needed."""
    painted_on: Mapping[str, str] = field(default_factory=dict)
    """The real image whose skin each of these shows, where it is one."""
    training_pictures: tuple[Path, ...] = ()
    """Samples that training drew, in the order of steps."""
    about: Mapping[str, str] = field(default_factory=dict)
    """What the page says of the model, by heading."""
    command: str = "python -m lfvar.studio"

    @property
    def size(self) -> int:
        """Side of the model's images."""
        return self.synthesizer.image_size

    @property
    def vectors(self) -> Vectors:
        """Makes measurement vectors for the net."""
        return Vectors(self.synthesizer.feature_names, self.profiles)

    @cached_property
    def knobs(self) -> list[str]:
        """Measurements that can be asked for."""
        return turnable(self.synthesizer.feature_names)

    @cached_property
    def shown(self) -> list[str]:
        """Measurements that are always shown."""
        return [knob.name for knob in (*OF_MASK, *MAIN)]

    def require_image(self, image_id: str) -> str:
        """The id of an image of the dataset, if it is one.

        Raises:
            Refusal: When it is none.
        """
        if image_id not in self.pool.rows:
            raise missing(f"an image “{image_id[:80]}” of the dataset")
        return image_id

    def read_image(self, image_id: str) -> NDArray[np.uint8]:
        """An image of the dataset.

        Raises:
            Refusal: When there is none.
            ArtefactError: When its file is gone, or does not lie in the dataset's folder.
        """
        self.require_image(image_id)
        require_inside(self.pool, image_id)
        return self.pool.read_image(image_id)

    def read_mask(self, image_id: str) -> NDArray[np.bool_]:
        """Its mask."""
        self.require_image(image_id)
        require_inside(self.pool, image_id)
        return self.pool.read_mask(image_id)

    def describe(self) -> dict[str, Any]:
        """What the page needs to know."""
        rows = self.pool.manifest.rows
        return {
            "about": dict(self.about),
            "image_size": self.size,
            "classes": list(self.synthesizer.classes),
            "knobs": [describe_knob(name) for name in self.knobs],
            "shape_knobs": [describe_knob(name) for name in self.shown if describe_knob(name)["of_mask"]],
            "has_profiles": self.profiles is not None,
            "num_images": len(rows),
            "types": [label for label in self.pool.classes if any(row.label == label for row in rows)],
            "splits": [split for split in ("test", "val", "train") if any(row.split == split for row in rows)],
            "guidance": {
                "class_strength": self.guidance.class_strength,
                "measurement_strength": self.guidance.measurement_strength,
            },
            "limits": {
                "samples": self.limits.samples,
                "upload_megabytes": self.limits.upload_megabytes,
                "megapixels": self.limits.megapixels,
                "trials": self.limits.trials,
            },
            "num_training_pictures": len(self.training_pictures),
            "judge_makes": self.generated is None,
        }

    def ranges(self, label: str | None) -> dict[str, list[float]]:
        """Quantiles of everything that can be asked or is shown, for a type."""
        return ranges(self.profiles, label, [*self.knobs, *(n for n in self.shown if n not in self.knobs)])


def require_inside(pool: Pool, image_id: str) -> None:
    """Make sure that a manifest leads nowhere but into its own folder.

    Raises:
        ArtefactError: When it does.
    """
    row, folder = pool.rows[image_id], pool.folder.resolve()
    for name in (row.image, row.mask):
        if not (folder / name).resolve().is_relative_to(folder):
            raise ArtefactError(
                f"the manifest of '{pool.folder}' says that image {image_id} lies outside of it",
                cure=f"prepare the images again: {pool.manifest.header.command}",
            )
