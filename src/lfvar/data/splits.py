"""Which images train, which validate, which test: grouped, stratified, seeded, and stable as a dataset grows.

Images of one patient or one lesion never part. Within a lesion type, groups are ranked by a hash of the seed and their
name; the lowest ranks are tested on, the highest validated on. So the split depends neither on the order of rows nor on
the machine, and a new lesion moves at most one other at each boundary, between train and a held-out set.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from lfvar.data.records import Record
from lfvar.errors import ConfigError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class SplitConfig:
    """How to split: by fractions, or into folds."""

    seed: int = 0
    val_fraction: float = 0.1
    """Of the groups of each type."""
    test_fraction: float = 0.2
    num_folds: int = 0
    """0: split by the fractions. From 3: k folds, of which `fold` is the test set, the next one the validation set."""
    fold: int = 0
    """Which fold to test on. Prepared images serve all folds: this may change without preparing again."""

    def __post_init__(self) -> None:
        for name in ("val_fraction", "test_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"split.{name} is {getattr(self, name)}", cure="use a number from 0 to below 1")
        if self.val_fraction + self.test_fraction >= 1:
            raise ConfigError(
                f"split.val_fraction {self.val_fraction} and split.test_fraction {self.test_fraction} leave nothing "
                "to train on",
                cure="make their sum smaller than 1",
            )
        if self.num_folds != 0 and self.num_folds < 3:
            raise ConfigError(
                f"split.num_folds is {self.num_folds}",
                cure="use 0 (no folds) or at least 3: one to test, one to validate, the rest to train",
            )
        if not 0 <= self.fold < max(self.num_folds, 1):
            raise ConfigError(
                f"split.fold is {self.fold} with split.num_folds={self.num_folds}",
                cure=f"use a fold from 0 to {max(self.num_folds, 1) - 1}",
            )

    def describe(self) -> dict[str, object]:
        """The settings that decide the split; `fold` only picks a view of it."""
        if self.num_folds:
            return {"seed": self.seed, "num_folds": self.num_folds}
        return {"seed": self.seed, "val_fraction": self.val_fraction, "test_fraction": self.test_fraction}


@dataclass(frozen=True)
class Assignment:
    """The split of each image."""

    splits: Mapping[str, Split]
    folds: Mapping[str, int]
    """Empty without k-fold."""
    warnings: tuple[str, ...]


def assign_splits(records: Sequence[Record], config: SplitConfig) -> Assignment:
    """Assign each image to a split.

    Args:
        records: Usable images; ids are unique.
        config: Fractions or folds.

    Returns:
        The split (and fold) of each image id, and warnings about types that miss a split.
    """
    groups = _group(records)
    label_counts = Counter(record.label for record in records)
    strata: dict[str, list[str]] = {}
    for key, members in groups.items():
        # A patient has lesions of several types: the rarest decides, since the common ones even out by themselves.
        label = min({record.label for record in members}, key=lambda label: (label_counts[label], label))
        strata.setdefault(label, []).append(key)

    splits: dict[str, Split] = {}
    folds: dict[str, int] = {}
    for label, keys in strata.items():
        keys.sort(key=lambda key: (_hash(config.seed, key), key))
        first_fold = int(_hash(config.seed, f"type:{label}"), 16)
        for rank, key in enumerate(keys):
            for record in groups[key]:
                if config.num_folds:
                    # Types with fewer lesions than folds start at different folds, or fold 0 would get all of them.
                    fold = (first_fold + rank * config.num_folds // len(keys)) % config.num_folds
                    folds[record.image_id] = fold
                    splits[record.image_id] = split_of_fold(fold, config.fold, config.num_folds)
                else:
                    splits[record.image_id] = _split_of_rank(rank, len(keys), config)
    return Assignment(splits, folds, tuple(_warn(records, splits, folds, config)))


def split_of_fold(image_fold: int, fold: int, num_folds: int) -> Split:
    """The split of an image in `image_fold` when `fold` is tested on."""
    if image_fold == fold:
        return "test"
    return "val" if image_fold == (fold + 1) % num_folds else "train"


def _split_of_rank(rank: int, count: int, config: SplitConfig) -> Split:
    test = _held_out(config.test_fraction, count)
    val = _held_out(config.val_fraction, count)
    if test + val >= count:  # two groups or one: train comes first, then test
        val = 0
        test = min(test, count - 1)
    if rank < test:
        return "test"
    return "val" if rank >= count - val else "train"


def _held_out(fraction: float, count: int) -> int:
    """Groups to hold out: the rounded share, and at least one as soon as anything is to be held out."""
    return max(1, int(fraction * count + 0.5)) if fraction > 0 else 0


def _group(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Records that share a patient or a lesion, directly or through others, under a name that stays the same."""
    parents: dict[str, str] = {}

    def find(key: str) -> str:
        parents.setdefault(key, key)
        while parents[key] != key:
            parents[key] = parents[parents[key]]
            key = parents[key]
        return key

    keys_of: list[tuple[Record, str]] = []
    for record in records:
        keys = _keys(record)
        for key in keys[1:]:
            # A patient's name outranks a lesion's, so that a patient's next lesion does not rename the group.
            first, second = sorted((find(keys[0]), find(key)), key=lambda name: (name.startswith("lesion:"), name))
            parents[second] = first
        keys_of.append((record, keys[0]))
    groups: dict[str, list[Record]] = {}
    for record, key in keys_of:
        groups.setdefault(find(key), []).append(record)
    return groups


def _keys(record: Record) -> list[str]:
    keys = []
    if record.patient_id is not None:
        keys.append(f"patient:{record.patient_id}")
    if record.lesion_id is not None:
        keys.append(f"lesion:{record.lesion_id}")
    return keys or [f"image:{record.image_id}"]


def _hash(seed: int, key: str) -> str:
    return hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()


def _warn(
    records: Sequence[Record], splits: Mapping[str, Split], folds: Mapping[str, int], config: SplitConfig
) -> Iterable[str]:
    wanted: list[str] = ["train"]
    if config.num_folds:
        wanted = [f"fold {fold}" for fold in range(config.num_folds)]
    else:
        wanted += ["val"] if config.val_fraction > 0 else []
        wanted += ["test"] if config.test_fraction > 0 else []
    seen: dict[str, set[str]] = {}
    for record in records:
        image_id = record.image_id
        place = f"fold {folds[image_id]}" if config.num_folds else splits[image_id]
        seen.setdefault(record.label, set()).add(place)
    for label in sorted(seen):
        missing = [place for place in wanted if place not in seen[label]]
        if missing:
            yield f"type '{label}' has too few lesions to reach every split: none in {', '.join(missing)}"
