"""How hard the tokenizer's opponent is, and from when on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from lfvar.lit.optim import OptimConfig
from lfvar.losses.diffaug import DiffAugConfig
from lfvar.nn.discriminator import PatchDiscriminatorConfig


@dataclass(frozen=True)
class AdversaryConfig:
    """How hard the opponent is, and from when on. Fractions are of the tokenizer's steps."""

    discriminator: PatchDiscriminatorConfig = field(default_factory=PatchDiscriminatorConfig)
    """Sizes; the same for both views."""
    diffaug: DiffAugConfig = field(default_factory=DiffAugConfig)
    """Augmentation of all that the discriminators see."""
    lr: float = 3e-4
    """Peak learning rate of the discriminators; warm-up and cosine decay begin when they do."""
    betas: tuple[float, float] = (0.5, 0.9)
    """AdamW's momenta, short as both sides keep moving."""
    weight_decay: float = 0.0005
    """On weights of two and more dimensions."""
    clip_norm: float = 10.0
    """Largest norm of all gradients together; 0: no clipping."""
    warmup_steps: int = 100
    """Steps from 0 to the peak; no more than a tenth of what is left of the run is used."""
    final_fraction: float = 0.3
    """Learning rate at the end, relative to the peak."""
    weight: float = 0.4
    """Strength of the adversarial gradient at the decoder's last layer, relative to the reconstruction's."""
    cap: float = 1.0
    """Largest adaptive weight (`adaptive_weight`), before `weight` multiplies it."""
    start_fraction: float = 0.2
    """Share of the run that passes before anything here happens."""
    ramp_fraction: float = 0.05
    """Share of the run over which `weight` grows from 0 after the start, while the discriminators find their feet."""
    every: int = 1
    """The discriminators step at every n-th step of the tokenizer."""
    lecam_weight: float = 0.001
    """Strength of LeCam regularisation; 0: none."""
    lecam_decay: float = 0.99
    """Share of the old anchors that LeCam keeps at each step."""
    focus: float = 0.0
    """λ of the per-position weight 1 + λ·m on the logits that the decoder answers to."""
    lesion_weight: float = 0.0
    """Strength of a second discriminator that sees the lesion's surroundings only, relative to the first; 0: none."""
    lesion_size_fraction: float = 0.5
    """Side of what that one sees, relative to the image; lesions are enlarged twice at most."""
    lesion_margin: float = 0.1
    """Skin around the lesion's bounding box, on each side, relative to its longer side."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))
        _ = self.optim  # checks what it is made of
        for name in ("weight", "cap", "lecam_weight", "focus", "lesion_weight", "lesion_margin"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("start_fraction", "ramp_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share of the run in [0, 1], got {getattr(self, name)}")
        if not 0 <= self.lecam_decay < 1:
            raise ValueError(f"lecam_decay must be in [0, 1), got {self.lecam_decay}")
        if not 0 < self.lesion_size_fraction <= 1:
            raise ValueError(f"lesion_size_fraction must be in (0, 1], got {self.lesion_size_fraction}")
        if self.every < 1:
            raise ValueError(f"every must be at least 1, got {self.every}")

    @property
    def optim(self) -> OptimConfig:
        """Optimizer and schedule, in the form that `lfvar.lit.optim` takes."""
        names = ("lr", "betas", "weight_decay", "clip_norm", "warmup_steps", "final_fraction")
        return OptimConfig(**{name: getattr(self, name) for name in names})

    def start_step(self, total_steps: int) -> int:
        """First tokenizer step with an adversary."""
        return math.ceil(self.start_fraction * total_steps)

    def ramp(self, step: int, total_steps: int) -> float:
        """What `weight` is multiplied with: 0 before the start, then up to 1."""
        done = step - self.start_step(total_steps)
        if done < 0:
            return 0.0
        return min((done + 1) / max(self.ramp_fraction * total_steps, 1), 1.0)
