"""Measured against asked: every sample is measured again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lfvar.measure.extract import measure
from lfvar.measure.schema import FROM_MASK
from lfvar.studio.controls import describe_knob, percentile
from lfvar.studio.workbench import Workbench


@dataclass(frozen=True)
class Comparison:
    """What was asked, and what each sample measures."""

    label: str | None
    stated: Mapping[str, float]
    """By the user."""
    asked: Sequence[Mapping[str, float]]
    """All that each sample was asked for."""
    told: Mapping[str, float]
    """By the mask."""
    before: Mapping[str, float]
    """The picture's own; empty for a photograph."""
    measured: Sequence[Mapping[str, float]]
    """Everything, of each sample."""

    def rows(self, workbench: Workbench, names: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """A line for each measurement: first those that were set, then those that are always shown.

        Args:
            workbench: For percentiles.
            names: Other ones.
        """
        names = names or list(dict.fromkeys([*self.stated, *workbench.shown]))
        return [self._row(workbench, name) for name in names]

    def _row(self, workbench: Workbench, name: str) -> dict[str, Any]:
        by = "you" if name in self.stated else "mask" if name in FROM_MASK else "rest"
        asked = [self.told.get(name) if by == "mask" else vector.get(name) for vector in self.asked]
        return {
            **describe_knob(name),
            "asked_by": by if asked[0] is not None else "free",
            "before": self.before.get(name),
            "asked": asked,
            "measured": [vector.get(name) for vector in self.measured],
            "percentile": [
                None if name not in vector else percentile(workbench.profiles, self.label, name, vector[name])
                for vector in self.measured
            ],
        }


def compare(
    *,
    label: str | None,
    stated: Mapping[str, float],
    asked: Sequence[Mapping[str, float]],
    told: Mapping[str, float],
    before: Mapping[str, float],
    images: Sequence[NDArray[np.uint8]],
    mask_HW: NDArray[np.bool_],
    watch: Callable[[int], None] = lambda done: None,
) -> Comparison:
    """Measure samples.

    Args:
        label: Asked type.
        stated: What the user set.
        asked: All that each sample was asked for.
        told: What the mask measures.
        before: What the picture measured.
        images: At the model's size, RGB uint8.
        mask_HW: Of all of them.
        watch: Called with the number of samples measured so far; what it raises ends the work.
    """
    measured = []
    for done, image_HWC in enumerate(images):
        watch(done)
        found = measure(image_HWC, mask_HW).as_dict()
        measured.append({name: value for name, value in found.items() if math.isfinite(value)})
    return Comparison(label, dict(stated), list(asked), dict(told), dict(before), measured)
