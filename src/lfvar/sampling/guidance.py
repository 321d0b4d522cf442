"""Classifier-free guidance with a strength of its own for the lesion type and for the measurements.

As InstructPix2Pix (arXiv 2211.09800, eq. 3) does for image and text, with w = 1 + strength:

    l = l(∅,∅) + w_c [l(c,∅) - l(∅,∅)] + w_m [l(c,m) - l(c,∅)]
      = l(c,m) + s_m l(c,m) + (s_c - s_m) l(c,∅) - s_c l(∅,∅)

Equal strengths need two evaluations (this is VAR's guidance), different ones three. Strengths grow from 0 at the first
scale to their full value at the last: colour and layout come from the condition alone, detail is sharpened.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from lfvar.errors import ConfigError
from lfvar.nn.conditioning import Condition, Conditioning

Ramp = Literal["linear", "constant"]


@dataclass(frozen=True)
class Guidance:
    """How strongly a sample is pushed towards its condition; 0 is the plain conditional distribution."""

    class_strength: float = 0.0
    """s_c, for the lesion type; VAR's "cfg"."""
    measurement_strength: float | None = None
    """s_m, for the measurements; None: as for the type, at two evaluations instead of three."""
    ramp: Ramp = "linear"
    """"linear": from 0 at the first scale to the full strength at the last; "constant": full at every scale."""

    def __post_init__(self) -> None:
        if self.ramp not in get_args(Ramp):
            raise ValueError(f"ramp is one of {', '.join(get_args(Ramp))}, got {self.ramp!r}")

    def share(self, k: int, num_scales: int) -> float:
        """The part of the full strength that scale k gets, in [0, 1]."""
        return 1.0 if self.ramp == "constant" else k / max(num_scales - 1, 1)


@dataclass(frozen=True)
class Branch:
    """One evaluation of the net and what its logits count for."""

    drop_label: bool
    drop_measurements: bool
    weight: float
    """At full strength. Weights of all branches sum to 0; the full condition's logits come on top."""


def guidance_branches(guidance: Guidance, conditioning: Conditioning) -> list[Branch]:
    """The evaluations that a guided sample takes, the full condition first.

    A net that has no input for a condition, or cannot do without it, sees no difference between some of the three
    branches; those are merged. For LF-VAR's encoder this leaves l(c,m) and l(∅,m), the guidance its authors use.

    Raises:
        ConfigError: When measurements are to be guided by a net that never learned to do without them.
    """
    class_strength, strength = guidance.class_strength, guidance.measurement_strength
    if strength and not conditioning.can_drop_measurements:
        raise ConfigError(
            f"guidance.measurement_strength={strength:g} needs a net that learned to do without measurements, "
            "and this one did not",
            cure="leave it out (class_strength guides by all that the net is told), or train with "
            "model.measurement_kind=periodic or piecewise",
        )
    if strength is None:
        strength = class_strength
    wanted = {(False, False): strength, (False, True): class_strength - strength, (True, True): -class_strength}
    merged: dict[tuple[bool, bool], float] = {(False, False): 0.0}
    for (drop_label, drop_measurements), weight in wanted.items():
        key = (drop_label and conditioning.num_classes > 0, drop_measurements and conditioning.can_drop_measurements)
        merged[key] = merged.get(key, 0.0) + weight
    full = Branch(False, False, merged.pop((False, False)))
    return [full, *(Branch(*key, weight) for key, weight in merged.items() if weight != 0)]


def branch_conditions(condition: Condition, branches: list[Branch], conditioning: Conditioning) -> Condition:
    """The condition as every branch sees it, stacked along B, branch by branch."""
    return Condition.cat(
        [conditioning.without(condition, label=b.drop_label, measurements=b.drop_measurements) for b in branches]
    )


def combine_branches(logits_RlV: Tensor, branches: list[Branch], share: float) -> Tensor:
    """Guided logits (B, l, V).

    Args:
        logits_RlV: Logits of all branches, stacked along the first dimension as by `branch_conditions`; or (R·n, V).
        branches: What each counts for.
        share: The part of the full strength that counts at this scale.
    """
    pieces = logits_RlV.tensor_split(len(branches))
    if len(branches) == 1 or share == 0:
        return pieces[0]
    guided_BlV = pieces[0] * (1 + share * branches[0].weight)
    for piece_BlV, branch in zip(pieces[1:], branches[1:], strict=True):
        guided_BlV.add_(piece_BlV, alpha=share * branch.weight)
    return guided_BlV
