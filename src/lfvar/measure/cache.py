"""The measurement cache: every finished lesion in one SQLite file, which survives `kill -9` at any time.

A row is keyed by the bytes of image and mask, by the settings and by the version, so nothing in it ever becomes stale:
changed images or settings are simply not there yet. Several processes may write at once. While it is open, its newest
rows lie in a second file beside it (`-wal`): copy both, or copy it when nothing is running. Network file systems that
cannot lock files are no place for it; give each machine its own and merge.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np

from lfvar.errors import ArtefactError
from lfvar.measure.extract import Measurements
from lfvar.measure.schema import FEATURE_NAMES

_APPLICATION_ID = 0x6C66766D  # "lfvm"
_LAYOUT = 1
_LOCK_SECONDS = 120.0
_CREATE = """
CREATE TABLE IF NOT EXISTS measurements (
    image_hash TEXT NOT NULL, mask_hash TEXT NOT NULL, settings_hash TEXT NOT NULL,
    vector BLOB NOT NULL, reasons TEXT NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (image_hash, mask_hash, settings_hash)
) WITHOUT ROWID
"""


class CacheKey(NamedTuple):
    """What a row is made of."""

    image_hash: str
    """SHA-256 of the prepared image's bytes."""
    mask_hash: str
    settings_hash: str
    """`MeasureSettings.hash`, which covers schema version, code version and pyradiomics."""


class MeasurementCache:
    """An open cache; a context manager.

    Args:
        path: The file; created when missing, along with its folder.
        create: False: a missing file is an error.

    Raises:
        ArtefactError: When the file is damaged, is none of ours, or is missing and not to be created.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = Path(path)
        if not create and not self.path.is_file():
            raise ArtefactError(f"no measurement cache at '{self.path}'", cure="measure first, or correct the path")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._explained():
            self._connection = sqlite3.connect(self.path, timeout=_LOCK_SECONDS, isolation_level=None)
        try:
            with self._explained():
                self._claim()
        except BaseException:
            self._connection.close()
            raise

    def _claim(self) -> None:
        """Recognise the file as ours, or make an empty one ours."""
        (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        (layout,) = self._connection.execute("PRAGMA user_version").fetchone()
        if tables and application != _APPLICATION_ID:
            raise ArtefactError(
                f"'{self.path}' is a database, but no measurement cache", cure="choose another path for the cache"
            )
        if tables and layout != _LAYOUT:
            raise ArtefactError(
                f"'{self.path}' has layout {layout}; this lfvar reads layout {_LAYOUT}",
                cure="choose another path, or delete the file and measure again",
            )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the last rows, a kill none
        if not tables:
            with self._transaction():
                self._connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                self._connection.execute(f"PRAGMA user_version = {_LAYOUT}")
                self._connection.execute(_CREATE)
        (state,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if state != "ok":
            raise self._damaged(str(state))

    def get(self, key: CacheKey) -> Measurements | None:
        """The measurements under a key; None when there are none.

        Raises:
            ArtefactError: When the row is damaged.
        """
        with self._explained():
            row = self._connection.execute(
                "SELECT vector, reasons, checksum FROM measurements"
                " WHERE image_hash = ? AND mask_hash = ? AND settings_hash = ?",
                key,
            ).fetchone()
        return None if row is None else self._decode(*row)

    def missing(self, keys: Iterable[CacheKey]) -> set[CacheKey]:
        """Those of the keys that are not there."""
        wanted = set(keys)
        there: set[CacheKey] = set()
        with self._explained():
            for settings_hash in {key.settings_hash for key in wanted}:
                rows = self._connection.execute(
                    "SELECT image_hash, mask_hash, settings_hash FROM measurements WHERE settings_hash = ?",
                    (settings_hash,),
                )
                there.update(CacheKey(*row) for row in rows)
        return wanted - there

    def put(self, items: Sequence[tuple[CacheKey, Measurements]]) -> int:
        """Add rows; they survive the death of this process from here on. What is there already stays.

        Returns:
            How many are new.
        """
        rows = [(*key, *_encode(measurements)) for key, measurements in items]
        with self._explained(), self._transaction():
            before = self._connection.total_changes
            self._connection.executemany("INSERT OR IGNORE INTO measurements VALUES (?, ?, ?, ?, ?, ?)", rows)
            return self._connection.total_changes - before

    def items(self) -> Iterator[tuple[CacheKey, Measurements]]:
        """All rows, in the order of their keys.

        Raises:
            ArtefactError: When one is damaged.
        """
        with self._explained():
            for row in self._connection.execute(
                "SELECT image_hash, mask_hash, settings_hash, vector, reasons, checksum"
                " FROM measurements ORDER BY 1, 2, 3"
            ):
                yield CacheKey(*row[:3]), self._decode(*row[3:])

    def __len__(self) -> int:
        with self._explained():
            (count,) = self._connection.execute("SELECT count(*) FROM measurements").fetchone()
        return int(count)

    def close(self) -> None:
        """Close the file; the last one to close folds the `-wal` file into it."""
        self._connection.close()

    def __enter__(self) -> MeasurementCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _decode(self, vector: bytes, reasons: str, checksum: int) -> Measurements:
        if checksum != _checksum(vector, reasons) or len(vector) % 8:
            raise self._damaged("the checksum of a row does not fit")
        return Measurements(np.frombuffer(vector, "<f8").astype(np.float64), json.loads(reasons))

    def _damaged(self, what: str) -> ArtefactError:
        return ArtefactError(
            f"measurement cache '{self.path}' is damaged: {what}",
            cure=f"delete '{self.path}' (and '{self.path.name}-wal', '{self.path.name}-shm' beside it) and measure "
            "again; caches of other machines can be merged in",
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's errors in words that help."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                raise ArtefactError(
                    f"measurement cache '{self.path}' stayed locked for {_LOCK_SECONDS:.0f} s",
                    cure="see what else is writing it, or give each process its own cache and merge them",
                ) from error
            raise ArtefactError(
                f"measurement cache '{self.path}' cannot be used: {error}",
                cure="check that the folder can be written to and that the disk is not full",
            ) from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error


def merge_caches(target: Path, sources: Sequence[Path]) -> int:
    """Add the rows of other caches, for example those that other machines filled with their shards.

    Args:
        target: The cache to add to; created when missing. Its own rows stay as they are.
        sources: Other caches. They are read only; naming the target among them does no harm.

    Returns:
        How many rows were new.

    Raises:
        ArtefactError: When one of them is missing or damaged; rows merged before stay.
    """
    added = 0
    with MeasurementCache(target) as cache:
        for source in sources:
            if Path(source).resolve() == Path(target).resolve():
                continue
            with MeasurementCache(source, create=False) as other:
                batch: list[tuple[CacheKey, Measurements]] = []
                for item in other.items():
                    batch.append(item)
                    if len(batch) == 1000:
                        added += cache.put(batch)
                        batch = []
                added += cache.put(batch)
    return added


def _encode(measurements: Measurements) -> tuple[bytes, str, int]:
    assert measurements.values.shape == (len(FEATURE_NAMES),)
    vector = np.where(measurements.present, measurements.values, np.nan).astype("<f8").tobytes()
    reasons = json.dumps(dict(measurements.reasons), sort_keys=True, ensure_ascii=False)
    return vector, reasons, _checksum(vector, reasons)


def _checksum(vector: bytes, reasons: str) -> int:
    return zlib.crc32(reasons.encode(), zlib.crc32(vector))
