"""What training images are worth: classifiers that differ in nothing else, compared over seeds.

Two things blur such a comparison. Another seed gives another classifier: that is the interval over seeds, and since
runs of the same seed start from the same weights, gains are differences of pairs. Another test set would give another
score: that is the interval over test lesions of each run, and it does not shrink with more seeds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from lfvar.errors import ArtefactError, DataError
from lfvar.metrics.classification import Interval

BASELINE = "real"
_CARD = "run_card.json"
_MEASURES = ("balanced_accuracy", "macro_auc")


@dataclass(frozen=True)
class ClassifierRun:
    """What a table needs of one finished run."""

    folder: str
    train_on: str
    balanced: bool
    seed: int
    setting: str
    """Everything else that must be the same for runs to compare: data, network, training."""
    scores: Mapping[str, float]
    """Of the test split: `balanced_accuracy`, `recall_mel`, `balanced_accuracy_low`, …"""

    @property
    def group(self) -> str:
        """The row of the table that the run belongs to."""
        return self.train_on if self.balanced else f"{self.train_on}, as frequent as found"


def read_runs(folder: Path) -> list[ClassifierRun]:
    """Find the finished classifiers below a folder, such as that of a sweep.

    Raises:
        DataError: When there is none, or they were tested on different images or trained in different ways.
        ArtefactError: When a run card is damaged.
    """
    runs = [run for path in sorted(folder.rglob(_CARD)) if (run := _read(path)) is not None]
    if not runs:
        raise DataError(
            f"no finished run of experiment=classifier with scores of a test split below '{folder}'",
            cure="give the folder of a sweep: python -m lfvar.train -m experiment=classifier sweep=usefulness "
            "synthetic=FOLDER",
        )
    settings = sorted({run.setting for run in runs})
    if len(settings) > 1:
        raise DataError(
            f"the runs below '{folder}' differ in more than their training images: {_difference(settings)}",
            cure="compare runs of one sweep",
        )
    return runs


def seed_interval(values: Sequence[float]) -> Interval:
    """Mean over seeds with its 95 % t interval; without bounds for a single seed."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean)
    half = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)


def usefulness_rows(runs: Sequence[ClassifierRun]) -> list[dict[str, Any]]:
    """One row per choice of training images, the real ones first.

    Returns:
        `trained on`, `seeds`, an `Interval` over seeds for `balanced_accuracy`, `macro_auc` and each `recall_<type>`,
        `test set` (mean bounds of balanced accuracy over test lesions) and `gain` (paired difference of balanced
        accuracy to real images alone; None where no seed has both).
    """
    groups: dict[str, dict[int, ClassifierRun]] = {}
    for run in runs:
        groups.setdefault(run.group, {})[run.seed] = run
    ordered = sorted(groups, key=lambda name: (name.split(",")[0] != BASELINE, name))
    recalls = list(dict.fromkeys(name for run in runs for name in run.scores if _is_recall(name)))
    rows = []
    for name in ordered:
        mine = list(groups[name].values())
        row: dict[str, Any] = {"trained on": name, "seeds": len(mine)}
        for score in (*_MEASURES, *recalls):
            found = [run.scores[score] for run in mine if score in run.scores]
            row[score] = seed_interval(found) if found else Interval(float("nan"))
        bounds = [[run.scores.get(f"balanced_accuracy_{end}", float("nan")) for run in mine] for end in ("low", "high")]
        row["test set"] = Interval(row["balanced_accuracy"].value, *(float(np.mean(values)) for values in bounds))
        row["gain"] = _gain(groups[name], groups.get(BASELINE, {})) if name != BASELINE else None
        rows.append(row)
    return rows


def usefulness_table(runs: Sequence[ClassifierRun]) -> str:
    """The rows as a Markdown table, with what its intervals are."""
    rows = usefulness_rows(runs)
    recalls = [name for name in rows[0] if _is_recall(name)]
    header = ["trained on", "seeds", "balanced accuracy", "same, over test lesions", "gain over real", "macro AUC"]
    lines = [[*header, *(f"recall {name.removeprefix('recall_')}" for name in recalls)]]
    lines.append([":---", *("---:" for _ in lines[0][1:])])
    for row in rows:
        cells = [row["trained on"], row["seeds"], row["balanced_accuracy"]]
        over_lesions = f"{row['test set'].low:.3f} to {row['test set'].high:.3f}"
        gain = "" if row["gain"] is None else _signed(row["gain"])
        recall_cells = [f"{row[name].value:.2f}" for name in recalls]
        lines.append([str(cell) for cell in (*cells, over_lesions, gain, row["macro_auc"], *recall_cells)])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return (
        f"{table}\n\nScores on the test split, real images alone; [95 % t interval over seeds]. Over test lesions: 95 %"
        " bootstrap interval of a run, mean over seeds.\nGain: difference to real images alone, paired by seed.\n"
    )


def _read(path: Path) -> ClassifierRun | None:
    """A run, or None where the card is that of another stage, of an unfinished run or of one without a test."""
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        if card["stage"] != "classifier" or card.get("result", {}).get("status") != "finished":
            return None
        scores = {n.removeprefix("test/"): v for n, v in card["result"]["metrics"].items() if n.startswith("test/")}
        config = card["config"]
        run = ClassifierRun(
            folder=str(path.parent),
            train_on=config["train_on"],
            balanced=bool(config["data"]["loader"]["balanced"]),
            seed=int(config["seed"]),
            setting=_setting(card),
            scores=scores,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtefactError(f"{path} is damaged: {error}", cure="remove it, or start that run again") from error
    return run if scores else None


def _setting(card: Mapping[str, Any]) -> str:
    config = card["config"]
    loader = {k: v for k, v in config["data"]["loader"].items() if k in ("batch_size", "augment")}
    parts = {"manifest": card["data"].get("manifest"), "model": config["model"], "optim": config["optim"]}
    parts |= {"loss": config["loss"], "loader": loader, "max_steps": config["trainer"]["max_steps"]}
    return json.dumps(parts, sort_keys=True)


def _difference(settings: Sequence[str]) -> str:
    first, second = json.loads(settings[0]), json.loads(settings[1])
    return ", ".join(sorted(name for name in first if first[name] != second[name]))


def _is_recall(name: str) -> bool:
    return name.startswith("recall_") and not name.endswith(("_low", "_high"))


def _gain(mine: Mapping[int, ClassifierRun], real: Mapping[int, ClassifierRun]) -> Interval | None:
    seeds = sorted(mine.keys() & real.keys())
    name = "balanced_accuracy"
    pairs = [mine[seed].scores[name] - real[seed].scores[name] for seed in seeds]
    return seed_interval(pairs) if pairs else None


def _signed(interval: Interval) -> str:
    bounds = "" if np.isnan(interval.low) else f" [{interval.low:+.3f}, {interval.high:+.3f}]"
    return f"{interval.value:+.3f}{bounds}"
