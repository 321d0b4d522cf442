"""The folder of generated images: its table, and that it is a dataset like any other."""

import numpy as np
import pytest
from tests.generated_folders import many, write_edits, write_folder

from lfvar.data.generated import Generated, GeneratedRow, find_claims, read_generated, write_generated
from lfvar.data.manifest import Manifest
from lfvar.data.prepare import prepare
from lfvar.data.prepare_config import PrepareConfig
from lfvar.data.splits import SplitConfig
from lfvar.errors import ArtefactError, DataError


def row(index, **changes):
    values = {
        "image_id": f"x_{index}",
        "mode": "inter",
        "source_id": "s",
        "source_label": "nv",
        "source_split": "test",
        "label": "mel",
        "seed": index,
        "sample": 0,
        "prompt": None,
        "mask_kind": "source",
        "mask_from": "s",
        "asked": {"clinical_colour_lightness": 40.0 + index},
    }
    return GeneratedRow(**(values | changes))


def test_what_is_written_is_read(tmp_path):
    rows = [row(0), row(1, source_id=None, label=None, prompt="a nevus", asked={}), row(2, seed=2**40)]
    path = write_generated(tmp_path, rows, {"command": "again", "settings": {"a": 1}})
    table = read_generated(tmp_path)
    assert list(table["image_id"]) == ["x_0", "x_1", "x_2"]
    assert table["asked_clinical_colour_lightness"][0] == 40.0
    assert np.isnan(table["asked_clinical_colour_lightness"][1])
    assert table["source_id"].isna().tolist() == [False, True, False]
    assert table["seed"][2] == 2**40
    assert table.attrs["header"]["command"] == "again"
    before = path.read_bytes()
    assert write_generated(tmp_path, rows, {"settings": {"a": 1}, "command": "again"}).read_bytes() == before


def test_damage_is_named(tmp_path):
    with pytest.raises(ArtefactError, match=r"no generated\.parquet"):
        read_generated(tmp_path)
    path = write_generated(tmp_path, [row(0)], {"command": "the command"})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ArtefactError, match="damaged"):
        read_generated(tmp_path)
    write_generated(tmp_path, [row(0)], {"command": "the command", "format_version": 99})
    with pytest.raises(ArtefactError, match="format 99") as caught:
        read_generated(tmp_path)
    assert "the command" in caught.value.cure


def test_claims(tmp_path):
    find_claims(tmp_path, {"a": 1}, None)
    find_claims(tmp_path, {"a": 1}, {"a": 1})
    with pytest.raises(ArtefactError, match="a is 2 there and 1 here") as caught:
        find_claims(tmp_path, {"a": 1}, {"a": 2})
    assert "output=FOLDER" in caught.value.cure
    assert "remove" in caught.value.cure


def test_generated_images_are_prepared_like_any_dataset(tmp_path):
    images = many(12)
    real = write_folder(tmp_path / "real", images)
    write_edits(tmp_path / "made", images, real, [n for n in range(12) for _ in (0, 1)])
    source = Generated(tmp_path / "made")
    made = Manifest.read(tmp_path / "made")
    split = SplitConfig(val_fraction=0.25, test_fraction=0.25)
    report = prepare(source, "again", PrepareConfig(image_size=32, workers=1), split, tmp_path / "again")
    assert report.num_prepared == 24
    again = Manifest.read(tmp_path / "again")
    assert again.header.settings["source"] == {"kind": "Generated", "manifest_hash": made.hash}
    splits = {}
    for prepared in again.rows:
        splits.setdefault(prepared.lesion_id, set()).add(prepared.split)
    assert all(len(found) == 1 for found in splits.values())
    with pytest.raises(DataError, match="not generated ones"):
        Generated(tmp_path / "real").records()
    with pytest.raises(DataError, match=r"data\.root"):
        Generated(None).records()
