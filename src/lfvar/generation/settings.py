"""What to generate: the settings of `python -m lfvar.generate`, each beside what it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from lfvar.errors import ConfigError
from lfvar.sampling.asking import WORDS
from lfvar.sampling.vectors import Base

Mode = Literal["intra", "inter", "matrix", "sweep", "balance", "whole", "prompt"]
MODES: tuple[str, ...] = get_args(Mode)
MaskKind = Literal["source", "file", "bank", "drawn", "none"]
Others = Literal["fixed", "follow", "free"]
Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class SourceConfig:
    """Which real images are edited."""

    split: Split | None = None
    """None: train for balance (its images are to be trained on), test for all other modes."""
    ids: tuple[str, ...] | None = None
    """These images, whatever their split; None: chosen by `types` and `count`."""
    types: tuple[str, ...] | None = None
    """Only images of these types; None: all."""
    count: int | None = None
    """That many, evenly over types and over the split; 0: all. None: one per type for matrix, 4 for sweep, all for
    balance, one per image of a sentence for prompt, else 8."""

    def __post_init__(self) -> None:
        _to_tuples(self, "ids", "types")
        _require_choice("sources.split", self.split, get_args(Split))
        _require_least("sources.count", self.count, 0)


@dataclass(frozen=True)
class AskConfig:
    """What is asked for."""

    types: tuple[str, ...] | None = None
    """Types to paint; None: the source's own (intra, sweep), all others (inter), all (matrix, whole), those that lack
    images (balance)."""
    measurements: Base | None = None
    """Where measurements come from: the `source` image, the `mean` of the type's profile, what is `expected` beside
    mask and stated values, a vector `sampled` that goes with them, or `none` (left free). None: source for intra and
    sweep, mean for inter and matrix, sampled for balance and whole, none for prompt."""
    set: Mapping[str, float | str] | None = None
    """Measurements that are stated on top: a number in natural units, or "very low" to "very high"."""
    num_samples: int | None = None
    """Images per request, with seeds that count up; None: 4 for intra, whole and prompt, else 1."""

    def __post_init__(self) -> None:
        _to_tuples(self, "types")
        _require_choice("ask.measurements", self.measurements, get_args(Base))
        _require_least("ask.num_samples", self.num_samples, 1)
        for name, value in self.stated.items():
            if isinstance(value, str) and value not in WORDS:
                raise ConfigError(
                    f"ask.set.{name}='{value}' is no value", cure=f"use a number, or one of: {', '.join(WORDS)}"
                )

    @property
    def stated(self) -> Mapping[str, float | str]:
        """`set`; empty where nothing is."""
        return self.set or {}


@dataclass(frozen=True)
class MaskConfig:
    """Where the lesion goes."""

    kind: MaskKind | None = None
    """The `source` image's lesion, a `file`, a real one from the training split (`bank`), one `drawn` from shape
    parameters, or `none` (whole images alone: the net places the lesion). None: source for edits, bank for whole
    images, drawn for prompts and for sweeps of a shape that no scaling of the source's lesion gives."""
    file: str | None = None
    """A mask at the size of the model, white = lesion (`kind=file`)."""
    area: float | None = None
    """Wanted area of the lesion by area of the image; None: as it comes (drawn: from the type's profile)."""
    position: tuple[float, float] | None = None
    """Wanted centroid, x and y from the left and top edge in [0, 1]; None: as it comes."""
    elongation: float | None = None
    """Long by short axis, 1 or more (`kind=drawn`); None: from the type's profile."""
    orientation: float | None = None
    """Of the long axis, as `lfvar.sampling.lesion_shapes.LesionShape` has it (`kind=drawn`); None: drawn by seed."""
    asymmetry: float | None = None
    """0 to 1 (`kind=drawn`); None: what gives the asymmetry of the type's profile."""
    irregularity: float | None = None
    """0 to 1 (`kind=drawn`); None: what gives the border of the type's profile."""

    def __post_init__(self) -> None:
        _to_tuples(self, "position")
        _require_choice("mask.kind", self.kind, get_args(MaskKind))
        if (self.kind == "file") != (self.file is not None):
            raise ConfigError(
                f"mask.kind={self.kind} and mask.file={self.file} do not fit",
                cure="set both mask.kind=file and mask.file=PATH, or neither",
            )
        if self.area is not None and not 0 < self.area < 1:
            raise ConfigError(f"mask.area={self.area} is no part of the image", cure="use a number between 0 and 1")
        for name in ("asymmetry", "irregularity"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"mask.{name}={value} is out of range", cure="use 0 to 1")
        if self.elongation is not None and self.elongation < 1:
            raise ConfigError(f"mask.elongation={self.elongation} is below 1", cure="use long by short axis")
        place = self.position
        if place is not None and (len(place) != 2 or not all(0 <= value <= 1 for value in place)):
            raise ConfigError(f"mask.position={list(place)} is no place", cure="use [x,y], each from 0 to 1")


@dataclass(frozen=True)
class SweepConfig:
    """One measurement from low to high."""

    feature: str | None = None
    """Its name in `lfvar.measure.schema`."""
    steps: int = 7
    low: float = 0.05
    """First step: probability in the type's profile."""
    high: float = 0.95
    """Last step."""
    values: tuple[float, ...] | None = None
    """These values instead, in natural units."""
    others: Others = "follow"
    """What becomes of the other measurements: they move as far as they are tied to the swept one among lesions of the
    type and stay as they are beyond that (`follow`); all stay (`fixed`: most of them then contradict the swept one, as
    dozens say how dark a lesion is, and the net goes by the majority); or are not asked for (`free`). What `ask.set`
    states stays."""

    def __post_init__(self) -> None:
        _to_tuples(self, "values")
        _require_choice("sweep.others", self.others, get_args(Others))
        _require_least("sweep.steps", self.steps, 2)
        if not 0 <= self.low < self.high <= 1:
            raise ConfigError(
                f"sweep.low={self.low} and sweep.high={self.high} are no range", cure="use 0 ≤ low < high ≤ 1"
            )
        if self.values is not None and len(self.values) < 2:
            raise ConfigError(f"sweep.values={list(self.values)} is no sweep", cure="give two values or more")


@dataclass(frozen=True)
class BalanceConfig:
    """Enough images of each type."""

    target: int | None = None
    """Real and generated images of each type together; None: as many as the most frequent type has."""
    max_factor: float = 0.0
    """At most that many generated images per real one of the type; 0: no limit."""
    sources: Literal["own", "any"] = "own"
    """Paint on images of the type itself, or on images of every type (more variety of skin, less of the type's own)."""

    def __post_init__(self) -> None:
        _require_choice("balance.sources", self.sources, ("own", "any"))
        _require_least("balance.target", self.target, 1)
        _require_least("balance.max_factor", self.max_factor, 0)


@dataclass(frozen=True)
class Wish:
    """Everything a plan is made from, but the data."""

    mode: Mode
    sources: SourceConfig = field(default_factory=SourceConfig)
    ask: AskConfig = field(default_factory=AskConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    balance: BalanceConfig = field(default_factory=BalanceConfig)
    prompts: tuple[str, ...] = ()
    seed: int = 0
    edits: bool | None = None
    """Paint on source images; None: in all modes but whole and prompt."""

    def __post_init__(self) -> None:
        _require_choice("mode", self.mode, MODES)
        if self.seed < 0:
            raise ConfigError(f"seed={self.seed} is negative", cure="use 0 or more")
        if self.mode == "whole" and self.edits:
            raise ConfigError("mode=whole makes images without a source, but edits=true", cure="use mode=inter")
        if self.edits is False and self.mode not in ("whole", "prompt"):
            raise ConfigError(f"mode={self.mode} paints on source images, but edits=false", cure="use mode=whole")
        if (self.mode == "prompt") != bool(self.prompts):
            found = "there is none" if not self.prompts else f"mode={self.mode} reads none"
            raise ConfigError(f"mode=prompt goes with prompt=…: {found}", cure="set mode=prompt prompt='\"…\"'")
        if (self.mode == "sweep") != (self.sweep.feature is not None):
            found = "it is not set" if self.mode == "sweep" else f"mode={self.mode} sweeps nothing"
            raise ConfigError(
                f"mode=sweep goes with sweep.feature=…: {found}",
                cure="set mode=sweep sweep.feature=clinical_colour_lightness (names: lfvar.measure.schema)",
            )
        if self.sweep.feature in self.ask.stated:
            raise ConfigError(
                f"ask.set.{self.sweep.feature} is stated, and sweep.feature moves it", cure="leave ask.set out"
            )
        self._require_effect()
        if self.mask.kind == "none" and self.on_sources:
            raise ConfigError(f"mask.kind=none, but mode={self.mode} edits images", cure="leave mask.kind out")
        if self.mask.kind == "source" and not self.on_sources:
            raise ConfigError(f"mask.kind=source, but mode={self.mode} has no source", cure="use bank, drawn or none")

    def _require_effect(self) -> None:
        """Raise for what is set and would do nothing."""
        if self.mode == "prompt" and self.ask.types:
            raise ConfigError("ask.types is set, but the sentence says the type", cure="name it in prompt=…")
        if self.mode == "balance" and self.ask.num_samples:
            raise ConfigError("ask.num_samples is set, but mode=balance counts itself", cure="set balance.target")

    @property
    def on_sources(self) -> bool:
        """Whether images are edited, rather than made as a whole."""
        return self.mode not in ("whole", "prompt") if self.edits is None else self.edits

    @property
    def base(self) -> Base:
        """Where measurements come from."""
        defaults: dict[str, Base] = {
            **{"intra": "source", "sweep": "source", "inter": "mean", "matrix": "mean"},
            **{"balance": "sampled", "whole": "sampled", "prompt": "none"},
        }
        base = self.ask.measurements or defaults[self.mode]
        if base == "source" and not self.on_sources:
            raise ConfigError(
                f"ask.measurements=source, but mode={self.mode} has no source", cure="use mean, sampled or none"
            )
        return base

    @property
    def num_samples(self) -> int:
        """Images per request."""
        return self.ask.num_samples or (4 if self.mode in ("intra", "whole", "prompt") else 1)

    @property
    def split(self) -> str:
        """Whose images are edited."""
        return self.sources.split or ("train" if self.mode == "balance" else "test")


def _to_tuples(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None:
            object.__setattr__(config, name, tuple(value))


def _require_choice(name: str, value: str | None, allowed: tuple[str, ...]) -> None:
    if value is not None and value not in allowed:
        raise ConfigError(f"{name}={value} is unknown", cure=f"use one of: {', '.join(allowed)}")


def _require_least(name: str, value: float | None, low: float) -> None:
    if value is not None and value < low:
        raise ConfigError(f"{name}={value} is out of range", cure=f"use {low:g} or more")
