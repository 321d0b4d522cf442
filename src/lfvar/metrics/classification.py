"""How well lesion types are told apart, where types are rare and images few.

Every type counts the same: balanced accuracy is the mean recall over types, macro AUC the mean over types of the area
under the one-versus-rest ROC curve. A type without images has no recall and no AUC (NaN) and is left out of the means;
`ClassificationScores.missing` names it. Intervals know that images of one lesion are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_Z95 = 1.959963984540054  # 97.5 % quantile of the normal distribution


@dataclass(frozen=True)
class Interval:
    """A number and where it may lie (95 %); all NaN where there was nothing to count."""

    value: float
    low: float = float("nan")
    high: float = float("nan")

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "none"
        return f"{self.value:.3f}" if np.isnan(self.low) else f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


NOTHING = Interval(float("nan"))


@dataclass(frozen=True)
class ClassificationScores:
    """What a classifier is worth on one set of images."""

    classes: tuple[str, ...]
    count_C: tuple[int, ...]
    """Images per type."""
    accuracy: float
    loss: float
    """Cross-entropy in nats, without smoothing."""
    balanced_accuracy: Interval
    macro_auc: Interval
    recall_C: tuple[Interval, ...]
    """Wilson intervals over lesions."""
    auc_C: tuple[float, ...] = field(default=())

    @property
    def missing(self) -> tuple[str, ...]:
        """Types without a single image: in no mean."""
        return tuple(name for name, count in zip(self.classes, self.count_C, strict=True) if not count)

    def to_dict(self, *, intervals: bool = True) -> dict[str, float]:
        """Scalars by name, as loggers and run cards take them; what does not exist is left out.

        Args:
            intervals: Whether `NAME_low` and `NAME_high` are among them.
        """
        values = {"accuracy": self.accuracy, "loss": self.loss}
        means = {"balanced_accuracy": self.balanced_accuracy, "macro_auc": self.macro_auc}
        recalls = {f"recall_{name}": recall for name, recall in zip(self.classes, self.recall_C, strict=True)}
        for name, interval in (means | recalls).items():
            values[name] = interval.value
            if intervals:
                values |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
        return {name: value for name, value in values.items() if not np.isnan(value)}


def score_classes(
    logits_NC: NDArray[Any],
    label_N: NDArray[Any],
    classes: Sequence[str],
    *,
    lesion_N: Sequence[object] | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
) -> ClassificationScores:
    """Score logits against true types.

    Args:
        logits_NC: Logits (or log-probabilities) of each image.
        label_N: True types, indices into `classes`.
        classes: Names of the types.
        lesion_N: What images share that are not independent; None: every image is its own.
        num_resamples: Of the bootstrap over lesions behind the intervals of the means; 0: no intervals of those.
        seed: Of the bootstrap.

    Raises:
        ValueError: When shapes do not fit, labels are no indices of `classes`, or logits are not finite.
    """
    logits_NC, label_N = np.asarray(logits_NC, np.float64), np.asarray(label_N, np.int64)
    _check(logits_NC, label_N, len(classes), lesion_N)
    group_N = np.arange(len(label_N)) if lesion_N is None else np.unique(np.asarray(lesion_N), return_inverse=True)[1]
    # One-versus-rest compares images with each other, so scores must be probabilities, not logits.
    log_p_NC = logits_NC - np.logaddexp.reduce(logits_NC, axis=1, keepdims=True) if len(label_N) else logits_NC
    correct_N = log_p_NC.argmax(axis=1) == label_N if len(label_N) else np.zeros(0, bool)
    ones_1N = np.ones((1, len(label_N)))
    recall_C = mean_recalls(correct_N, label_N, len(classes), ones_1N)[0]
    auc_C = np.array([weighted_auc(log_p_NC[:, c], label_N == c, ones_1N)[0] for c in range(len(classes))])
    weight_RN = bootstrap_weights(label_N, group_N, num_resamples, seed)
    recall_RC = mean_recalls(correct_N, label_N, len(classes), weight_RN)
    auc_RC = np.stack([weighted_auc(log_p_NC[:, c], label_N == c, weight_RN) for c in range(len(classes))], axis=1)
    num_lesions_C = [len(np.unique(group_N[label_N == c])) for c in range(len(classes))]
    return ClassificationScores(
        classes=tuple(classes),
        count_C=tuple(np.bincount(label_N, minlength=len(classes)).tolist()),
        accuracy=float(correct_N.mean()) if len(label_N) else float("nan"),
        loss=float(-log_p_NC[np.arange(len(label_N)), label_N].mean()) if len(label_N) else float("nan"),
        balanced_accuracy=_interval(recall_C, recall_RC),
        macro_auc=_interval(auc_C, auc_RC),
        recall_C=tuple(wilson_interval(float(r), n) for r, n in zip(recall_C, num_lesions_C, strict=True)),
        auc_C=tuple(auc_C.tolist()),
    )


def mean_recalls(correct_N: NDArray[np.bool_], label_N: Ints, num_classes: int, weight_RN: Floats) -> Floats:
    """Recall of each type under each weighting of the images, (R, C); NaN for a type without weight."""
    recall_RC = np.full((len(weight_RN), num_classes), np.nan)
    for c in np.unique(label_N):
        weight_Rn = weight_RN[:, label_N == c]
        recall_RC[:, c] = weight_Rn @ correct_N[label_N == c] / weight_Rn.sum(axis=1)
    return recall_RC


def weighted_auc(score_N: Floats, positive_N: NDArray[np.bool_], weight_RN: Floats) -> Floats:
    """Area under the ROC curve under each weighting, (R,): P(score of a positive > of a negative) + half of ties.

    NaN where there are no positives or no negatives.
    """
    if not positive_N.any() or positive_N.all():
        return np.full(len(weight_RN), np.nan)
    order_N = np.argsort(score_N, kind="stable")
    first_U = np.flatnonzero(np.diff(score_N[order_N], prepend=-np.inf))  # where each distinct score begins
    sorted_RN = weight_RN[:, order_N]
    positive_RU = np.add.reduceat(sorted_RN * positive_N[order_N], first_U, axis=1)
    negative_RU = np.add.reduceat(sorted_RN * ~positive_N[order_N], first_U, axis=1)
    below_RU = negative_RU.cumsum(axis=1) - negative_RU / 2
    return (positive_RU * below_RU).sum(axis=1) / (positive_RU.sum(axis=1) * negative_RU.sum(axis=1))


def bootstrap_weights(label_N: Ints, lesion_N: Ints, num_resamples: int, seed: int) -> Floats:
    """How often each image is in each resample, (R, N): lesions are drawn with replacement within their type.

    Drawing within types keeps every type that is there in every resample, as balanced accuracy needs.
    """
    rng = np.random.default_rng(seed)
    weight_RN = np.zeros((num_resamples, len(label_N)))
    for c in np.unique(label_N):
        mine = label_N == c
        _, lesion_n = np.unique(lesion_N[mine], return_inverse=True)
        num_lesions = int(lesion_n.max()) + 1
        drawn_RG = rng.multinomial(num_lesions, np.full(num_lesions, 1 / num_lesions), size=num_resamples)
        weight_RN[:, mine] = drawn_RG[:, lesion_n]
    return weight_RN


def wilson_interval(share: float, count: int) -> Interval:
    """A share with its 95 % score interval (Wilson 1927), which stays in [0, 1] and is honest at 0 and 1.

    Args:
        share: Observed, in [0, 1].
        count: Independent observations behind it; 0 gives NaN.
    """
    if not count:
        return NOTHING
    spread = _Z95**2 / count
    centre = (share + spread / 2) / (1 + spread)
    half = _Z95 / (1 + spread) * np.sqrt(share * (1 - share) / count + spread / (4 * count))
    return Interval(share, max(float(centre - half), 0.0), min(float(centre + half), 1.0))


class ClassPredictions(Metric):
    """Logits and labels of a pass over a split, of all processes, each image with its place in the split."""

    full_state_update = False
    logits: list[Tensor]
    labels: list[Tensor]
    places: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in ("logits", "labels", "places"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, logits_BC: Tensor, label_B: Tensor, place_B: Tensor) -> None:
        """Add a batch.

        Args:
            logits_BC: float32.
            label_B: int64.
            place_B: int64, place of each image in its split: the result is in this order.
        """
        self.logits.append(logits_BC.float())
        self.labels.append(label_B)
        self.places.append(place_B)

    def compute(self) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, C), labels (N,) and places (N,), sorted by place: the same for one process and for several."""
        place_N = dim_zero_cat(self.places)
        order_N = torch.argsort(place_N)
        return dim_zero_cat(self.logits)[order_N], dim_zero_cat(self.labels)[order_N], place_N[order_N]


def _interval(value_C: Floats, resampled_RC: Floats) -> Interval:
    """Mean over the types that are there, and the percentile interval of its resamples."""
    there_C = ~np.isnan(value_C)
    if not there_C.any():
        return NOTHING
    if not len(resampled_RC):
        return Interval(float(value_C[there_C].mean()))
    low, high = np.quantile(resampled_RC[:, there_C].mean(axis=1), [0.025, 0.975])
    return Interval(float(value_C[there_C].mean()), float(low), float(high))


def _check(logits_NC: Floats, label_N: Ints, num_classes: int, lesion_N: Sequence[object] | None) -> None:
    if logits_NC.shape != (len(label_N), num_classes):
        raise ValueError(f"logits of shape {logits_NC.shape} do not fit {len(label_N)} labels of {num_classes} types")
    if len(label_N) and not 0 <= label_N.min() <= label_N.max() < num_classes:
        raise ValueError(f"labels reach from {label_N.min()} to {label_N.max()}, types from 0 to {num_classes - 1}")
    if lesion_N is not None and len(lesion_N) != len(label_N):
        raise ValueError(f"{len(lesion_N)} lesions do not fit {len(label_N)} labels")
    if not np.isfinite(logits_NC).all():
        raise ValueError("logits are not finite: the classifier has diverged")
