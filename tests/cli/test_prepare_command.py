"""Stage 0 as people type it: images, measurements, shards, figures."""

from dataclasses import replace

import pytest
from tiny_settings import run_module

from lfvar.data.manifest import Manifest
from lfvar.errors import ArtefactError, ConfigError
from lfvar.measure.profiles import Profiles
from lfvar.measure.run import read_table
from lfvar.measure.statistics import read_standardiser
from lfvar.prepare import parse_shard

SMALL = ["image_size=32", "data.source.num_images=60", "data.source.size=32", "data.split.val_fraction=0.3"]


def prepare(cwd, *overrides):
    return run_module("lfvar.prepare", *SMALL, *overrides, cwd=cwd)


def folder_of(cwd):
    (manifest,) = cwd.rglob("manifest.parquet")
    return manifest.parent


@pytest.mark.slow
def test_one_command_leaves_everything(tmp_path):
    done = prepare(tmp_path, "figures=true")
    assert done.returncode == 0, done.stderr
    folder = folder_of(tmp_path)
    manifest = Manifest.read(folder)
    table = read_table(folder, manifest)
    assert len(table) == len(manifest.rows) == 60
    assert table.drop(columns=["image_id", "reason"]).notna().mean().mean() > 0.99
    standardiser = read_standardiser(folder, manifest)
    train = table[table["image_id"].isin([row.image_id for row in manifest.select("train")])]
    values, present = standardiser.transform(train)
    assert abs(values[present].mean()) < 0.1
    assert Profiles.read(folder / "profiles.parquet").labels
    other = replace(manifest, rows=manifest.rows[1:])
    with pytest.raises(ArtefactError, match="another split"):
        read_standardiser(folder, other)
    figures = list(folder.glob("figures/*.png"))
    assert len(figures) >= 5
    made = [*figures, folder / "measurements.parquet", folder / "overview.png"]
    assert all(str(path.relative_to(tmp_path)) in done.stdout for path in made)
    assert "next: python -m lfvar.train experiment=vqvae data=phantom" in done.stdout
    again = prepare(tmp_path)
    assert again.returncode == 0, again.stderr
    assert "0 now" in again.stdout


@pytest.mark.slow
def test_shards_and_merge_equal_the_whole(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for cwd in (whole, parts):
        cwd.mkdir()
    assert prepare(whole).returncode == 0
    for shard in (1, 2):
        done = prepare(parts, f"measure.shard={shard}/2", f"measure.cache={parts}/{shard}.sqlite")
        assert done.returncode == 0, done.stderr
        assert "belong to other shards" in done.stdout
    done = prepare(parts, f"measure.merge=[{parts}/1.sqlite,{parts}/2.sqlite]")
    assert done.returncode == 0, done.stderr
    assert "0 now" in done.stdout
    tables = [read_table(folder_of(cwd), Manifest.read(folder_of(cwd))) for cwd in (whole, parts)]
    assert tables[0].equals(tables[1])


def test_nonsense_is_named(tmp_path):
    assert parse_shard("3/8") == (3, 8)
    assert parse_shard(None) is None
    with pytest.raises(ConfigError, match=r"measure\.shard=half"):
        parse_shard("half")
    for override, words in (("~measure", "figures=true draws"), ("measure=null", "~GROUP")):
        done = prepare(tmp_path, "figures=true", override)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert words in done.stderr
