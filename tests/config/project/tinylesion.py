"""What the test configs configure: small stand-ins for nets, without torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class TinyConfig:
    channels: int = 8
    channel_multipliers: tuple[int, ...] = (1, 2, 2)
    patch_nums: tuple[int, ...] = (1, 2, 4, 8)
    dropout: float = 0.0
    norm: Literal["group", "layer"] = "group"

    def __post_init__(self) -> None:
        if any(b <= a for a, b in zip(self.patch_nums, self.patch_nums[1:], strict=False)):
            raise ValueError(f"scales must grow strictly, got {self.patch_nums}")


@dataclass
class TinyNet:
    config: TinyConfig
    name: str = "tiny"


@dataclass
class TinyData:
    root: Path
    batch_size: int = 4
    num_workers: int | None = None
    overfit: int = 0
    names: list[str] = field(default_factory=list)


@dataclass
class TinyOptim:
    params: Any
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)


@dataclass
class TinyTrainer:
    max_steps: int = -1
    max_epochs: int | None = None
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "bf16-true"] | None = None
    accelerator: str = "auto"
    devices: int = 1
    val_check_interval: int | float | None = None
    overfit_batches: float = 0.0
    num_sanity_val_steps: int | None = None
    limit_train_batches: int | float | None = None
    limit_val_batches: int | float | None = None
    limit_test_batches: int | float | None = None
    enable_checkpointing: bool = True
    log_every_n_steps: int = 50
    detect_anomaly: bool = False
    profiler: str | None = None


class TinyCallback:
    def __init__(self, every: int = 1) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        self.every = every


class Loose:
    def __init__(self, first: int, *rest: int, **options: Any) -> None:
        self.first, self.rest, self.options = first, rest, options


class Broken:
    def __init__(self) -> None:
        raise RuntimeError("a bug of ours")
