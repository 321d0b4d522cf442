import random
from collections import Counter

import pytest

from lfvar.data.records import Record
from lfvar.data.splits import SplitConfig, assign_splits
from lfvar.errors import ConfigError


def make_records(counts: dict[str, int], seed: int = 0) -> list[Record]:
    """`counts` lesions per type, each with one to four images."""
    rng = random.Random(seed)
    records = []
    for label, count in counts.items():
        for lesion in range(count):
            for image in range(rng.choice([1, 1, 1, 2, 4])):
                records.append(Record(f"{label}{lesion}_{image}", label, lesion_id=f"{label}{lesion}"))
    return records


RECORDS = make_records({"nv": 700, "mel": 110, "bcc": 50, "df": 12})


@pytest.mark.parametrize("config", [SplitConfig(), SplitConfig(num_folds=5, fold=2)])
def test_lesions_never_part(config):
    splits = assign_splits(RECORDS, config).splits
    places: dict[str, set[str]] = {}
    for record in RECORDS:
        places.setdefault(record.lesion_id, set()).add(splits[record.image_id])
    assert all(len(place) == 1 for place in places.values())


def test_fractions_hold_in_every_type():
    config = SplitConfig(val_fraction=0.1, test_fraction=0.2)
    splits = assign_splits(RECORDS, config).splits
    lesions = {(record.lesion_id, record.label, splits[record.image_id]) for record in RECORDS}
    for label, total in {"nv": 700, "mel": 110, "bcc": 50, "df": 12}.items():
        counts = Counter(split for _, other, split in lesions if other == label)
        assert abs(counts["val"] - 0.1 * total) <= 0.5
        assert abs(counts["test"] - 0.2 * total) <= 0.5
    images = Counter(splits.values())
    assert images["test"] / len(RECORDS) == pytest.approx(0.2, abs=0.03)


def test_order_does_not_matter_but_the_seed_does():
    shuffled = random.Random(1).sample(RECORDS, len(RECORDS))
    assert assign_splits(shuffled, SplitConfig()) == assign_splits(RECORDS, SplitConfig())
    assert assign_splits(RECORDS, SplitConfig(seed=1)).splits != assign_splits(RECORDS, SplitConfig()).splits


@pytest.mark.parametrize("config", [SplitConfig(), SplitConfig(num_folds=5)])
def test_new_lesions_move_few_others(config):
    before = assign_splits(RECORDS, config).splits
    more = RECORDS + [Record(f"new{index}", "mel", lesion_id=f"new{index}") for index in range(10)]
    after = assign_splits(more, config).splits
    moved = {record.lesion_id for record in RECORDS if before[record.image_id] != after[record.image_id]}
    assert len(moved) <= 10
    assert all(lesion.startswith("mel") for lesion in moved)
    if not config.num_folds:  # between train and a held-out set, never from one held-out set to the other
        assert all(
            "train" in (before[record.image_id], after[record.image_id])
            for record in RECORDS
            if record.lesion_id in moved
        )


def test_folds_cover_each_lesion_once():
    tested = Counter()
    for fold in range(5):
        splits = assign_splits(RECORDS, SplitConfig(num_folds=5, fold=fold)).splits
        assert set(splits.values()) == {"train", "val", "test"}
        tested.update(image_id for image_id, split in splits.items() if split == "test")
    assert tested == Counter(record.image_id for record in RECORDS)


def test_folds_are_balanced_per_type():
    folds = assign_splits(RECORDS, SplitConfig(num_folds=5)).folds
    for label, total in {"nv": 700, "mel": 110, "bcc": 50, "df": 12}.items():
        lesions = {record.lesion_id: folds[record.image_id] for record in RECORDS if record.label == label}
        counts = Counter(lesions.values())
        assert len(counts) == 5
        assert max(counts.values()) - min(counts.values()) <= 1, (label, total)


def test_patients_outrank_lesions_and_chains_hold_together():
    records = [Record(f"i{n}", "nv", lesion_id=f"l{n}", patient_id=f"p{n // 10}") for n in range(200)]
    records.append(Record("without patient", "nv", lesion_id="l5"))  # the same lesion as i5, of patient p0
    splits = assign_splits(records, SplitConfig()).splits
    for patient in range(20):
        assert len({splits[f"i{n}"] for n in range(10 * patient, 10 * patient + 10)}) == 1
    assert splits["without patient"] == splits["i5"]


def test_rare_types_reach_every_split_when_they_can():
    for count, expected in {1: {"train"}, 2: {"train", "test"}, 3: {"train", "val", "test"}}.items():
        assignment = assign_splits(make_records({"nv": 50, "df": count}), SplitConfig())
        assert {assignment.splits[f"df{n}_0"] for n in range(count)} == expected
        assert bool(assignment.warnings) == (count < 3)
    assert "'df' has too few lesions" in assign_splits(make_records({"df": 1}), SplitConfig()).warnings[0]
    assert "fold" in assign_splits(make_records({"nv": 9, "df": 3}), SplitConfig(num_folds=5)).warnings[0]


def test_no_held_out_sets_on_request():
    assignment = assign_splits(RECORDS, SplitConfig(val_fraction=0, test_fraction=0))
    assert set(assignment.splits.values()) == {"train"}
    assert assignment.warnings == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"val_fraction": -0.1},
        {"test_fraction": 1.0},
        {"val_fraction": 0.5, "test_fraction": 0.5},
        {"num_folds": 2},
        {"num_folds": 5, "fold": 5},
        {"fold": 1},
    ],
)
def test_wrong_settings_are_config_errors(wrong):
    with pytest.raises(ConfigError, match="split"):
        SplitConfig(**wrong)
