"""Features of images on disk, so that a run that was killed goes on and real images are embedded once.

One SQLite file per network, named by its name and the hash of its weights. A row is keyed by the bytes of the image
file, so nothing in it ever becomes stale, and each finished batch survives `kill -9`.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from lfvar.errors import ArtefactError
from lfvar.evaluation.sets import ImageSet
from lfvar.metrics.set_extractors import SetExtractor
from lfvar.progress import ProgressBar

_APPLICATION_ID = 0x6C667665  # "lfve"
_LAYOUT = 1
_LOCK_SECONDS = 120.0
_CREATE = """
CREATE TABLE IF NOT EXISTS features (image_hash TEXT PRIMARY KEY, vector BLOB NOT NULL, checksum INTEGER NOT NULL)
WITHOUT ROWID
"""


def embed_set(
    images: ImageSet, extractor: SetExtractor, cache_folder: Path, *, batch_size: int = 64
) -> NDArray[np.float64]:
    """Features (N, D) of all images of a set, of which only those that no file holds yet are computed.

    Args:
        images: The set.
        extractor: The network.
        cache_folder: Where its file lies; created when missing.
        batch_size: Images at once; each batch is stored before the next.

    Raises:
        ArtefactError: When the file is damaged or cannot be written.
        DataError: When an image cannot be decoded.
    """
    keys = [row.image_hash for row in images.rows]
    with FeatureCache(cache_folder / f"{extractor.name}-{extractor.weights_hash}.sqlite") as cache:
        first_of: dict[str, int] = {}
        there = cache.keys()
        for index, key in enumerate(keys):
            if key not in there:
                first_of.setdefault(key, index)
        todo = np.array(list(first_of.values()), dtype=np.int64)
        if len(todo):
            with ProgressBar(len(todo), f"{extractor.name}: {images.name}") as bar:
                for first, (image_BHWC, _) in enumerate(images.batches(todo, batch_size)):
                    part = todo[first * batch_size : (first + 1) * batch_size]
                    cache.put([keys[index] for index in part], extractor.embed(image_BHWC))
                    bar.advance(len(part))
        return cache.get(keys)


class FeatureCache:
    """An open file of features; a context manager.

    Args:
        path: The file; created when missing, along with its folder.

    Raises:
        ArtefactError: When the file is damaged, none of ours, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=_LOCK_SECONDS, isolation_level=None)
        try:
            with self._explained():
                self._claim()
        except BaseException:
            self._connection.close()
            raise

    def _claim(self) -> None:
        (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        (layout,) = self._connection.execute("PRAGMA user_version").fetchone()
        if tables and (application, layout) != (_APPLICATION_ID, _LAYOUT):
            raise ArtefactError(f"'{self.path}' is no file of features", cure="choose another folder: cache=FOLDER")
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the last batch, a kill none
        if not tables:
            self._connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            self._connection.execute(f"PRAGMA user_version = {_LAYOUT}")
            self._connection.execute(_CREATE)

    def keys(self) -> set[str]:
        """Hashes of the images that are there."""
        with self._explained():
            return {key for (key,) in self._connection.execute("SELECT image_hash FROM features")}

    def put(self, keys: Sequence[str], vectors_BD: NDArray[np.float64]) -> None:
        """Add rows, as float32; they survive the death of this process from here on."""
        blobs = [vector_D.astype("<f4").tobytes() for vector_D in vectors_BD]
        rows = [(key, blob, zlib.crc32(blob)) for key, blob in zip(keys, blobs, strict=True)]
        with self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT OR IGNORE INTO features VALUES (?, ?, ?)", rows)
            self._connection.execute("COMMIT")

    def get(self, keys: Sequence[str]) -> NDArray[np.float64]:
        """Features (N, D) in the order of the keys.

        Raises:
            ArtefactError: When a row is missing or damaged.
        """
        vectors = []
        with self._explained():
            for key in keys:
                row = self._connection.execute(
                    "SELECT vector, checksum FROM features WHERE image_hash = ?", (key,)
                ).fetchone()
                if row is None or zlib.crc32(row[0]) != row[1]:
                    raise self._damaged("a row is missing or its checksum does not fit")
                vectors.append(np.frombuffer(row[0], "<f4").astype(np.float64))
        if len({len(vector) for vector in vectors}) > 1:
            raise self._damaged("its rows have different lengths")
        return np.stack(vectors) if vectors else np.zeros((0, 0))

    def __enter__(self) -> FeatureCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def _damaged(self, what: str) -> ArtefactError:
        return ArtefactError(f"features in '{self.path}' are damaged: {what}", cure="delete the file and run again")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's errors in words that help."""
        try:
            yield
        except (sqlite3.OperationalError, PermissionError) as error:
            raise ArtefactError(
                f"features cannot be kept in '{self.path}': {error}", cure="choose a folder of yours: cache=FOLDER"
            ) from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error
