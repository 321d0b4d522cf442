"""The report on a set of generated images: numbers for machines, tables for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from lfvar.metrics.diversity import Alikeness
from lfvar.metrics.frechet import Spread
from lfvar.metrics.memorisation import Memorisation
from lfvar.metrics.set_extractors import metric_title
from lfvar.metrics.set_scores import LOWER_IS_BETTER, METRICS, Score

REPORT_VERSION = 1
"""Raised with every change of what the JSON holds or means."""
ALL = "all"
"""The group of all types together."""
GENERATED, REAL = "generated", "real"


@dataclass(frozen=True)
class SpaceScores:
    """All scores in one feature space."""

    space: str
    weights_hash: str
    dimensions: int
    groups: Mapping[str, Sequence[Score]]
    """`all`, then each type."""


@dataclass(frozen=True)
class TypeAgreement:
    """What a classifier trained on real images sees in generated ones."""

    about: Mapping[str, Any]
    """The classifier's file, hash and scores."""
    rows: pd.DataFrame
    """Per type: `count`, `share` that it takes for what was asked, `low`, `high`; `real_count`, `real_share` of the
    real images, which is the most that can be expected."""
    predicted: pd.DataFrame
    """Types asked × types predicted: number of generated images."""
    agreement: float
    accuracy: float
    """On the real images."""
    balanced_accuracy: float


@dataclass(frozen=True)
class Background:
    """What happened outside the mask of edited images."""

    num_edits: int
    num_identical: int
    """Edits whose pixels outside the mask are those of the source, byte for byte."""
    raw_psnr_N: Sequence[float]
    """PSNR outside the mask of each image before compositing, where it was kept."""
    seam: float
    """Median over edits of the step across the mask's border by the step near it (`lfvar.metrics.editing`)."""
    source_seam: float
    """The same of the sources at the same borders: where the mask is the source's own lesion, what is natural."""


@dataclass(frozen=True)
class SetReport:
    """All numbers of one evaluation; parts that could not be computed are empty or None, and a note says why."""

    about: Mapping[str, Any]
    settings: Mapping[str, Any]
    counts: Mapping[str, Any]
    spaces: Sequence[SpaceScores]
    alikeness: Mapping[str, Alikeness] = field(default_factory=dict)
    """Of generated and of real images."""
    inception_score: Mapping[str, Spread] = field(default_factory=dict)
    control: pd.DataFrame | None = None
    """`lfvar.metrics.control.control_table`, with `ceiling_spearman` and `ceiling_error` where a tokenizer is given."""
    control_summary: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    type_agreement: TypeAgreement | None = None
    background: Background | None = None
    memorisation: Sequence[Memorisation] = ()
    matrix: pd.DataFrame | None = None
    """Source type × generated type."""
    matrix_title: str = ""
    images: pd.DataFrame = field(default_factory=pd.DataFrame)
    """One row per generated image."""
    notes: Sequence[str] = ()

    @property
    def fidelity(self) -> pd.DataFrame:
        """One row per space, metric and group."""
        rows = [
            {
                "metric": score.metric,
                "title": metric_title(score.metric, entry.space),
                "space": entry.space,
                "group": group,
                "matched": score.matched.mean,
                "matched_std": score.matched.std,
                "floor": score.floor.mean,
                "floor_std": score.floor.std,
                "num_matched": score.num_matched,
                "value": score.value,
                "low": score.interval.low,
                "high": score.interval.high,
                "num_generated": score.num_generated,
                "num_real": score.num_real,
                "dimensions": entry.dimensions,
                "weights_hash": entry.weights_hash,
                "warning": score.warning,
            }
            for entry in self.spaces
            for group, scores in entry.groups.items()
            for score in scores
        ]
        return pd.DataFrame(rows)

    @property
    def findings(self) -> list[str]:
        """The weak and the strong in plain words, from the numbers over all types."""
        words = [line for entry in self.spaces for line in _judge_space(entry)]
        for found in self.memorisation:
            words.append(_judge_memory(found))
        if self.control is not None:
            part = self.control_summary.get("depends on the image", {})
            if part.get("features"):
                words.append(
                    f"Control: of {part['features']} measurements that were asked for and depend on the image, "
                    f"{part['share_controlled']:.0%} follow (rank correlation at least 0.5); the median is "
                    f"{_number(part['spearman_median'], 2)}, within types {_number(part['within_type_median'], 2)}."
                )
        if self.type_agreement is not None:
            agreement = self.type_agreement
            words.append(
                f"Types: a classifier takes {agreement.agreement:.0%} of the generated images for what was asked; of "
                f"the real ones it gets {agreement.accuracy:.0%} right."
            )
        return words

    @property
    def headline(self) -> dict[str, float]:
        """The main numbers by name, finite ones only: `fd/lite0`, `fd/lite0_floor` and so on."""
        flat: dict[str, float] = {}
        for entry in self.spaces:
            for score in entry.groups[ALL]:
                name = f"{score.metric}/{entry.space}"
                flat |= {name: score.value, f"{name}_matched": score.matched.mean, f"{name}_floor": score.floor.mean}
        flat |= {f"ms_ssim/{name}": value.mean for name, value in self.alikeness.items()}
        flat |= {f"inception_score/{name}": value.mean for name, value in self.inception_score.items()}
        flat |= {f"near_copies/{found.space}": found.share_near for found in self.memorisation}
        flat |= {
            f"control/{part}": row["spearman_median"] for part, row in self.control_summary.items() if row["features"]
        }
        if self.type_agreement is not None:
            flat["type_agreement"] = self.type_agreement.agreement
        return {name: float(value) for name, value in flat.items() if math.isfinite(value)}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: what is not a finite number is null."""
        agreement, background = self.type_agreement, self.background
        plain = {
            "schema_version": REPORT_VERSION,
            "target": "generated",
            "about": dict(self.about),
            "settings": dict(self.settings),
            "counts": dict(self.counts),
            "findings": self.findings,
            "fidelity": self.fidelity.to_dict("records"),
            "ms_ssim": {name: _plain(value) for name, value in self.alikeness.items()},
            "inception_score": {name: asdict(value) for name, value in self.inception_score.items()},
            "control": {
                "summary": dict(self.control_summary),
                "features": [] if self.control is None else self.control.to_dict("records"),
            },
            "type_agreement": None
            if agreement is None
            else {
                "about": dict(agreement.about),
                "agreement": agreement.agreement,
                "accuracy_on_real": agreement.accuracy,
                "balanced_accuracy_on_real": agreement.balanced_accuracy,
                "types": agreement.rows.reset_index().to_dict("records"),
                "predicted": agreement.predicted.to_dict("index"),
            },
            "background": None
            if background is None
            else {
                "edits": background.num_edits,
                "identical_outside": background.num_identical,
                "raw_psnr_median": _median(background.raw_psnr_N),
                "raw_counted": len(background.raw_psnr_N),
                "seam_ratio_median": background.seam,
                "seam_ratio_of_sources_median": background.source_seam,
            },
            "memorisation": [
                {
                    "space": found.space,
                    "threshold": found.threshold,
                    "expected": found.expected,
                    "p_value": found.p_value,
                    "num_near": found.num_near,
                    "share_near": found.share_near,
                    "share_low": found.share_interval.low,
                    "share_high": found.share_interval.high,
                    "nearer": found.nearer,
                    "suspicious": found.suspicious,
                }
                for found in self.memorisation
            ],
            "matrix": None if self.matrix is None else {"title": self.matrix_title, **self.matrix.to_dict("index")},
            "notes": list(self.notes),
        }
        finite: dict[str, Any] = _finite(plain)
        return finite


def _judge_space(entry: SpaceScores) -> list[str]:
    """One sentence per metric that is away from its floor by more than chance, or one that none is."""
    words = []
    for score in entry.groups[ALL]:
        if score.metric == "density" or not (math.isfinite(score.matched.mean) and math.isfinite(score.floor.mean)):
            continue
        sign = 1 if score.metric in LOWER_IS_BETTER else -1
        excess = sign * (score.matched.mean - score.floor.mean)
        if excess > 2 * max(score.floor.std, 1e-12):
            words.append(
                f"{metric_title(score.metric, entry.space)} is {_number(score.matched.mean)} where two halves of the "
                f"real images give {_number(score.floor.mean)}: {_MEANING[score.metric]}."
            )
    computed = [score for score in entry.groups[ALL] if math.isfinite(score.matched.mean)]
    if not words and computed:
        words.append(f"In {entry.space} nothing tells the generated images from real ones at these counts.")
    return words


_MEANING: Mapping[str, str] = dict(
    zip(
        METRICS,
        (
            "mean and covariance of the features differ from those of real images",
            "the distributions of the features differ",
            "some generated images look like no real one",
            "some real images have no counterpart among the generated ones",
            "",
            "around many real images nothing was generated",
        ),
        strict=True,
    )
)


def _judge_memory(found: Memorisation) -> str:
    verdict = "more than unseen images explain: look at the pairs" if found.suspicious else "no sign of copying"
    return (
        f"Memorisation by {found.space}: {found.num_near} generated images ({found.share_near:.1%}) are nearer to a "
        f"training image than the nearest {found.expected:.1%} of unseen real ones (p = {found.p_value:.2g}); "
        f"{verdict}."
    )


def _plain(value: Alikeness) -> dict[str, Any]:
    return {
        "mean": value.mean,
        "low": value.interval.low,
        "high": value.interval.high,
        "pairs": value.num_pairs,
        "scales": value.num_scales,
    }


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def _number(value: float, digits: int | None = None) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{value:.{digits}f}" if digits is not None else f"{value:#.3g}".rstrip(".")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
