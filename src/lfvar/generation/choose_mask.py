"""Which mask a planned sample gets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lfvar.data.manifest import ManifestRow
from lfvar.errors import ConfigError
from lfvar.generation.mask_search import DRIVES, choose_from_bank, fit_drawn, place
from lfvar.generation.masks import read_mask_file, render_mask, size_and_place
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

_SIZE_AND_PLACE = frozenset({"clinical_relative_area", "clinical_centroid_x", "clinical_centroid_y"})
_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "area": ("clinical_relative_area",),
    "position": ("clinical_centroid_x", "clinical_centroid_y"),
    "elongation": ("shape_elongation",),
    "asymmetry": ("clinical_asymmetry_shape_max", "clinical_asymmetry_shape_min"),
    "irregularity": ("clinical_border_compactness", "clinical_border_radial_variation", "shape_sphericity"),
}
"""Settings of `MaskConfig`, and what they decide."""


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
            ConfigError: When masks of this kind cannot measure what is stated, or `MaskConfig` says another thing.
        """
        config, kind = self.wish.mask, self.kind
        stated = self._with_settings(stated)
        if kind == "drawn":
            return self._draw(label, seed, stated)
        self._refuse_settings("elongation", "orientation", "asymmetry", "irregularity")
        if kind == "none":
            self._refuse_settings("area", "position")
            return MaskPlan("none")
        area = stated.get("clinical_relative_area")
        if kind == "bank":
            labels = None if label is None else [label]
            found = choose_from_bank(stated, self.pool, seed, labels, whole=bool(stated.keys() & _SIZE_AND_PLACE))
            return place(replace(found, area=area), stated, self.pool)
        self._require_only_size_and_place(stated)
        if kind == "file":
            assert config.file is not None
            read_mask_file(Path(config.file), self.pool.size)  # an error now rather than after an hour
            return place(MaskPlan("file", file=config.file, area=area), stated, self.pool)
        assert source is not None
        return place(MaskPlan("source", image_id=source.image_id, area=area), stated, self.pool)

    def like_source(self, source: ManifestRow, seed: int, swept: str, stated: Mapping[str, float]) -> MaskPlan:
        """A drawn lesion that measures what the source's own does, but for what is stated: where a sweep starts."""
        own = self._measure(source) | self._with_settings(stated)
        targets = {name: own[name] for name in _DRAWN_TARGETS if name in own and name != swept}
        return fit_drawn(targets, self.pool, seed, fixed=self._fixed_shape(seed, targets))

    def from_bank_like(
        self, source: ManifestRow, label: str, seed: int, swept: str, value: float, stated: Mapping[str, float]
    ) -> MaskPlan:
        """A real lesion with the swept value, at the size and place of the source's own as far as it is not those."""
        self._refuse_settings("elongation", "orientation", "asymmetry", "irregularity")
        stated = self._with_settings(stated)
        wanted = self._measure(source) | stated | {swept: value}
        found = choose_from_bank({**stated, swept: value}, self.pool, seed, [label], whole=True)
        sized = DRIVES[swept] != "scaled" or swept == "clinical_relative_area"
        return place(replace(found, area=wanted["clinical_relative_area"] if sized else None), wanted, self.pool)

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

    def _measure(self, source: ManifestRow) -> dict[str, float]:
        """What the source's own lesion measures; of a tiny one, size and place alone."""
        mask_HW = self.pool.read_mask(source.image_id)
        return size_and_place(mask_HW) | measure_mask(mask_HW)

    def _with_settings(self, stated: Mapping[str, float]) -> dict[str, float]:
        """What is stated, by `MaskConfig` too.

        Raises:
            ConfigError: When both say something of one thing.
        """
        config = self.wish.mask
        for setting, names in _SETTINGS.items():
            twice = [name for name in names if name in stated]
            if twice and (value := getattr(config, setting)) is not None:
                raise ConfigError(
                    f"mask.{setting}={value}, and {twice[0]}={stated[twice[0]]:.3g} is asked for",
                    cure="leave one of them out",
                )
        found = dict(stated)
        if config.area is not None:
            found["clinical_relative_area"] = config.area
        if config.position is not None:
            found["clinical_centroid_x"], found["clinical_centroid_y"] = config.position
        return found

    def _refuse_settings(self, *names: str) -> None:
        """Raise a ConfigError for settings that do nothing to masks of this kind."""
        for name in names:
            if getattr(self.wish.mask, name) is not None:
                raise ConfigError(
                    f"mask.{name} is set, and has no effect on mask.kind={self.kind}",
                    cure="set mask.kind=drawn, or leave it out",
                )

    def _draw(self, label: str | None, seed: int, stated: Mapping[str, float]) -> MaskPlan:
        targets = self.vectors.draw_shape_targets(label, seed, stated, _DRAWN_TARGETS)
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
            if name not in _SIZE_AND_PLACE:
                raise ConfigError(
                    f"{name} follows from the mask, and mask.kind={self.kind} has its own",
                    cure="set mask.kind=drawn or mask.kind=bank, which are chosen to measure what is asked",
                )
