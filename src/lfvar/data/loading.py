"""How images reach a model: settings alone, so that commands that train nothing need no Lightning to check them."""

from __future__ import annotations

from dataclasses import dataclass

from lfvar.data.measurements import select_features
from lfvar.data.transforms import Augment
from lfvar.errors import ConfigError


@dataclass(frozen=True)
class LoaderConfig:
    """How images reach the model."""

    batch_size: int = 32
    """Images per optimizer step, over all processes together."""
    val_batch_size: int = 64
    """Images per validation batch and process; no result depends on it."""
    num_workers: int = -1
    """Loading processes per training process, for training and validation each; -1: half of its cores, which it shares
    with the other processes of the run on its machine; none below four cores."""
    seed: int = 0
    """Decides order and augmentation."""
    augment: Augment = "crops"
    """Of training images; see `lfvar.data.transforms`."""
    overfit: int = 0
    """Train and validate on this many training images without augmentation, to see whether a model can learn at all."""
    balanced: bool = False
    """Draw every lesion type equally often in training; an epoch keeps its length."""
    measurements: bool = False
    """Give standardised measurements with every image; see `lfvar.data.measurements`."""
    features: tuple[str, ...] | None = None
    """Which measurements: names, or groups (shape, histogram, texture, clinical); None: all."""

    def __post_init__(self) -> None:
        if self.features is not None:
            object.__setattr__(self, "features", tuple(self.features))
        for name in ("batch_size", "val_batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.num_workers < -1:
            raise ValueError(f"num_workers is -1 (choose) or a count, got {self.num_workers}")
        if self.overfit < 0:
            raise ValueError(f"overfit is a number of images, got {self.overfit}")
        if self.augment not in ("crops", "symmetries", "none"):
            raise ValueError(f"augment is 'crops', 'symmetries' or 'none', got {self.augment!r}")
        if self.features is not None:
            select_features(self.features)
        if self.measurements and self.augment == "crops":
            raise ConfigError(
                "data.loader.measurements=true with data.loader.augment=crops: measurements describe the image as "
                "prepared, and a crop has others",
                cure="set data.loader.augment=symmetries (or none), which leaves them as they are",
            )
