"""The cache: nothing lost, nothing made up, and damage that is said aloud."""

import contextlib
import sqlite3
import threading

import numpy as np
import pytest

from lfvar.errors import ArtefactError
from lfvar.measure.cache import CacheKey, MeasurementCache, merge_caches
from lfvar.measure.extract import Measurements
from lfvar.measure.schema import FEATURE_NAMES


def key(index, settings="s"):
    return CacheKey(f"image{index}", f"mask{index}", settings)


def row(seed):
    values = np.random.default_rng(seed).normal(0, 1e8, len(FEATURE_NAMES))
    values[seed % len(values)] = np.nan
    return Measurements(values, {"texture": f"glszm: ungerade Größe {seed}"})


def fill(path, indices):
    with MeasurementCache(path) as cache:
        cache.put([(key(index), row(index)) for index in indices])


def same(first, second):
    np.testing.assert_array_equal(first.values, second.values)
    return dict(first.reasons) == dict(second.reasons)


def test_what_goes_in_comes_out(tmp_path):
    path = tmp_path / "new" / "cache.sqlite"
    with MeasurementCache(path) as cache:
        assert cache.put([(key(3), row(3))]) == 1
        assert cache.get(key(4)) is None
        assert cache.get(key(3, "other settings")) is None
    with MeasurementCache(path, create=False) as cache:
        assert same(cache.get(key(3)), row(3))
        assert cache.missing([key(3), key(4)]) == {key(4)}
        assert len(cache) == 1
    assert [entry.name for entry in path.parent.iterdir()] == ["cache.sqlite"]  # the -wal file is folded in


def test_what_is_there_stays(tmp_path):
    with MeasurementCache(tmp_path / "cache.sqlite") as cache:
        cache.put([(key(3), row(3))])
        assert cache.put([(key(3), row(5)), (key(4), row(4))]) == 1
        assert same(cache.get(key(3)), row(3))


def test_merge(tmp_path):
    first, second, third = (tmp_path / f"{name}.sqlite" for name in "abc")
    fill(first, range(0, 5))
    fill(second, range(3, 9))
    assert merge_caches(third, [first, second, third]) == 9
    assert merge_caches(third, [first, second]) == 0
    with MeasurementCache(third) as cache:
        assert [item[0] for item in cache.items()] == sorted(key(index) for index in range(9))
        assert all(same(cache.get(key(index)), row(index)) for index in range(9))
    with pytest.raises(ArtefactError, match="no measurement cache"):
        merge_caches(third, [tmp_path / "absent.sqlite"])


def test_merge_of_more_than_a_batch(tmp_path):
    fill(tmp_path / "many.sqlite", range(2100))
    assert merge_caches(tmp_path / "all.sqlite", [tmp_path / "many.sqlite"]) == 2100


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to be one" * 50, b"SQLite format 3\0" + b"x" * 5000]
)
def test_a_file_that_is_no_database(tmp_path, content):
    path = tmp_path / "cache.sqlite"
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"damaged[\s\S]*delete") as raised:
        MeasurementCache(path)
    assert str(path) in str(raised.value)


def test_another_programs_database_is_left_alone(tmp_path):
    path = tmp_path / "places.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ArtefactError, match="no measurement cache"):
        MeasurementCache(path)
    assert path.read_bytes() == before


def test_an_empty_file_is_a_new_cache(tmp_path):
    """A run killed before its first row leaves one."""
    path = tmp_path / "cache.sqlite"
    path.touch()
    with MeasurementCache(path) as cache:
        assert len(cache) == 0


@pytest.mark.parametrize("seed", range(6))
def test_damage_anywhere_is_noticed_or_harmless(tmp_path, seed):
    path = tmp_path / "cache.sqlite"
    fill(path, range(60))
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    start = int(rng.integers(200, len(content) - 400))
    content[start : start + 300] = rng.bytes(300)
    path.write_bytes(bytes(content))
    found = {}
    with contextlib.suppress(ArtefactError), MeasurementCache(path) as cache:
        for index in range(60):
            found[index] = cache.get(key(index))
    assert all(item is None or same(item, row(index)) for index, item in found.items())


def test_a_changed_number_is_noticed(tmp_path):
    path = tmp_path / "cache.sqlite"
    fill(path, [3])
    connection = sqlite3.connect(path)
    connection.execute("UPDATE measurements SET vector = ?", (row(4).values.tobytes(),))
    connection.commit()
    connection.close()
    with MeasurementCache(path) as cache, pytest.raises(ArtefactError, match="checksum"):
        cache.get(key(3))


def test_a_truncated_file(tmp_path):
    path = tmp_path / "cache.sqlite"
    fill(path, range(100))
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(ArtefactError, match="damaged"):
        MeasurementCache(path)


def test_another_layout(tmp_path):
    path = tmp_path / "cache.sqlite"
    fill(path, [1])
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ArtefactError, match="layout 99"):
        MeasurementCache(path)


def test_several_writers_at_once(tmp_path):
    path = tmp_path / "cache.sqlite"
    failures = []

    def write(start):
        try:
            for index in range(start, start + 40):
                fill(path, [index])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(start,)) for start in (0, 20, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    with MeasurementCache(path) as cache:
        assert len(cache) == 80
