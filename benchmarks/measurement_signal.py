"""Do measurements know the lesion type? A random forest on measurements alone, by group.

    python benchmarks/measurement_signal.py --folder PREPARED_AND_MEASURED

It is trained on the manifest's training (and validation) lesions and tested on its test lesions. Balanced accuracy is
the mean recall of the types; chance is one by the number of types. The interval is a bootstrap over test lesions, and
the mean of shuffled labels shows that nothing leaks.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import recall_score

from lfvar.data.manifest import Manifest
from lfvar.measure.labelled import label_table
from lfvar.measure.schema import GROUPS, SCHEMA


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="prepared and measured folder")
    parser.add_argument("--trees", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bootstrap", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--features", nargs="*", help="regular expressions: a row for each instead of the groups")
    arguments = parser.parse_args()
    manifest = Manifest.read(arguments.folder)
    rows = label_table(manifest, read_measurements(arguments.folder, manifest))
    measured = rows[[item.name for item in SCHEMA]].notna().any(axis=1)
    train = rows[measured & (rows["split"] != "test")]
    test = rows[measured & (rows["split"] == "test")]
    classes = [label for label in manifest.header.classes if (test["label"] == label).any()]
    chosen = {group: [item.name for item in SCHEMA if group in (item.group, "all")] for group in [*GROUPS, "all"]}
    if arguments.features:
        chosen = {
            pattern: [item.name for item in SCHEMA if re.search(pattern, item.name)] for pattern in arguments.features
        }
    results = [(title, *score_group(train, test, names, classes, arguments)) for title, names in chosen.items()]
    print_table(results, train, test, classes)


def read_measurements(folder: Path, manifest: Manifest) -> pd.DataFrame:
    from lfvar.measure.run import read_table

    return read_table(folder, manifest)


def score_group(
    train: pd.DataFrame, test: pd.DataFrame, names: Sequence[str], classes: Sequence[str], arguments: argparse.Namespace
) -> tuple[int, float, float, float, float, NDArray[np.float64]]:
    """Number of features, balanced accuracy, its 95 % interval, the same with shuffled labels, recall per type."""
    predicted = predict(train, train["label"].to_numpy(), test, names, arguments)
    truth, lesion = test["label"].to_numpy(), test["lesion"].to_numpy()
    recall = recall_score(truth, predicted, labels=classes, average=None, zero_division=0.0)
    rng = np.random.default_rng(arguments.seed)
    lesions, index_of = np.unique(lesion, return_inverse=True)
    members = [np.flatnonzero(index_of == index) for index in range(len(lesions))]
    of_lesion = np.array([truth[rows[0]] for rows in members])
    scores = []
    for _ in range(arguments.bootstrap):
        # Within each type, so that every type is in every resample.
        chosen = np.concatenate(
            [rng.choice(np.flatnonzero(of_lesion == label), (of_lesion == label).sum()) for label in classes]
        )
        picked = np.concatenate([members[index] for index in chosen])
        hit = predicted[picked] == truth[picked]
        scores.append(np.mean([hit[truth[picked] == label].mean() for label in classes]))
    low, high = np.quantile(scores, (0.025, 0.975))
    shuffled = predict(train, rng.permutation(train["label"].to_numpy()), test, names, arguments)
    control = recall_score(truth, shuffled, labels=classes, average="macro", zero_division=0.0)
    return len(names), float(recall.mean()), float(low), float(high), float(control), recall


def predict(
    train: pd.DataFrame,
    label_N: NDArray[np.str_],
    test: pd.DataFrame,
    names: Sequence[str],
    arguments: argparse.Namespace,
) -> NDArray[np.str_]:
    forest = RandomForestClassifier(
        arguments.trees,
        class_weight="balanced_subsample",
        min_samples_leaf=3,
        random_state=arguments.seed,
        n_jobs=arguments.jobs,
    )
    forest.fit(train[list(names)].to_numpy(), label_N)
    return np.asarray(forest.predict(test[list(names)].to_numpy()))


def print_table(
    results: Sequence[tuple[str, int, float, float, float, float, NDArray[np.float64]]],
    train: pd.DataFrame,
    test: pd.DataFrame,
    classes: Sequence[str],
) -> None:
    print(f"`python {shlex.join(sys.argv)}`\n")
    print(
        f"{len(train)} images of {train['lesion'].nunique()} lesions to train on, {len(test)} images of "
        f"{test['lesion'].nunique()} other lesions to test on. Chance: {1 / len(classes):.1%}.\n"
    )
    counts = [f"{label} ({(test['label'] == label).sum()})" for label in classes]
    print(
        "| group | features | balanced accuracy | 95 % interval | shuffled labels | " + " | ".join(counts) + " |\n"
        "| --- | ---: | ---: | ---: | ---: |" + " ---: |" * len(classes)
    )
    for group, count, score, low, high, control, recall in results:
        cells = " | ".join(f"{value:.0%}" for value in recall)
        title = group.replace("|", "\\|")
        print(f"| {title} | {count} | **{score:.1%}** | {low:.1%} to {high:.1%} | {control:.1%} | {cells} |")


if __name__ == "__main__":
    main()
