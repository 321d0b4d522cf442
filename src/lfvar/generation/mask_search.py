"""Masks chosen so that they measure what is wanted.

Features that follow from the mask alone cannot be asked of the net in an edit: the mask decides them. So a sweep of one
of them moves the mask. What each is driven by, `DRIVES` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lfvar.data.mask_bank import touches_edge
from lfvar.errors import ConfigError, DataError
from lfvar.generation.masks import render_mask, size_and_place
from lfvar.generation.plan import MaskPlan
from lfvar.generation.pool import Pool
from lfvar.measure.mask_only import measure_mask
from lfvar.sampling.lesion_shapes import LesionShape, draw_shape

Drive = Literal["scaled", "moved", "elongation", "asymmetry", "irregularity"]
DRIVES: Mapping[str, Drive] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                "clinical_relative_area",
                "clinical_relative_diameter",
                "shape_mesh_surface",
                "shape_pixel_surface",
                "shape_perimeter",
                "shape_perimeter_surface_ratio",
                "shape_major_axis_length",
                "shape_minor_axis_length",
                "shape_maximum_diameter",
            ),
            "scaled",
        ),
        "clinical_centroid_x": "moved",
        "clinical_centroid_y": "moved",
        "shape_elongation": "elongation",
        "clinical_asymmetry_shape_min": "asymmetry",
        "clinical_asymmetry_shape_max": "asymmetry",
        "clinical_border_compactness": "irregularity",
        "clinical_border_radial_variation": "irregularity",
        "shape_sphericity": "irregularity",
    }
)
"""How a mask is changed to move a feature: the source's own lesion scaled or moved, or a lesion drawn anew with more of
one shape parameter."""

_GRID = 15
"""Masks that are tried for one wanted value."""


def drive_mask(feature: str, values: Sequence[float], start: MaskPlan, pool: Pool) -> list[MaskPlan]:
    """Masks that move one feature through values, with all else as it is as far as that is possible.

    Args:
        feature: One of `DRIVES`.
        values: Wanted, in natural units.
        start: What to scale or move (source, bank, file), or the drawn shape to vary.
        pool: Where masks are read.

    Returns:
        A recipe for each value: the one that comes nearest, which at the end of what shapes can do is not exact.
    """
    drive = DRIVES[feature]
    if drive == "moved":
        return [place(start, {feature: value}, pool) for value in values]
    if feature == "clinical_relative_area":
        return [_with_area(start, value) for value in values]
    candidates = _candidates(drive, start)
    found = [measure_mask(_render(plan, pool)).get(feature, np.nan) for plan in candidates]
    errors = np.abs(np.asarray(found)[None] - np.asarray(values)[:, None])
    if np.isnan(errors).all():
        raise ConfigError(f"{feature} cannot be measured on any mask", cure="sweep another feature")
    return [candidates[int(np.nanargmin(row))] for row in errors]


def _render(plan: MaskPlan, pool: Pool) -> NDArray[np.bool_]:
    mask_HW = render_mask(plan, pool)
    assert mask_HW is not None
    return mask_HW


def _candidates(drive: Drive, start: MaskPlan) -> list[MaskPlan]:
    if drive == "scaled":
        return [_with_area(start, float(area)) for area in np.geomspace(0.004, 0.8, 3 * _GRID)]
    high = 3.0 if drive == "elongation" else 1.0
    low = 1.0 if drive == "elongation" else 0.0
    return [replace(start, shape={**start.shape, drive: float(v)}) for v in np.linspace(low, high, 2 * _GRID)]


def _with_area(plan: MaskPlan, area: float) -> MaskPlan:
    if plan.kind == "drawn":
        return replace(plan, shape={**plan.shape, "relative_area": area})
    return replace(plan, area=area)


def place(plan: MaskPlan, wanted: Mapping[str, float], pool: Pool) -> MaskPlan:
    """Move a mask to `clinical_centroid_x` and `_y`; one that is not wanted stays as it is."""
    axes = ("clinical_centroid_x", "clinical_centroid_y")
    if not any(axis in wanted for axis in axes):
        return plan
    own = size_and_place(_render(plan, pool))
    x, y = (float(wanted.get(axis, own[axis])) for axis in axes)
    if plan.kind == "drawn":
        return replace(plan, shape={**plan.shape, "centre_x": x, "centre_y": y})
    return replace(plan, centre=(x, y))


SHAPE_TARGETS: Mapping[str, Drive] = MappingProxyType(
    {"clinical_border_compactness": "irregularity", "clinical_asymmetry_shape_max": "asymmetry"}
)
"""What a drawn lesion is fitted to, and by which parameter."""


def fit_drawn(
    targets: Mapping[str, float],
    pool: Pool,
    seed: int,
    *,
    fixed: Mapping[str, float] | None = None,
) -> MaskPlan:
    """A drawn lesion that measures what is wanted.

    Parameters are chosen one after the other; the last moves the feature of the one before a little.

    Args:
        targets: `clinical_relative_area`, `clinical_centroid_x`, `clinical_centroid_y` (all met exactly, where the
            lesion fits), and those of `SHAPE_TARGETS`; others are ignored.
        pool: For the size of the image.
        seed: Of the outline.
        fixed: Parameters of `LesionShape` that are stated.
    """
    shape = {
        "relative_area": targets.get("clinical_relative_area", 0.15),
        "centre_x": targets.get("clinical_centroid_x", 0.5),
        "centre_y": targets.get("clinical_centroid_y", 0.5),
        **(fixed or {}),
    }
    plan = MaskPlan("drawn", shape=shape, seed=seed)
    open_targets = {
        name: drive for name, drive in SHAPE_TARGETS.items() if name in targets and drive not in (fixed or {})
    }
    for name, drive in open_targets.items():
        plan = _fit_parameter(plan, drive, name, targets[name], pool.size)
    return plan


def _fit_parameter(plan: MaskPlan, drive: Drive, name: str, value: float, size: int) -> MaskPlan:
    """The drawn lesion whose parameter brings a feature nearest to a value: a coarse grid, then a fine one in it."""
    low, high, step = 0.0, 1.0, 0.2
    best = plan
    for count in (6, 5):
        tried = [replace(plan, shape={**plan.shape, drive: float(v)}) for v in np.linspace(low, high, count)]
        errors = [abs(_measure_drawn(_key(candidate), size).get(name, np.inf) - value) for candidate in tried]
        best = tried[int(np.argmin(errors))]
        low, high = max(0.0, best.shape[drive] - step), min(1.0, best.shape[drive] + step)
    return best


def _key(plan: MaskPlan) -> tuple[tuple[tuple[str, float], ...], int]:
    return tuple(sorted(plan.shape.items())), plan.seed


@lru_cache(maxsize=4096)
def _measure_drawn(key: tuple[tuple[tuple[str, float], ...], int], size: int) -> Mapping[str, float]:
    """What a drawn lesion measures; samples of one type and seed ask for the same ones."""
    shape, seed = key
    return measure_mask(draw_shape(LesionShape(**dict(shape)), size, seed))


def choose_from_bank(
    targets: Mapping[str, float],
    pool: Pool,
    seed: int,
    labels: Sequence[str] | None = None,
    *,
    whole: bool = False,
    nearest: int = 8,
) -> MaskPlan:
    """The mask of a real training image that comes near what is wanted.

    `lfvar.data.mask_bank.MaskBank` finds masks by size alone; here any features that follow from the mask count, each
    by its spread over the bank. Position is not searched for: masks can be moved.

    Args:
        targets: Features of `lfvar.measure.schema.FROM_MASK`; without any, one at random.
        pool: Its training split is the bank.
        seed: Chooses among the nearest.
        labels: Only lesions of these types, where there are any.
        whole: Pass over lesions that the edge of the image cuts: scaled or moved, their cut would show.
        nearest: How many are equally welcome.

    Raises:
        DataError: When the training split has no lesion.
        ArtefactError: When it is not measured, or a file is gone.
    """
    rows = pool.with_lesion("train", labels) or pool.with_lesion("train")
    if not rows:
        raise DataError(
            f"'{pool.folder}' has no lesion in the training split to take a mask from", cure="use mask.kind=drawn"
        )
    rng = np.random.default_rng([0x6D61736B, seed])
    wanted = {name: value for name, value in targets.items() if not name.startswith("clinical_centroid")}
    if wanted:
        there_NT = np.array([[pool.measurements_of(row.image_id).get(name, np.nan) for name in wanted] for row in rows])
        spread_T = np.nanstd(there_NT, axis=0)
        away_NT = (there_NT - np.array(list(wanted.values()))) / np.where(spread_T > 0, spread_T, 1)
        distance_N = np.where(np.isnan(away_NT), 4.0, away_NT**2).sum(axis=1)
        order = np.argsort(distance_N, kind="stable")
    else:
        order, nearest = rng.permutation(len(rows)), 1
    found: list[str] = []
    for index in order.tolist():
        if not whole or not touches_edge(pool.read_mask(rows[index].image_id)):
            found.append(rows[index].image_id)
        if len(found) == nearest:
            break
    found = found or [rows[int(order[0])].image_id]  # better a cut than nothing
    return MaskPlan("bank", image_id=found[int(rng.integers(len(found)))])
