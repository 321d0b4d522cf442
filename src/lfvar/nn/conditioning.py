"""What steers the transformer: lesion type, measurements, a region per token, and the skin around; each can be absent.

Types and measurements become one vector per sample (start token and AdaLN), regions and skin one vector per token.
`drop_condition` takes conditions away in training, so that the net also learns what it predicts without them:
that is what guidance needs, and what lets a user state only some properties.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lfvar.nn.feature_embedding import LFVARMeasurementEncoder, MeasurementEmbedding
from lfvar.nn.precision import float32_exact
from lfvar.nn.resize import area_resize
from lfvar.scales import ScaleSchedule

MeasurementKind = Literal["periodic", "piecewise", "lfvar"]
MEASUREMENT_KINDS: tuple[MeasurementKind, ...] = get_args(MeasurementKind)


class Region(IntEnum):
    """Where a token lies with respect to the lesion mask."""

    UNKNOWN = 0
    """The sample comes without a mask."""
    OUTSIDE = 1
    INSIDE = 2
    """Its cell overlaps the mask, however little."""


@dataclass(frozen=True)
class Condition:
    """What is asked of each sample. All tensors share B and the device."""

    label_B: Tensor
    """int64, index of the lesion type; the number of types means "any"."""
    measurements_BM: Tensor | None = None
    """float32, standardised (min-max scaled for LF-VAR's encoder); None: no measurements."""
    present_BM: Tensor | None = None
    """bool, False where a measurement is not asked for; None: all are."""
    region_BL: Tensor | None = None
    """int64 `Region` of every token of every scale (`lfvar.nn.mask_pyramid.token_regions`); None: unknown."""
    skin_BChw: Tensor | None = None
    """float32, f̂ of the image without its lesion (`lfvar.sampling.filling.without_lesion`): the skin that a sample has
    to go on with. None: it may invent its skin."""
    told_skin_B: Tensor | None = None
    """bool, False for samples that are not told their row of `skin_BChw`; None: all are."""

    def __post_init__(self) -> None:
        if self.skin_BChw is not None and self.told_skin_B is None:
            told_B = torch.ones(self.skin_BChw.shape[0], dtype=torch.bool, device=self.skin_BChw.device)
            object.__setattr__(self, "told_skin_B", told_B)
        if self.measurements_BM is not None and self.present_BM is None:
            present_BM = torch.ones_like(self.measurements_BM, dtype=torch.bool)
            object.__setattr__(self, "present_BM", present_BM)
        shapes = {name: tuple(t.shape) for name, t in vars(self).items() if t is not None}
        if len({shape[0] for shape in shapes.values()}) > 1 or (
            self.measurements_BM is not None and shapes["measurements_BM"] != shapes["present_BM"]
        ):
            raise ValueError(f"the parts of a condition do not fit together: {shapes}")

    def __len__(self) -> int:
        return self.label_B.shape[0]

    def to(self, device: torch.device | str) -> Condition:
        """The same on another device."""
        return self._map(lambda tensor: tensor.to(device))

    def rows(self, index: slice | Tensor) -> Condition:
        """The samples that `index` selects."""
        return self._map(lambda tensor: tensor[index])

    @staticmethod
    def cat(conditions: Sequence[Condition]) -> Condition:
        """Stack conditions that have the same parts."""
        first = conditions[0]
        parts = {name: [getattr(c, name) for c in conditions] for name, t in vars(first).items() if t is not None}
        return replace(first, **{name: torch.cat(tensors) for name, tensors in parts.items()})

    def _map(self, change: Callable[[Tensor], Tensor]) -> Condition:
        return replace(self, **{name: change(t) for name, t in vars(self).items() if t is not None})


class Conditioning(nn.Module):
    """Condition to vectors: class table with a null row, measurement path, region table, skin path.

    Args:
        width: D.
        num_classes: Lesion types; 0: a net without them.
        num_measurements: M; 0: a net without them.
        kind: How measurements are encoded.
        feature_width: Width of the vector of one measurement.
        mask_aware: Embed the region of each token (starts at zero).
        skin_channels: C of the skin's features, embedded at each token (starts at zero); 0: a net without them.
    """

    def __init__(
        self,
        width: int,
        num_classes: int,
        num_measurements: int,
        *,
        kind: MeasurementKind = "periodic",
        feature_width: int = 16,
        mask_aware: bool = False,
        skin_channels: int = 0,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.num_measurements = num_measurements
        self.classes = nn.Embedding(num_classes + 1, width)
        nn.init.trunc_normal_(self.classes.weight, std=(3 * width) ** -0.5)
        self.measurements: MeasurementEmbedding | LFVARMeasurementEncoder | None = None
        if num_measurements and kind == "lfvar":
            self.measurements = LFVARMeasurementEncoder(num_measurements, width)
        elif num_measurements:
            self.measurements = MeasurementEmbedding(
                num_measurements,
                width,
                kind="piecewise" if kind == "piecewise" else "periodic",
                feature_width=feature_width,
            )
        self.regions: nn.Embedding | None = None
        if mask_aware:
            self.regions = nn.Embedding(len(Region), width, padding_idx=Region.UNKNOWN)
            nn.init.zeros_(self.regions.weight)
        self.skin: nn.Linear | None = None
        if skin_channels:
            self.skin = nn.Linear(skin_channels, width)
            nn.init.zeros_(self.skin.weight)
            nn.init.zeros_(self.skin.bias)

    @property
    def null_class(self) -> int:
        """The label that means "any type"."""
        return self.num_classes

    @property
    def can_drop_measurements(self) -> bool:
        """Whether the net knows what to do without measurements (LF-VAR's encoder does not)."""
        return isinstance(self.measurements, MeasurementEmbedding)

    def forward(self, condition: Condition) -> Tensor:
        """The condition of each sample as one vector, (B, D).

        Raises:
            ValueError: When the condition holds measurements the net was built without, or other ones.
        """
        vector_BD = self.classes(condition.label_B)
        values_BM, present_BM = condition.measurements_BM, condition.present_BM
        if values_BM is not None and values_BM.shape[1] != self.num_measurements:
            raise ValueError(f"{values_BM.shape[1]} measurements given to a net for {self.num_measurements}")
        if self.measurements is None:
            return vector_BD
        if isinstance(self.measurements, LFVARMeasurementEncoder):
            if values_BM is None or present_BM is None:
                raise ValueError("a net with LF-VAR's measurement encoder needs measurements for every sample")
            return vector_BD + self.measurements(values_BM)
        if values_BM is None or present_BM is None:
            values_BM = torch.zeros(len(condition), self.num_measurements, device=vector_BD.device)
            present_BM = torch.zeros_like(values_BM, dtype=torch.bool)
        return vector_BD + self.measurements(values_BM, present_BM)

    def token_regions(self, condition: Condition, num_tokens: int) -> Tensor | None:
        """`Region` of each token, int64 (B, L), unknown where the condition does not say; None without `mask_aware`.

        Raises:
            ValueError: When regions are given to a net that does not look at them, or not one per token.
        """
        region_BL = condition.region_BL
        if self.regions is None:
            if region_BL is not None:
                raise ValueError("regions given to a net built without mask_aware")
            return None
        if region_BL is None:
            return torch.zeros(len(condition), num_tokens, dtype=torch.int64, device=condition.label_B.device)
        if region_BL.shape[1] != num_tokens:
            raise ValueError(f"{region_BL.shape[1]} regions given for {num_tokens} tokens")
        return region_BL

    def token_skin(self, condition: Condition, schedule: ScaleSchedule) -> Tensor | None:
        """What each token is told of the skin at its place and scale, (B, L, D); None in a net without `skin_channels`.

        Zero for samples that are told nothing. The features are resized by area, as the net's inputs are.

        Raises:
            ValueError: When skin is given to a net built without skin_aware.
        """
        skin_BChw, told_B = condition.skin_BChw, condition.told_skin_B
        if self.skin is None:
            if skin_BChw is not None:
                raise ValueError("skin given to a net built without skin_aware")
            return None
        if skin_BChw is None or told_B is None:  # through the layer all the same: DDP waits for its gradient
            skin_BChw = self.skin.weight.new_zeros(len(condition), self.skin.in_features, *2 * (schedule.latent_size,))
            told_B = torch.zeros_like(condition.label_B, dtype=torch.bool)
        with float32_exact(skin_BChw.device):
            maps = [area_resize(skin_BChw.float(), side).flatten(2) for side in schedule.patch_nums]
        return self.skin(torch.cat(maps, dim=2).transpose(1, 2)) * told_B[:, None, None]

    def usable(self, condition: Condition) -> Condition:
        """The parts of a condition that this net has an input for: ablations train on the same batches."""
        keep_values = self.measurements is not None
        return Condition(
            label_B=condition.label_B if self.num_classes else torch.zeros_like(condition.label_B),
            measurements_BM=condition.measurements_BM if keep_values else None,
            present_BM=condition.present_BM if keep_values else None,
            region_BL=condition.region_BL if self.regions is not None else None,
            skin_BChw=condition.skin_BChw if self.skin is not None else None,
            told_skin_B=condition.told_skin_B if self.skin is not None else None,
        )

    def without(self, condition: Condition, *, label: bool = False, measurements: bool = False) -> Condition:
        """The condition with the type, the measurements, or both taken away."""
        if label:
            condition = replace(condition, label_B=torch.full_like(condition.label_B, self.null_class))
        if measurements and condition.present_BM is not None:
            condition = replace(condition, present_BM=torch.zeros_like(condition.present_BM))
        return condition


@dataclass(frozen=True)
class ConditionDropConfig:
    """How often training takes conditions away. The first four exclude each other and sum to at most 1."""

    joint: float = 0.05
    """Share of samples that lose type and measurements."""
    label: float = 0.05
    """Share that loses the type only."""
    measurements: float = 0.05
    """Share that loses the measurements only."""
    sparse: float = 0.15
    """Share that keeps a random few measurements: prompts rarely state more (the count's logarithm is uniform)."""
    group: float = 0.1
    """Chance of each group of measurements (shape, histogram, …) to be lost, in all samples."""

    def __post_init__(self) -> None:
        for name, rate in vars(self).items():
            if not 0 <= rate <= 1:
                raise ValueError(f"{name} is a share in [0, 1], got {rate}")
        total = self.joint + self.label + self.measurements + self.sparse
        if total > 1 + 1e-9:
            raise ValueError(f"joint + label + measurements + sparse must be at most 1, got {total:g}")


def measurement_groups(names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Places of the measurements of each group; a group is what stands before the first underscore of a name.

    >>> measurement_groups(["shape_area", "shape_perimeter", "clinical_redness"])
    {'shape': (0, 1), 'clinical': (2,)}
    """
    groups: dict[str, tuple[int, ...]] = {}
    for index, name in enumerate(names):
        group = name.split("_", 1)[0]
        groups[group] = (*groups.get(group, ()), index)
    return groups


def drop_condition(
    label_B: Tensor,
    present_BM: Tensor | None,
    generator: torch.Generator,
    rates: ConditionDropConfig,
    groups: Sequence[Sequence[int]] = (),
    *,
    null_class: int,
) -> tuple[Tensor, Tensor | None]:
    """Take conditions away at random.

    Args:
        label_B: Lesion types.
        present_BM: bool, which measurements there are; None: a net without measurements.
        generator: Decides what is lost; may live on another device than the condition.
        rates: How often.
        groups: Places of the measurements of each group (`measurement_groups(names).values()`).
        null_class: The label that means "any type".

    Returns:
        The label and the measurements left, as new tensors. Measurements are only ever taken away.
    """
    device = label_B.device

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=generator.device).to(device)

    size = label_B.shape[0]
    fate_B = draw(size)
    until = (rates.joint, rates.label, rates.measurements, rates.sparse)
    edges = [sum(until[:i]) for i in range(5)]
    joint_B, only_label_B, only_values_B, sparse_B = (
        (fate_B >= low) & (fate_B < high) for low, high in pairwise(edges)
    )
    label_B = label_B.masked_fill(joint_B | only_label_B, null_class)
    if present_BM is None:
        return label_B, None
    lost_BM = torch.zeros_like(present_BM)
    for group in groups:
        lost_BM[:, list(group)] |= (draw(size) < rates.group)[:, None]
    count = present_BM.shape[1]
    kept_B1 = (count ** draw(size, 1)).floor()  # 1 … M, its logarithm uniform
    rank_BM = draw(size, count).argsort(dim=1).argsort(dim=1)
    lost_BM = torch.where(sparse_B[:, None], rank_BM >= kept_B1, lost_BM)
    lost_BM |= (joint_B | only_values_B)[:, None]
    return label_B, present_BM & ~lost_BM
