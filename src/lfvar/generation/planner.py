"""What planning is about whatever the mode: which sources, which seeds, what one sample is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches

from lfvar.data.manifest import ManifestRow
from lfvar.errors import ConfigError, DataError
from lfvar.generation.choose_mask import MaskChooser
from lfvar.generation.plan import MaskPlan, PlannedSample
from lfvar.generation.pool import Pool, choose_sources, require_types
from lfvar.generation.prompts import ReadPrompt
from lfvar.generation.settings import Wish
from lfvar.measure.schema import FEATURE_NAMES, FROM_MASK
from lfvar.sampling.asking import resolve_words
from lfvar.sampling.vectors import Vectors

_UNUSED = "-"  # image ids are given when the plan is complete


@dataclass(frozen=True)
class Planner:
    """What all modes need."""

    wish: Wish
    pool: Pool
    vectors: Vectors
    classes: tuple[str, ...]
    """Types that the net knows."""
    prompts: tuple[ReadPrompt, ...] = ()
    """What the prompts of the wish mean."""

    def plan(self, make_samples: Callable[[Planner], Iterable[PlannedSample]], prefix: str) -> list[PlannedSample]:
        """All samples, checked and numbered.

        Args:
            make_samples: Of a mode.
            prefix: Of image ids.

        Raises:
            ConfigError: When a type, a measurement or an image is unknown, or settings do not fit each other.
            DataError: When there is nothing to paint on, or nothing to do.
            ArtefactError: When measurements are needed and missing.
        """
        require_types(self.wish.ask.types, self.classes, "ask.types")
        for name in self.wish.ask.stated:
            self.require_feature(name, f"ask.set.{name}")
        samples = list(make_samples(self))
        if not samples:
            raise DataError(
                f"mode={self.wish.mode} has nothing to make with these settings", cure="see docs/generating.md"
            )
        return [replace(sample, image_id=f"{prefix}_{index:05d}") for index, sample in enumerate(samples)]

    @property
    def masks(self) -> MaskChooser:
        """Chooses masks."""
        return MaskChooser(self.wish, self.pool, self.vectors)

    def sources(self, default: int) -> list[ManifestRow]:
        """The images to paint on; their types must be known to the net."""
        count = self.wish.sources.count
        rows = choose_sources(self.pool, self.wish.sources, self.wish.split, default if count is None else count)
        require_types(sorted({row.label for row in rows}), self.classes, "the type of a source image:")
        return rows

    @property
    def known(self) -> frozenset[str]:
        """Measurements that the net takes, or that a mask can be given."""
        return frozenset(self.vectors.names) | (frozenset(FROM_MASK) if self.masks.kind != "none" else frozenset())

    def seeds(self) -> list[tuple[int, int]]:
        """Number and seed of the samples of one request."""
        return [(number, self.wish.seed + number) for number in range(self.wish.num_samples)]

    def require_feature(self, name: str, where: str) -> None:
        """Make sure that a measurement exists, and that the net or the mask can give it.

        Raises:
            ConfigError: When it does not.
        """
        if name not in FEATURE_NAMES:
            near = get_close_matches(name, FEATURE_NAMES, n=3, cutoff=0.5)
            raise ConfigError(
                f"{where}: there is no measurement '{name}'",
                cure=f"did you mean {' or '.join(near)}?" if near else "names are in lfvar.measure.schema",
            )
        if name not in self.known:
            raise ConfigError(
                f"{where}: the transformer was not trained with '{name}'",
                cure=f"it takes {len(self.vectors.names)} others: {', '.join(self.vectors.names[:4])} …"
                if self.vectors.names
                else "it was trained without measurements; train with data.loader.measurements=true",
            )

    def stated(self, label: str | None) -> dict[str, float]:
        """`ask.set` in natural units."""
        return resolve_words(self.wish.ask.stated, label, self.vectors.profiles)

    def make(
        self,
        source: ManifestRow | None,
        label: str | None,
        number: int,
        seed: int,
        *,
        mask: MaskPlan | None = None,
        stated: Mapping[str, float] | None = None,
        prompt: str | None = None,
        sheet: str,
        row: str,
        column: str,
    ) -> PlannedSample:
        """One sample.

        Args:
            source: Whose skin is painted on.
            label: The asked type.
            number: Of the sample within its request.
            seed: Of the sample.
            mask: Its mask; None: as `MaskConfig` says.
            stated: What is asked beyond the base; None: `ask.set`.
            prompt: The sentence that asks for it.
            sheet: Contact sheet, row and column that it is shown on.
            row: See `sheet`.
            column: See `sheet`.
        """
        stated = self.stated(label) if stated is None else stated
        shape = {name: value for name, value in stated.items() if name in FROM_MASK}
        mask = mask or self.masks.choose(source, label, seed, shape)
        has_mask = mask.kind != "none"
        told = {name: value for name, value in stated.items() if not (has_mask and name in FROM_MASK)}
        base = self.wish.base
        vector = self.vectors.base(
            base,
            label,
            measured=self.pool.measurements_of(source.image_id) if base == "source" and source else {},
            seed=seed,
            given={**(self.masks.given(mask) if base in ("expected", "sampled") else {}), **told},
        )
        asked = {**vector, **{name: value for name, value in told.items() if name in self.vectors.names}}
        return PlannedSample(
            image_id=_UNUSED,
            mode=self.wish.mode,
            label=label,
            seed=seed,
            sample=number,
            asked={name: value for name, value in asked.items() if not (has_mask and name in FROM_MASK)},
            mask=mask,
            source_id=None if source is None else source.image_id,
            prompt=prompt,
            wanted=shape if has_mask else {},
            sheet=sheet,
            row=row,
            column=column,
        )
