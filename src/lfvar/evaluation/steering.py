"""Is a transformer steered by what it is told? Ask for other lesions, measure what comes out.

Every image of a split gets a donor, another lesion of the split. Four tasks:

- `edit`: paint into the image's own mask, with the donor's type and measurements;
- `transplant`: take the image's lesion away and paint another into its skin: in the donor's mask, with its type and
  measurements;
- `placed`: a new image with a lesion in the donor's mask (only nets that look at masks);
- `whole`: a new image with the donor's type and measurements, the mask not told.

In all but `edit` a segmenter finds the lesion, and all measurements are taken inside what it finds: shape is no gift.

What is asked is compared with what is measured (`lfvar.metrics.control`), for several guidance strengths, and for less
told: `type` leaves the measurements free, `nothing` the type too. What these reach without guidance is what no
steering reaches. What the tokenizer and the segmenter allow at most is measured on reconstructions and on real images.

On given skin, who tells everything asks for contradictions: a donor's lightness and its contrast go together on the
donor's skin alone. Told `relative`, a net is asked for what can be had on any skin: no lightness and colour in
themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lfvar.measure.extract import MeasureSettings
from lfvar.measure.schema import FEATURE_NAMES
from lfvar.measure.standardise import Standardiser
from lfvar.metrics.control import control_table, summarise_control
from lfvar.metrics.extractors import measurement_features
from lfvar.metrics.frechet import feature_distance
from lfvar.metrics.preservation import FOLLOWS_FROM_MASK
from lfvar.metrics.remeasure import remeasuring
from lfvar.sampling.editing import EditConfig, Job, Result
from lfvar.sampling.filters import Filters
from lfvar.sampling.guidance import Guidance

Task = Literal["edit", "transplant", "placed", "whole"]
TASKS: tuple[Task, ...] = get_args(Task)
Told = Literal["all", "relative", "type", "nothing"]

_ABSOLUTE = (
    *(f"clinical_colour_{name}" for name in ("lightness", "redness", "yellowness")),
    *(f"histogram_{name}" for name in ("percentile_10", "percentile_90", "mean", "median", "minimum", "maximum")),
    *(f"histogram_{name}" for name in ("root_mean_squared", "energy", "total_energy")),
)
IS_ABSOLUTE: NDArray[np.bool_] = np.isin(FEATURE_NAMES, _ABSOLUTE)
"""(M,) in schema order: how light or coloured a lesion is in itself, rather than against the skin or within itself."""


class Run(Protocol):
    """`Synthesizer.run`."""

    def __call__(
        self, jobs: Sequence[Job], *, guidance: Guidance, filters: Filters, editing: EditConfig, batch_size: int
    ) -> Iterator[Result]:
        """Results in the order of jobs."""


Segment = Callable[[NDArray[np.uint8]], NDArray[np.bool_]]
"""Images (B, H, W, 3) to lesion masks (B, H, W)."""
Classify = Callable[[NDArray[np.uint8]], NDArray[np.int64]]
"""Images (B, H, W, 3) to the index of their type."""


@dataclass(frozen=True)
class Lesions:
    """Real lesions, a row each."""

    image_NHWC: NDArray[np.uint8]
    mask_NHW: NDArray[np.bool_]
    label_N: tuple[str, ...]
    lesion_N: tuple[str, ...]
    """Images of one lesion share it."""
    values_NM: NDArray[np.float64]
    """Measurements in schema order and natural units; NaN where missing."""

    def __len__(self) -> int:
        return len(self.label_N)


@dataclass(frozen=True)
class Setting:
    """How one row of the table is made."""

    task: Task
    told: Told
    guidance: Guidance
    editing: EditConfig = field(default_factory=EditConfig)


@dataclass(frozen=True)
class Steered:
    """What one setting gave."""

    setting: Setting
    image_NHWC: NDArray[np.uint8]
    raw_NHWC: NDArray[np.uint8]
    """What the decoder made, before compositing."""
    mask_NHW: NDArray[np.bool_]
    """The source's (`edit`), or what the segmenter found (empty where it found nothing)."""
    control: pd.DataFrame
    """From `control_table`."""
    measured_NM: NDArray[np.float64]
    frechet: float
    """Fréchet distance of standardised measurements to the donors' (image-dependent ones)."""
    agreement: float | None
    """Balanced accuracy of a classifier of real images, against the type asked; None without a classifier."""

    @property
    def measurement_strength(self) -> float:
        """Of the guidance, whether it was given apart or with the type's."""
        guidance = self.setting.guidance
        strength = guidance.measurement_strength
        return guidance.class_strength if strength is None else strength

    def summary(self) -> dict[str, Any]:
        """One flat row."""
        parts = summarise_control(self.control)
        image, mask = parts["depends on the image"], parts["from the mask"]
        return {
            "task": self.setting.task,
            "told": self.setting.told,
            "class_strength": self.setting.guidance.class_strength,
            "measurement_strength": self.measurement_strength,
            "images": len(self.image_NHWC),
            "without_lesion": int((~self.mask_NHW.any(axis=(1, 2))).sum()),
            "spearman_histogram": parts["histogram"]["spearman_median"],
            "spearman_texture": parts["texture"]["spearman_median"],
            "spearman_clinical": parts["clinical"]["spearman_median"],
            "spearman_mask": None if self.setting.task == "edit" else mask["spearman_median"],
            "spearman": image["spearman_median"],
            "within_type": image["within_type_median"],
            "error": image["error_median"],
            "type_agreement": self.agreement,
            "frechet_measurements": self.frechet,
        }


def choose_donors(lesion_N: Sequence[str], count: int, seed: int) -> list[tuple[int, int]]:
    """Pairs of image and donor, never of one lesion.

    Every image, and every donor, comes up as often as any other, up to one.

    Args:
        lesion_N: Lesion of each image.
        count: How many pairs.
        seed: Of the draw.

    Raises:
        ValueError: When all images are of one lesion.
    """
    if len(set(lesion_N)) < 2:
        raise ValueError("donors are other lesions, and there is only one")
    rng = np.random.default_rng([seed, 0x646F6E6F72])
    pairs: list[tuple[int, int]] = []
    while len(pairs) < count:
        order = rng.permutation(len(lesion_N)).tolist()
        shift = int(rng.integers(1, len(order)))
        donors = order[shift:] + order[:shift]
        for place, image in enumerate(order):
            if lesion_N[donors[place]] == lesion_N[image]:  # swap with the first place where both fit
                other = next(
                    (
                        index
                        for index in range(len(order))
                        if lesion_N[donors[index]] != lesion_N[image]
                        and lesion_N[donors[place]] != lesion_N[order[index]]
                    ),
                    None,
                )
                if other is not None:
                    donors[place], donors[other] = donors[other], donors[place]
        fitting = [(i, j) for i, j in zip(order, donors, strict=True) if lesion_N[i] != lesion_N[j]]
        pairs += sorted(fitting[: count - len(pairs)])
    return pairs


def plan_jobs(
    lesions: Lesions, pairs: Sequence[tuple[int, int]], setting: Setting, known: Collection[str] = FEATURE_NAMES
) -> list[Job]:
    """Jobs of one setting. The n-th pair has seed n in every setting, so that settings differ in nothing else.

    Args:
        lesions: Of the split.
        pairs: From `choose_donors`.
        setting: What to do.
        known: Measurements that the net takes; the others cannot be asked for.
    """
    jobs = []
    known_M = np.array([name in known for name in FEATURE_NAMES])
    for seed, (image, donor) in enumerate(pairs):
        values_M, asked_M = lesions.values_NM[donor], _asked_features(setting)
        chosen = asked_M & known_M & np.isfinite(values_M) & (setting.told in ("all", "relative"))
        on_skin = setting.task in ("edit", "transplant")
        mask_of = {"edit": image, "transplant": donor, "placed": donor, "whole": None}[setting.task]
        jobs.append(
            Job(
                seed=seed,
                label=None if setting.told == "nothing" else lesions.label_N[donor],
                measurements={FEATURE_NAMES[i]: float(values_M[i]) for i in np.flatnonzero(chosen)},
                image_HWC=lesions.image_NHWC[image] if on_skin else None,
                mask_HW=None if mask_of is None else lesions.mask_NHW[mask_of],
                erase_HW=lesions.mask_NHW[image] if setting.task == "transplant" else None,
            )
        )
    return jobs


def steer(
    run: Run,
    lesions: Lesions,
    pairs: Sequence[tuple[int, int]],
    setting: Setting,
    *,
    classes: Sequence[str],
    known: Collection[str] = FEATURE_NAMES,
    spreads: Mapping[str, NDArray[np.float64]],
    standardiser: Standardiser,
    measure: MeasureSettings,
    filters: Filters,
    segment: Segment | None = None,
    classify: Classify | None = None,
    batch_size: int = 32,
    workers: int = 1,
) -> Steered:
    """Generate the images of a setting, measure them, compare.

    Args:
        run: Generates.
        lesions: Of the split.
        pairs: From `choose_donors`.
        setting: What to do.
        classes: Types in the order of the classifier's indices.
        known: Measurements that the net takes.
        spreads: From `lfvar.metrics.control.type_spreads`, of real lesions.
        standardiser: Of real training lesions.
        measure: How to measure.
        filters: Temperature, top-k, top-p.
        segment: Finds lesions; needed for all but `edit`.
        classify: Tells types apart.
        batch_size: Samples made at once; changes nothing else.
        workers: Processes that measure.
    """
    jobs = plan_jobs(lesions, pairs, setting, known)
    made = run(jobs, guidance=setting.guidance, filters=filters, editing=setting.editing, batch_size=batch_size)
    images, raws = zip(*((result.image_HWC, result.raw_HWC) for result in made), strict=True)
    image_NHWC = np.stack(images)
    if setting.task == "edit":
        mask_NHW = lesions.mask_NHW[[image for image, _ in pairs]]
    elif segment is None:
        raise ValueError(f"{setting.task}: a segmenter is needed to find the lesion that came out")
    else:
        mask_NHW = segment(image_NHWC)
    measured_NM = measure_all(image_NHWC, mask_NHW, measure, workers)
    donors = [donor for _, donor in pairs]
    label_N = [lesions.label_N[donor] for donor in donors]
    asked_NM = np.where(_asked_features(setting), lesions.values_NM[donors], np.nan)
    return Steered(
        setting=setting,
        image_NHWC=image_NHWC,
        raw_NHWC=np.stack(raws),
        mask_NHW=mask_NHW,
        control=control_table(asked_NM, measured_NM, label_N, spreads),
        measured_NM=measured_NM,
        frechet=feature_distance(
            measurement_features(measured_NM, standardiser),
            measurement_features(lesions.values_NM[donors], standardiser),
        ),
        agreement=None if classify is None else _agreement(classify(image_NHWC), [*map(classes.index, label_N)]),
    )


def measure_all(
    image_NHWC: NDArray[np.uint8], mask_NHW: NDArray[np.bool_], settings: MeasureSettings, workers: int
) -> NDArray[np.float64]:
    """Measurements (N, M) in schema order; NaN for an image without lesion."""
    with remeasuring(settings, len(image_NHWC), workers=workers) as measure:
        return measure(image_NHWC, mask_NHW)


def _asked_features(setting: Setting) -> NDArray[np.bool_]:
    """(M,): with a mask given, what the mask decides is not the donor's to ask."""
    asked_M = ~FOLLOWS_FROM_MASK if setting.task == "edit" else np.ones_like(FOLLOWS_FROM_MASK)
    return asked_M & ~IS_ABSOLUTE if setting.told == "relative" else asked_M


def _agreement(found_N: NDArray[np.int64], asked_N: Sequence[int]) -> float:
    """Mean over types asked of the share that is seen as that type."""
    asked = np.asarray(asked_N)
    return float(np.mean([(found_N[asked == label] == label).mean() for label in np.unique(asked)]))
