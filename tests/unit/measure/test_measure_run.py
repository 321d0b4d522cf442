"""Measuring a dataset: parallel, restartable, in shards, on any joblib backend, always the same table."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import pyarrow.parquet as pq
import pytest

from lfvar.data.manifest import Manifest
from lfvar.errors import ArtefactError, ConfigError
from lfvar.measure import run as running
from lfvar.measure import worker
from lfvar.measure.cache import MeasurementCache, merge_caches
from lfvar.measure.extract import MeasureSettings, measure
from lfvar.measure.run import MEASUREMENTS_FILE, measure_manifest, read_table, select_shard, write_table
from lfvar.measure.schema import FEATURE_NAMES

SETTINGS = MeasureSettings()


@pytest.fixture(scope="module")
def whole(prepared, tmp_path_factory):
    """One undisturbed run in this process: the bytes of its table, and its cache."""
    folder, manifest = prepared
    place = tmp_path_factory.mktemp("whole")
    report = measure_manifest(folder, manifest, SETTINGS, place / "cache.sqlite", workers=1)
    assert (report.num_images, report.num_new, report.num_workers) == (24, 24, 1)
    return write_table(place, manifest, place / "cache.sqlite", SETTINGS).read_bytes(), place / "cache.sqlite"


def table_of(manifest, cache, place, settings=SETTINGS):
    return write_table(place, manifest, cache, settings).read_bytes()


def test_the_table_says_what_it_is(prepared, whole, tmp_path):
    folder, manifest = prepared
    (tmp_path / MEASUREMENTS_FILE).write_bytes(whole[0])
    frame = read_table(tmp_path, manifest, SETTINGS)
    assert list(frame.columns) == ["image_id", *FEATURE_NAMES, "reason"]
    assert list(frame["image_id"]) == [row.image_id for row in manifest.rows]
    assert (frame["reason"] == "").all()
    header = json.loads(pq.read_schema(tmp_path / MEASUREMENTS_FILE).metadata[b"lfvar"])
    assert header["pixels_hash"] == manifest.pixels_hash
    assert header["settings_hash"] == SETTINGS.hash
    assert header["command"] == manifest.header.command
    from lfvar.data.imageio import read_image, read_mask

    row = manifest.rows[5]
    alone = measure(read_image(folder / row.image), read_mask(folder / row.mask), SETTINGS)
    np.testing.assert_array_equal(frame.loc[5, list(FEATURE_NAMES)].to_numpy(float), alone.values)


def test_a_second_run_measures_nothing(prepared, whole):
    report = measure_manifest(*prepared, SETTINGS, whole[1], workers=1)
    assert (report.num_images, report.num_new) == (24, 0)


def test_two_processes_give_the_same_bytes(prepared, whole, tmp_path):
    report = measure_manifest(*prepared, SETTINGS, tmp_path / "cache.sqlite", workers=2)
    assert report.num_workers == 2
    assert table_of(prepared[1], tmp_path / "cache.sqlite", tmp_path) == whole[0]


def test_the_callers_backend_wins(prepared, whole, tmp_path, monkeypatch):
    pids = []
    original = worker.measure_pair
    monkeypatch.setattr(worker, "measure_pair", lambda *args: pids.append(os.getpid()) or original(*args))
    with joblib.parallel_config(backend="threading", n_jobs=2):
        report = measure_manifest(*prepared, SETTINGS, tmp_path / "cache.sqlite")
    assert (report.num_new, report.num_workers) == (24, 2)
    assert pids == [os.getpid()] * 24
    assert table_of(prepared[1], tmp_path / "cache.sqlite", tmp_path) == whole[0]


def test_a_backend_without_generators(prepared, whole, tmp_path):
    """Ray's and others: whole lists come back, in portions."""
    from joblib._parallel_backends import ThreadingBackend

    class Plain(ThreadingBackend):
        supports_return_generator = False

    joblib.register_parallel_backend("plain", Plain)
    with joblib.parallel_config(backend="plain", n_jobs=2):
        measure_manifest(*prepared, SETTINGS, tmp_path / "cache.sqlite")
    assert table_of(prepared[1], tmp_path / "cache.sqlite", tmp_path) == whole[0]


def test_a_local_dask_cluster(prepared, whole, tmp_path):
    import distributed

    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        measure_manifest(*prepared, SETTINGS, tmp_path / "cache.sqlite")
    assert table_of(prepared[1], tmp_path / "cache.sqlite", tmp_path) == whole[0]


def test_shards_are_a_partition_that_does_not_move(prepared):
    rows = prepared[1].rows
    parts = [select_shard(rows, (index, 3)) for index in (1, 2, 3)]
    ids = [row.image_id for part in parts for row in part]
    assert sorted(ids) == [row.image_id for row in rows]
    assert all(parts)
    assert select_shard(rows[:10], (2, 3)) == [row for row in parts[1] if row in rows[:10]]
    for shard in ((0, 3), (4, 3), (1, 0)):
        with pytest.raises(ConfigError, match="shard"):
            select_shard(rows, shard)


def test_shards_merged_equal_the_whole(prepared, whole, tmp_path):
    folder, manifest = prepared
    caches = [tmp_path / f"{index}.sqlite" for index in (1, 2, 3)]
    counts = [
        measure_manifest(folder, manifest, SETTINGS, cache, workers=1, shard=(index, 3)).num_new
        for index, cache in enumerate(caches, start=1)
    ]
    assert sum(counts) == 24
    with pytest.raises(ArtefactError, match=f"lacks {24 - counts[0]} of 24") as raised:
        write_table(tmp_path, manifest, caches[0], SETTINGS)
    assert manifest.header.command in raised.value.cure
    assert merge_caches(tmp_path / "all.sqlite", caches) == 24
    assert table_of(manifest, tmp_path / "all.sqlite", tmp_path) == whole[0]


def test_changed_settings_and_images_measure_only_what_changed(prepared, whole, tmp_path):
    folder, manifest = prepared
    cache = tmp_path / "cache.sqlite"
    merge_caches(cache, [whole[1]])
    coarse = MeasureSettings(bin_width=50)
    assert measure_manifest(folder, manifest, coarse, cache, workers=1, shard=(1, 3)).num_new > 0
    assert measure_manifest(folder, manifest, SETTINGS, cache, workers=1).num_new == 0
    assert table_of(manifest, cache, tmp_path) == whole[0]

    from lfvar.data.imageio import read_image, write_png

    other = tmp_path / "other"
    for part in ("images", "masks"):
        (other / part).mkdir(parents=True)
        for path in (folder / part).iterdir():
            (other / part / path.name).write_bytes(path.read_bytes())
    row = manifest.rows[7]
    image_hash = write_png(other / row.image, read_image(other / row.image)[:, ::-1].copy())
    rows = [dataclasses.replace(r, image_hash=image_hash) if r is row else r for r in manifest.rows]
    changed = Manifest(manifest.header, tuple(rows))
    assert measure_manifest(other, changed, SETTINGS, cache, workers=1).num_new == 1


def test_a_file_changed_behind_our_back_is_not_stored(prepared, tmp_path):
    folder, manifest = prepared
    row = manifest.rows[3]
    for name, change in (("gone", Path.unlink), ("changed", lambda path: path.write_bytes(b"?"))):
        place = tmp_path / name
        for part in ("images", "masks"):
            (place / part).mkdir(parents=True)
            for path in (folder / part).iterdir():
                (place / part / path.name).write_bytes(path.read_bytes())
        change(place / row.image)
        with pytest.raises(ArtefactError, match="1 prepared images or masks") as raised:
            measure_manifest(place, manifest, SETTINGS, place / "cache.sqlite", workers=1)
        assert str(place / row.image) in raised.value.message
        with MeasurementCache(place / "cache.sqlite") as cache:
            assert len(cache) == 23


def test_what_cannot_be_measured_is_missing_with_its_reason(prepared, tmp_path, monkeypatch):
    folder, manifest = prepared
    name = Path(manifest.rows[4].mask).name
    original = worker.read_mask

    def read_mask(path):
        mask = original(path)
        return np.zeros_like(mask) if path.name == name else mask

    monkeypatch.setattr(worker, "read_mask", read_mask)
    report = measure_manifest(folder, manifest, SETTINGS, tmp_path / "cache.sqlite", workers=1)
    assert (report.num_new, report.num_incomplete) == (24, 1)
    assert report.reasons == {"shape, histogram, texture, clinical: empty mask": 1}
    write_table(tmp_path, manifest, tmp_path / "cache.sqlite", SETTINGS)
    frame = read_table(tmp_path, manifest)
    assert frame.loc[4, list(FEATURE_NAMES)].isna().all()
    assert frame.loc[4, "reason"] == "shape, histogram, texture, clinical: empty mask"
    assert frame.drop(index=4)[list(FEATURE_NAMES)].notna().all().all()
    before = (tmp_path / MEASUREMENTS_FILE).read_bytes()
    assert measure_manifest(folder, manifest, SETTINGS, tmp_path / "cache.sqlite", workers=1).num_new == 0
    assert table_of(manifest, tmp_path / "cache.sqlite", tmp_path) == before


def test_a_stale_table_is_an_error_with_the_command(prepared, whole, tmp_path):
    _, manifest = prepared
    with pytest.raises(ArtefactError, match=r"no measurements\.parquet") as raised:
        read_table(tmp_path, manifest)
    assert manifest.header.command in raised.value.cure
    path = write_table(tmp_path, manifest, whole[1], SETTINGS, command="python -m lfvar.prepare data=mine")
    fewer = Manifest(manifest.header, manifest.rows[:-1])
    with pytest.raises(ArtefactError, match="other images") as raised:
        read_table(tmp_path, fewer)
    assert "python -m lfvar.prepare data=mine" in raised.value.cure
    with pytest.raises(ArtefactError, match="other settings"):
        read_table(tmp_path, manifest, MeasureSettings(bin_width=10))
    other_split = Manifest(manifest.header, tuple(dataclasses.replace(row, split="test") for row in manifest.rows))
    assert len(read_table(tmp_path, other_split)) == 24
    content = path.read_bytes()
    table = pq.read_table(path)
    column = table.column_names.index("clinical_relative_area")
    pq.write_table(table.set_column(column, "clinical_relative_area", table.column("clinical_relative_diameter")), path)
    with pytest.raises(ArtefactError, match="changed after it was made"):
        read_table(tmp_path, manifest)
    path.write_bytes(content[:-20])
    with pytest.raises(ArtefactError, match="damaged"):
        read_table(tmp_path, manifest)


def test_workers_out_of_range(prepared, tmp_path):
    with pytest.raises(ConfigError, match="workers"):
        measure_manifest(*prepared, SETTINGS, tmp_path / "cache.sqlite", workers=-1)


KILLED = """
import sys
from pathlib import Path
from lfvar.data.manifest import Manifest
from lfvar.measure.run import MeasureSettings, measure_manifest
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    print("ready", flush=True)
    report = measure_manifest(
        folder, Manifest.read(folder), MeasureSettings(), Path(sys.argv[2]), workers=int(sys.argv[3])
    )
    print(report.num_new, flush=True)
"""


@pytest.mark.parametrize(("workers", "kills"), [(1, 5), (2, 3)])
def test_killed_at_random_moments_the_table_is_the_same(prepared, whole, tmp_path, workers, kills):
    folder, manifest = prepared
    script = tmp_path / "measuring.py"
    script.write_text(KILLED)
    cache = tmp_path / "cache.sqlite"
    command = [sys.executable, str(script), str(folder), str(cache), str(workers)]
    dice = random.Random(0)
    counts = []
    for _ in range(kills):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
        )
        assert process.stdout.readline() == "ready\n"
        # Until a row more than last time is there, then a random moment.
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline and rows_in(cache) <= (counts or [0])[-1]:
            time.sleep(0.005)
        time.sleep(dice.uniform(0, 0.05))
        os.killpg(process.pid, signal.SIGKILL)  # workers, too: one without a task yet would idle for minutes
        process.wait()
        process.stdout.close()
        counts.append(rows_in(cache))
    assert counts == sorted(counts)
    assert 0 < counts[0] < 24
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(finished.stdout.split()[-1]) == 24 - counts[-1]
    assert table_of(manifest, cache, tmp_path) == whole[0]


def rows_in(cache):
    """Without opening it as we do, which would help the killed run."""
    import sqlite3

    if not cache.exists():
        return 0
    connection = sqlite3.connect(cache)
    try:
        return connection.execute("SELECT count(*) FROM measurements").fetchone()[0]
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()


def test_the_run_module_offers_all_that_others_need():
    for name in running.__all__:
        assert hasattr(running, name)
