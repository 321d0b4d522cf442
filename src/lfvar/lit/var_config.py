"""What a transformer is told in training, what its weights start from, and how its sizes follow from the data."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Literal, get_args

from lfvar.errors import ConfigError
from lfvar.interop.checkpoints import ConditionMeaning
from lfvar.nn.conditioning import ConditionDropConfig
from lfvar.nn.var import VARConfig
from lfvar.nn.vqvae import VQVAEConfig

Init = Literal["scratch", "published", "checkpoint"]


@dataclass(frozen=True)
class ConditionConfig:
    """Which conditions the net gets, and how often each is taken away. All three off: plain image generation."""

    label: bool = True
    """The lesion type."""
    measurements: bool = True
    """What was measured; needs `data.loader.measurements=true`."""
    mask: bool = False
    """Where the lesion mask is, token by token."""
    skin: bool = False
    """What the skin around the lesion is, token by token, for painting into photographs; needs `mask`."""
    drop: ConditionDropConfig = field(default_factory=ConditionDropConfig)
    """How often types and measurements are taken away."""
    own_mask: float = 0.7
    """Share of samples told their own lesion mask (`mask`)."""
    other_mask: float = 0.0
    """Share told the mask of another image of the step, so that the net learns to go on with whatever surrounds a mask,
    skin too; then a mask is no promise of a lesion, and edits may leave parts of it bare. The rest is told none, and
    learns whole images."""
    own_skin: float = 0.4
    """Share told the skin around their own lesion (`skin`), of those told their own mask; the rest invents its skin."""

    def __post_init__(self) -> None:
        for name in ("own_mask", "other_mask", "own_skin"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share in [0, 1], got {getattr(self, name)}")
        if self.own_mask + self.other_mask > 1 + 1e-9:
            raise ValueError(f"own_mask + other_mask must be at most 1, got {self.own_mask + self.other_mask:g}")
        if self.skin and not self.mask:
            raise ValueError("skin=true says what surrounds a lesion mask, and mask=false tells none")
        if self.skin and self.own_skin > self.own_mask:
            raise ValueError(
                f"own_skin is a share of all samples, out of those told their own mask: {self.own_skin:g} is more than "
                f"own_mask, {self.own_mask:g}"
            )


@dataclass(frozen=True)
class VARModel(VARConfig):
    """Sizes of a transformer and what its weights start from.

    How many types and measurements there are, the data say; whether they and the mask condition the net, `condition`
    says. `num_classes`, `num_measurements`, `mask_aware` and `skin_aware` follow from both (`fit_model`).
    """

    init: Init = "scratch"
    """`scratch`: random; `published`: a file in the layout of VAR (`var_d16.pth` …) or LF-VAR; `checkpoint`: a `.ckpt`
    of lfvar, with its averaged weights. Types and measurements that a file does not know start without effect."""
    weights: str | None = None
    """Path of the file that `init` reads."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.init not in get_args(Init):
            raise ValueError(f"init is one of {', '.join(get_args(Init))}, got {self.init!r}")
        if self.init != "scratch" and not self.weights:
            example = "VAR's var_d16.pth" if self.init == "published" else "a .ckpt of a transformer run"
            raise ConfigError(
                f"init={self.init} starts from a file, and weights names none",
                cure=f"add model.weights=PATH ({example}), or model.init=scratch",
            )
        if self.init == "scratch" and self.weights:
            raise ConfigError(
                f"weights={self.weights} would not be read: init=scratch starts from random numbers",
                cure="add model.init=published (VAR's layout) or model.init=checkpoint (ours), or drop model.weights",
            )

    @property
    def sizes(self) -> VARConfig:
        """The sizes alone: what checkpoints store and compare."""
        return VARConfig(**{item.name: getattr(self, item.name) for item in fields(VARConfig)})


def fit_model(
    model: VARConfig, condition: ConditionConfig, meaning: ConditionMeaning, tokenizer: VQVAEConfig
) -> VARConfig:
    """Sizes of the net for these data, conditions and tokenizer.

    Args:
        model: As configured; its condition sizes are replaced.
        condition: Which conditions are on.
        meaning: How many types and measurements the data have.
        tokenizer: Whose ids the net is to predict.

    Raises:
        ConfigError: When the tokenizer is of other sizes, naming each; when measurements are asked for and the data
            bring none; or when `model` switches off what `condition` switches on.
    """
    sizes = model.sizes if isinstance(model, VARModel) else model
    names = ("patch_nums", "vocab_size", "latent_channels")
    different = [(name, getattr(tokenizer, name), getattr(sizes, name)) for name in names]
    different = [(name, theirs, ours) for name, theirs, ours in different if theirs != ours]
    if different:
        found = "; ".join(f"{name} is {_show(theirs)} there and {_show(ours)} here" for name, theirs, ours in different)
        settings = " ".join(f"model.{name}={_show(theirs)}" for name, theirs, _ in different)
        raise ConfigError(
            f"the transformer does not fit the tokenizer: {found}", cure=f"set {settings}, or give another tokenizer"
        )
    if condition.measurements and not meaning.feature_names:
        raise ConfigError(
            "condition.measurements=true, but the data bring none",
            cure="set data.loader.measurements=true, or condition.measurements=false",
        )
    if condition.label and len(meaning.classes) < 1:
        raise ConfigError("condition.label=true, but the data have no types", cure="set condition.label=false")
    for on, name, size in (("label", "num_classes", "types"), ("measurements", "num_measurements", "measurements")):
        if getattr(condition, on) and getattr(sizes, name) == 0:
            raise ConfigError(
                f"model.{name}=0 is a net without {size}, but condition.{on}=true",
                cure=f"set condition.{on}=false, or leave model.{name} as it was",
            )
    if sizes.mask_aware and not condition.mask:
        raise ConfigError(
            "model.mask_aware=true, but condition.mask=false tells the net no mask", cure="set condition.mask=true"
        )
    if sizes.skin_aware and not condition.skin:
        raise ConfigError(
            "model.skin_aware=true, but condition.skin=false tells the net no skin", cure="set condition=skin"
        )
    return replace(
        sizes,
        num_classes=len(meaning.classes) if condition.label else 0,
        num_measurements=len(meaning.feature_names) if condition.measurements else 0,
        mask_aware=condition.mask,
        skin_aware=condition.skin,
    )


def _show(value: object) -> str:
    """As it is written on the command line."""
    return "[" + ",".join(map(str, value)) + "]" if isinstance(value, (tuple, list)) else str(value)
