"""Which mask a planned sample gets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lfvar.data.manifest import ManifestRow
from lfvar.errors import ConfigError
from lfvar.generation.mask_search import DRIVES, choose_from_bank, fit_drawn
from lfvar.generation.masks import read_mask_file, render_mask
from lfvar.generation.plan import MaskPlan
from lfvar.generation.pool import Pool
from lfvar.generation.settings import MaskKind, Wish
from lfvar.measure.mask_only import measure_mask
from lfvar.measure.schema import FROM_MASK
from lfvar.sampling.vectors import Vectors

_DRAWN_TARGETS = (
    "clinical_relative_area",
    "clinical_asymmetry_shape_max",
    "clinical_border_compactness",
    "clinical_centroid_x",
    "clinical_centroid_y",
    "shape_elongation",
)


@dataclass(frozen=True)
class MaskChooser:
    """Follows `MaskConfig`."""

    wish: Wish
    pool: Pool
    vectors: Vectors

    @property
    def kind(self) -> MaskKind:
        """Where masks come from."""
        if self.wish.mask.kind is not None:
            return self.wish.mask.kind
        if self.wish.mode == "prompt":
            return "drawn"
        if self.wish.on_sources:
            return "source"
        return "bank" if self.pool.measured else "none"

    def choose(self, source: ManifestRow | None, label: str | None, seed: int, stated: Mapping[str, float]) -> MaskPlan:
        """The mask of one sample.

        Args:
            source: Whose skin is painted on.
            label: The asked type.
            seed: Of the sample.
            stated: Features of `FROM_MASK` that were asked for.

        Raises:
            ConfigError: When masks of this kind cannot measure what is stated.
        """
        config, kind = self.wish.mask, self.kind
        if kind == "none":
            return MaskPlan("none")
        stated = {**stated, **({} if config.area is None else {"clinical_relative_area": config.area})}
        centre = config.position or _stated_centre(stated)
        if kind == "drawn":
            return self._draw(label, seed, stated, centre)
        area = stated.get("clinical_relative_area")
        if kind == "bank":
            labels = None if label is None else [label]
            changed = area is not None or centre is not None
            found = choose_from_bank(stated, self.pool, seed, labels, whole=changed)
            return replace(found, area=area, centre=centre)
        self._require_only_size_and_place(stated)
        if kind == "file":
            assert config.file is not None
            read_mask_file(Path(config.file), self.pool.size)  # an error now rather than after an hour
            return MaskPlan("file", file=config.file, area=area, centre=centre)
        assert source is not None
        return MaskPlan("source", image_id=source.image_id, area=area, centre=centre)

    def like_source(self, source: ManifestRow, seed: int, swept: str) -> MaskPlan:
        """A drawn lesion that measures what the source's own does: where a sweep of a shape starts."""
        own = measure_mask(self.pool.read_mask(source.image_id))
        targets = {name: own[name] for name in _DRAWN_TARGETS if name in own and name != swept}
        return fit_drawn(targets, self.pool, seed, fixed=self._fixed_shape(seed, targets))

    def from_bank_like(self, source: ManifestRow, label: str, seed: int, swept: str, value: float) -> MaskPlan:
        """A real lesion with the swept value, at the size and place of the source's own as far as it is not those."""
        own = measure_mask(self.pool.read_mask(source.image_id))
        found = choose_from_bank({swept: value}, self.pool, seed, [label], whole=True)
        drive = DRIVES[swept]
        if drive == "moved":
            x, y = own["clinical_centroid_x"], own["clinical_centroid_y"]
            return replace(found, centre=(value, y) if swept.endswith("_x") else (x, value))
        centre = (own["clinical_centroid_x"], own["clinical_centroid_y"])
        if drive == "scaled":
            return replace(found, area=value if swept == "clinical_relative_area" else None, centre=centre)
        return replace(found, area=own["clinical_relative_area"], centre=centre)

    def given(self, plan: MaskPlan) -> dict[str, float]:
        """What a mask measures, for vectors that are to go with it."""
        if plan.kind == "none":
            return {}
        measured = self.pool.measured.get(plan.image_id or "", {})
        if measured and plan.area is None and plan.centre is None:
            return {name: measured[name] for name in FROM_MASK if name in measured}
        mask_HW = render_mask(plan, self.pool)
        assert mask_HW is not None
        return measure_mask(mask_HW)

    def _draw(
        self, label: str | None, seed: int, stated: Mapping[str, float], centre: tuple[float, float] | None
    ) -> MaskPlan:
        place = {} if centre is None else {"clinical_centroid_x": centre[0], "clinical_centroid_y": centre[1]}
        targets = self.vectors.draw_shape_targets(label, seed, {**stated, **place}, _DRAWN_TARGETS)
        return fit_drawn(targets, self.pool, seed, fixed=self._fixed_shape(seed, targets))

    def _fixed_shape(self, seed: int, targets: Mapping[str, float]) -> dict[str, float]:
        """Parameters of the drawn lesion that are stated, or follow from a target."""
        config = self.wish.mask
        turn = float(np.random.default_rng([0x7475726E, seed]).uniform(0, math.pi))
        fixed = {"orientation": turn if config.orientation is None else config.orientation}
        if "shape_elongation" in targets:  # ours is short by long axis
            fixed["elongation"] = 1 / max(targets["shape_elongation"], 0.25)
        stated = {name: getattr(config, name) for name in ("elongation", "asymmetry", "irregularity")}
        return fixed | {name: value for name, value in stated.items() if value is not None}

    def _require_only_size_and_place(self, stated: Mapping[str, float]) -> None:
        for name in stated:
            if name not in ("clinical_relative_area", "clinical_centroid_x", "clinical_centroid_y"):
                raise ConfigError(
                    f"{name} follows from the mask, and mask.kind={self.kind} has its own",
                    cure="set mask.kind=drawn or mask.kind=bank, which are chosen to measure what is asked",
                )


def _stated_centre(stated: Mapping[str, float]) -> tuple[float, float] | None:
    x, y = stated.get("clinical_centroid_x"), stated.get("clinical_centroid_y")
    return None if x is None and y is None else (0.5 if x is None else x, 0.5 if y is None else y)
