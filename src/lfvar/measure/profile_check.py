"""How well drawn measurement vectors pass for real ones that the sampler never saw.

Three questions, each asked twice: of draws against held-out rows, and of real training rows against the same held-out
rows at the same counts. The second answer is the floor: no sampler can be expected to beat it.

- *marginals*: Kolmogorov-Smirnov distance, mean over features;
- *correlations*: mean absolute difference of Spearman correlations over pairs of features;
- *classifier two-sample test* (Lopez-Paz and Oquab, arXiv:1610.06545): the AUC with which a random forest tells the two
  apart; 0.5 when it cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import ks_2samp
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from lfvar.errors import DataError
from lfvar.measure.profiles import Profiles

ALL = "all"
MEASURES = ("ks", "correlation_error", "auc")


@dataclass(frozen=True)
class ProfileCheckConfig:
    """How to compare."""

    seed: int = 0
    repeats: int = 5
    """Sets of draws, and of training rows for the floor; what is reported is their mean, and the floor's highest."""
    min_count: int = 10
    """Types with fewer held-out rows are only part of `all`."""
    num_trees: int = 100
    num_folds: int = 5


def check_profiles(
    profiles: Profiles,
    train: pd.DataFrame,
    train_labels: Sequence[str],
    held_out: pd.DataFrame,
    held_out_labels: Sequence[str],
    config: ProfileCheckConfig | None = None,
) -> pd.DataFrame:
    """Compare draws with held-out rows.

    Images of one lesion are not independent: give one row per lesion.

    Args:
        profiles: Fitted on `train`.
        train: Rows that the floor takes its real rows from; one column per feature.
        train_labels: Their types.
        held_out: Rows to compare with.
        held_out_labels: Their types.
        config: How to compare.

    Returns:
        One row per type with enough held-out rows, and `all` with the mixture of the held-out rows. Columns: type,
        count (held-out rows, and as many draws), and for each measure the draws' value, the floor, and the highest
        floor among the repeats. In `all`, as for each type, a floor needs at least as many training rows as held-out.

    Raises:
        DataError: When no held-out row is of a type that has a profile.
    """
    config = config or ProfileCheckConfig()
    names = list(profiles.names)
    real, real_label_N = _usable(held_out[names], held_out_labels, profiles.labels)
    pool, pool_label_N = _usable(train[names], train_labels, profiles.labels)
    if not len(real):
        raise DataError(
            "no held-out row is of a type that has a profile", cure="prepare with data.split.test_fraction above 0"
        )
    rows = []
    for label in [*profiles.labels, ALL]:
        chosen = np.ones(len(real), dtype=bool) if label == ALL else real_label_N == label
        if chosen.sum() < config.min_count:
            continue
        counts = {kind: int((real_label_N[chosen] == kind).sum()) for kind in profiles.labels}
        rows.append(_compare(label, profiles, real[chosen], pool, pool_label_N, counts, config))
    return pd.DataFrame(rows)


def _compare(
    label: str,
    profiles: Profiles,
    real: pd.DataFrame,
    pool: pd.DataFrame,
    pool_label_N: NDArray[np.str_],
    counts: dict[str, int],
    config: ProfileCheckConfig,
) -> dict[str, object]:
    drawn_scores: list[tuple[float, float, float]] = []
    floor_scores: list[tuple[float, float, float]] = []
    for repeat in range(config.repeats):
        rng = np.random.default_rng([config.seed, repeat])
        draws, floors = [], []
        for kind, count in counts.items():
            draws.append(profiles.sample(kind, rng.integers(0, 2**31, size=count).tolist()))
            rows = np.flatnonzero(pool_label_N == kind)
            floors.append(pool.iloc[rng.choice(rows, size=min(count, len(rows)), replace=False)])
        drawn_scores.append(_score(real, pd.concat(draws), repeat, config))
        floor_scores.append(_score(real, pd.concat(floors), repeat, config))
    row: dict[str, object] = {"type": label, "count": len(real)}
    for index, measure in enumerate(MEASURES):
        row[measure] = float(np.mean([scores[index] for scores in drawn_scores]))
        row[f"{measure}_floor"] = float(np.mean([scores[index] for scores in floor_scores]))
        row[f"{measure}_floor_highest"] = float(np.max([scores[index] for scores in floor_scores]))
    return row


def _score(
    real: pd.DataFrame, other: pd.DataFrame, seed: int, config: ProfileCheckConfig
) -> tuple[float, float, float]:
    return (
        float(np.nanmean(marginal_distances(real, other))),
        correlation_error(real, other),
        two_sample_auc(real, other, seed=seed, num_trees=config.num_trees, num_folds=config.num_folds),
    )


def marginal_distances(one: pd.DataFrame, other: pd.DataFrame) -> pd.Series[float]:
    """Kolmogorov-Smirnov distance of each feature over the rows that have it; NaN where one side has none."""
    distances = {}
    for name in one.columns:
        a, b = one[name].dropna(), other[name].dropna()
        distances[name] = float(ks_2samp(a, b, method="asymp").statistic) if len(a) and len(b) else float("nan")
    return pd.Series(distances, dtype=np.float64)


def correlation_error(one: pd.DataFrame, other: pd.DataFrame) -> float:
    """Mean absolute difference of Spearman correlations over all pairs of features that vary on both sides."""
    upper = np.triu_indices(one.shape[1], k=1)
    difference = np.abs(one.corr("spearman").to_numpy() - other.corr("spearman").to_numpy())[upper]
    return float(np.nanmean(difference))


def two_sample_auc(
    one: pd.DataFrame, other: pd.DataFrame, *, seed: int = 0, num_trees: int = 100, num_folds: int = 5
) -> float:
    """Out-of-fold AUC of a random forest that tells the rows of two tables apart; it sees what is missing, too."""
    values = pd.concat([one, other], ignore_index=True).to_numpy(dtype=np.float64)
    side = np.repeat([0, 1], [len(one), len(other)])
    forest = RandomForestClassifier(num_trees, min_samples_leaf=2, random_state=seed, n_jobs=1)
    folds = StratifiedKFold(min(num_folds, len(one), len(other)), shuffle=True, random_state=seed)
    chance = cross_val_predict(forest, values, side, cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(side, chance))


def _usable(table: pd.DataFrame, labels: Sequence[str], known: Sequence[str]) -> tuple[pd.DataFrame, NDArray[np.str_]]:
    """Rows with a measurement, of a type that has a profile."""
    label_N = np.asarray(labels)
    keep = table.notna().any(axis=1).to_numpy() & np.isin(label_N, list(known))
    return table[keep], label_N[keep]
