import dataclasses

import pyarrow.parquet as pq
import pytest

from lfvar.data import manifest as module
from lfvar.data.framing import Frame
from lfvar.data.manifest import (
    MANIFEST_FILE,
    Manifest,
    ManifestHeader,
    ManifestRow,
    find_differences,
    hash_inputs,
    plain,
)
from lfvar.errors import ArtefactError

COMMAND = "python -m lfvar.prepare data=ham10000 data.root=/x"


def make_row(index: int, **changes: object) -> ManifestRow:
    row = ManifestRow(
        image_id=f"i{index}",
        label=("nv", "mel")[index % 2],
        lesion_id=None if index == 3 else f"l{index}",
        patient_id=None,
        split=("test", "val", "train", "train", "train")[index % 5],
        fold=index % 5,
        image=f"images/i{index}.png",
        mask=f"masks/i{index}.png",
        original_width=600,
        original_height=450,
        frame_x0=-3,
        frame_y0=4,
        frame_width=450,
        frame_height=450,
        lesion_fraction=0.1 + index / 3,
        lesion_in_view=1.0,
        source_image_hash="a",
        source_mask_hash="b",
        image_hash="c",
        mask_hash="d",
    )
    return dataclasses.replace(row, **changes)


def make_manifest(**changes: object) -> Manifest:
    header = ManifestHeader(
        name="ham10000",
        classes=("nv", "mel", "df"),
        image_size=64,
        settings=plain({"prepare": {"image_size": 64}, "split": {"num_folds": 5, "seed": 0}, "list": (1, 2)}),
        inputs_hash="e",
        fold=0,
        command=COMMAND,
        lfvar_version="0.1",
    )
    return Manifest(dataclasses.replace(header, **changes), tuple(make_row(index) for index in range(10)))


def test_round_trip(tmp_path):
    made = make_manifest()
    made.write(tmp_path)
    read = Manifest.read(tmp_path)
    assert read == made
    assert read.hash == made.hash
    assert read.rows[3].lesion_id is None
    assert read.rows[0].frame == Frame(-3, 4, 450, 450)
    assert read.to_frame().shape == (10, 20)
    assert [row.image_id for row in read.select("val")] == ["i1", "i6"]
    assert read.count()["train"] == {"nv": 3, "mel": 3, "df": 0}


def test_bytes_are_deterministic(tmp_path):
    paths = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        paths.append(make_manifest().write(tmp_path / name))
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_hash_follows_content_and_settings_but_not_the_command():
    made = make_manifest()
    assert make_manifest(command="other", lfvar_version="9").hash == made.hash
    others = [
        make_manifest(name="x"),
        make_manifest(classes=("mel", "nv", "df")),
        make_manifest(settings={"split": {}}),
        Manifest(made.header, (*made.rows[:-1], make_row(9, image_hash="other"))),
        Manifest(made.header, (*made.rows[:-1], make_row(9, split="val"))),
    ]
    assert len({made.hash, *(other.hash for other in others)}) == 6
    assert others[3].pixels_hash != made.pixels_hash
    assert others[4].pixels_hash == made.pixels_hash


def test_other_folds_are_views():
    made = make_manifest()
    other = made.with_fold(3)
    assert {row.fold for row in other.select("test")} == {3}
    assert {row.fold for row in other.select("val")} == {4}
    assert other.header.fold == 3
    assert other.hash != made.hash
    assert other.pixels_hash == made.pixels_hash
    with pytest.raises(ArtefactError, match="fold 5 was asked for"):
        made.with_fold(5)


def test_missing_manifest_names_the_command(tmp_path):
    with pytest.raises(ArtefactError, match=r"(?s)no manifest.parquet in.*prepare the dataset: my command"):
        Manifest.read(tmp_path, command="my command")


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "flipped"])
def test_damage_is_an_error(tmp_path, damage):
    path = make_manifest().write(tmp_path)
    data = path.read_bytes()
    path.write_bytes(
        {
            "cut": data[:-20],
            "empty": b"",
            "text": b"not parquet",
            "flipped": data[:40] + bytes(255 - byte for byte in data[40:60]) + data[60:],
        }[damage]
    )
    with pytest.raises(ArtefactError, match="rebuild it: "):
        Manifest.read(tmp_path)


def test_foreign_parquet_is_an_error(tmp_path):
    make_manifest().to_frame().to_parquet(tmp_path / MANIFEST_FILE)
    with pytest.raises(ArtefactError, match="no lfvar manifest"):
        Manifest.read(tmp_path)


def test_edited_rows_are_an_error(tmp_path):
    path = make_manifest().write(tmp_path)
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 9), path)
    with pytest.raises(ArtefactError, match="was changed after it was made"):
        Manifest.read(tmp_path)


def test_other_schema_version_names_the_stored_command(tmp_path, monkeypatch):
    make_manifest(schema_version=99).write(tmp_path)
    with pytest.raises(ArtefactError) as caught:
        Manifest.read(tmp_path)
    assert f"schema version 99; this lfvar reads version {module.SCHEMA_VERSION}" in caught.value.message
    assert COMMAND in caught.value.cure


def test_differences_name_the_setting():
    there = {"prepare": {"image_size": 64, "framing": "lesion"}, "split": {"seed": 0}}
    wanted = {"prepare": {"image_size": 128, "framing": "lesion"}, "split": {"seed": 0, "num_folds": 5}}
    assert find_differences(there, wanted) == [
        "prepare.image_size is 64 there and 128 here",
        "split.num_folds is null there and 5 here",
    ]
    assert find_differences(plain({"a": (1, 2)}), plain({"a": [1, 2]})) == []


def test_inputs_hash_ignores_order():
    assert hash_inputs([("a", None), ("b", "c")]) == hash_inputs([("b", "c"), ("a", None)])
    assert hash_inputs([("a", None)]) != hash_inputs([("a", "x")])
