"""The settings of stage 0."""

from __future__ import annotations

from dataclasses import dataclass

from lfvar.data.framing import FRAMING_KINDS, FramingKind
from lfvar.errors import ConfigError


@dataclass(frozen=True)
class PrepareConfig:
    """How to prepare a dataset."""

    image_size: int = 256
    """Side of the prepared square in pixels."""
    framing: FramingKind = "lesion"
    margin: float = 1.25
    """See `lfvar.data.framing.choose_frame`."""
    min_side: float = 1.0
    min_lesion_fraction: float = 0.001
    """Of the prepared square; smaller lesions are rejected as empty."""
    max_lesion_fraction: float = 0.99
    """Of the prepared square; larger lesions are rejected as full."""
    min_images: int = 10
    """Fail when fewer are left."""
    max_rejected_fraction: float = 0.5
    """Fail when more of the listed images are rejected: then a pattern or a folder is wrong rather than the images."""
    workers: int = 0
    """Processes; 0 is one per core, 1 works in this process."""
    overwrite: bool = False
    """Replace what other settings made in the same folder."""

    def __post_init__(self) -> None:
        if self.image_size < 8:
            raise ConfigError(f"image_size is {self.image_size}", cure="use at least 8 pixels")
        if self.framing not in FRAMING_KINDS:
            raise ConfigError(f"framing is '{self.framing}'", cure=f"use one of {', '.join(FRAMING_KINDS)}")
        if self.margin < 1:
            raise ConfigError(f"margin is {self.margin}", cure="use 1 (tight) or more; 1.25 leaves some skin")
        if not 0 < self.min_side <= 1:
            raise ConfigError(f"min_side is {self.min_side}", cure="use a fraction of the short side, up to 1")
        if not 0 <= self.min_lesion_fraction < self.max_lesion_fraction <= 1:
            raise ConfigError(
                f"min_lesion_fraction {self.min_lesion_fraction} and max_lesion_fraction {self.max_lesion_fraction} "
                "are no range",
                cure="use 0 ≤ min_lesion_fraction < max_lesion_fraction ≤ 1",
            )
        if not 0 <= self.max_rejected_fraction <= 1:
            raise ConfigError(f"max_rejected_fraction is {self.max_rejected_fraction}", cure="use a fraction up to 1")
        if self.min_images < 1 or self.workers < 0:
            raise ConfigError(
                f"min_images is {self.min_images} and workers is {self.workers}",
                cure="use min_images ≥ 1 and workers ≥ 0 (0: one per core)",
            )

    def describe(self) -> dict[str, object]:
        """The settings that decide pixels and rejections."""
        names = ("image_size", "framing", "margin", "min_side", "min_lesion_fraction", "max_lesion_fraction")
        return {name: getattr(self, name) for name in names}
