"""Measure a prepared dataset: skip what the cache has, spread the rest over processes, keep each result at once.

Any joblib backend can do the work. Without further ado it is one process per core of this machine; inside
`joblib.parallel_config(...)` it is what that says, for example Dask's workers:

    with joblib.parallel_config(backend="dask"):
        measure_manifest(folder, manifest, settings, cache_path)

Workers read the prepared folder themselves, so it must be under the same path for them; only this process opens the
cache. Machines that share nothing take a shard each and their caches are merged (`merge_caches`).
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import joblib
from joblib import Parallel, delayed

from lfvar.data.manifest import Manifest, ManifestRow
from lfvar.errors import ArtefactError, ConfigError, DataError
from lfvar.measure.cache import CacheKey, MeasurementCache, merge_caches
from lfvar.measure.extract import Measurements
from lfvar.measure.parquet import MEASUREMENTS_FILE, read_table, read_table_header, write_table
from lfvar.measure.settings import MeasureSettings
from lfvar.measure.worker import MeasureTask, measure_in_worker
from lfvar.processes import usable_cores
from lfvar.progress import ProgressBar

__all__ = [
    "MEASUREMENTS_FILE",
    "MeasureReport",
    "measure_manifest",
    "merge_caches",
    "read_table",
    "read_table_header",
    "write_table",
]


@dataclass(frozen=True)
class MeasureReport:
    """What was done."""

    num_images: int
    """In the manifest, or in its shard."""
    num_new: int
    """Measured now; the others were in the cache."""
    num_incomplete: int
    """Images that lack some measurement."""
    reasons: dict[str, int]
    """Images per reason why measurements are missing, most frequent first."""
    seconds: float
    num_workers: int

    @property
    def rate(self) -> float:
        """New images per second."""
        return self.num_new / self.seconds if self.seconds > 0 else 0.0

    def __str__(self) -> str:
        workers = f"{self.num_workers} worker{'s' if self.num_workers != 1 else ''}"
        lines = [
            f"{self.num_images} images measured: {self.num_new} now"
            f" ({self.rate:.0f}/s, {workers}, {self.seconds:.1f} s), the others kept"
        ]
        if self.num_incomplete:
            lines.append(f"{self.num_incomplete} lack some measurement:")
            lines += [f"  {count} × {reason}" for reason, count in self.reasons.items()]
        return "\n".join(lines)


def measure_manifest(
    folder: Path,
    manifest: Manifest,
    settings: MeasureSettings,
    cache_path: Path,
    *,
    workers: int = 0,
    shard: tuple[int, int] | None = None,
) -> MeasureReport:
    """Measure what the cache lacks.

    Args:
        folder: The prepared folder.
        manifest: Of that folder.
        settings: How to measure.
        cache_path: Of the cache; created when missing.
        workers: Processes; 0 is one per core, 1 works in this process. A `joblib.parallel_config` around the call
            wins over 0.
        shard: (i, n) with i from 1 to n: only that part of the images. Parts are disjoint, cover everything, and
            depend on image ids alone.

    Raises:
        ConfigError: When shard or workers is out of range.
        ArtefactError: When the cache is damaged, or prepared files are missing or changed; what was measured is kept.
        DataError: When a worker process dies.
    """
    start = time.monotonic()
    rows = select_shard(manifest.rows, shard)
    if workers < 0:
        raise ConfigError(f"workers is {workers}", cure="use 0 for one process per core, or a number of processes")
    keys = {row.image_id: cache_key(row, settings) for row in rows}
    task_of = {
        keys[row.image_id]: MeasureTask(folder / row.image, folder / row.mask, row.image_hash, row.mask_hash)
        for row in rows
    }
    with MeasurementCache(cache_path) as cache:
        missing = cache.missing(keys.values())
        pending = [task for key, task in task_of.items() if key in missing]  # copies of an image are measured once
        parallel = _plan(workers, len(pending))
        broken: list[str] = []
        if pending:
            with ProgressBar(len(task_of), f"measuring {manifest.header.name}") as bar:
                bar.skip(len(task_of) - len(pending))
                for task, outcome in _execute(pending, settings, parallel):
                    if isinstance(outcome, str):
                        broken.append(outcome)
                    else:
                        cache.put([(CacheKey(task.image_hash, task.mask_hash, settings.hash), outcome)])
                    bar.advance()
        if broken:
            raise ArtefactError(
                f"{len(broken)} prepared images or masks cannot be used, for instance: {sorted(broken)[0]}",
                cure=f"prepare again, which mends what is missing: {manifest.header.command}; "
                "measurements taken so far are kept",
            )
        measured = [cache.get(key) for key in keys.values()]
    incomplete = [item.reason for item in measured if item is not None and not item.present.all()]
    return MeasureReport(
        num_images=len(rows),
        num_new=len(pending),
        num_incomplete=len(incomplete),
        reasons=dict(Counter(incomplete).most_common()),
        seconds=time.monotonic() - start,
        num_workers=1 if parallel is None else joblib.effective_n_jobs(parallel.n_jobs),
    )


def cache_key(row: ManifestRow, settings: MeasureSettings) -> CacheKey:
    """What the measurements of a prepared image are stored under."""
    return CacheKey(row.image_hash, row.mask_hash, settings.hash)


def select_shard(rows: Sequence[ManifestRow], shard: tuple[int, int] | None) -> list[ManifestRow]:
    """The rows of a shard (i, n), i from 1 to n; all rows for None.

    Raises:
        ConfigError: When there is no such shard.
    """
    if shard is None:
        return list(rows)
    index, count = shard
    if not 1 <= index <= count:
        raise ConfigError(f"shard {index}/{count} does not exist", cure="use 1/n to n/n for n machines")
    return [
        row
        for row in rows
        if int.from_bytes(hashlib.sha256(row.image_id.encode()).digest()[:8], "big") % count == index - 1
    ]


def _plan(workers: int, num_tasks: int) -> Parallel | None:
    """The joblib engine to use; None works in this process."""
    backend, _ = joblib.parallel.get_active_backend()
    configured = Parallel().n_jobs
    foreign = configured != 1 or not isinstance(backend, joblib.parallel.LokyBackend)
    if workers == 0 and foreign:
        num_jobs = configured
    elif workers == 0:
        num_jobs = min(usable_cores(), num_tasks // 32)  # starting a process costs as much as thirty images
    else:
        num_jobs = min(workers, num_tasks)
    if num_jobs in (0, 1) and not foreign:
        return None
    # One image a call: handing it over costs 1 ms of about 50, and a kill costs each worker one image at most.
    try:
        return Parallel(n_jobs=num_jobs, batch_size=1, return_as="generator_unordered")
    except ValueError:  # a backend that returns nothing until all is done
        return Parallel(n_jobs=num_jobs, batch_size=1)


def _execute(
    pending: Sequence[MeasureTask], settings: MeasureSettings, parallel: Parallel | None
) -> Iterator[tuple[MeasureTask, Measurements | str]]:
    if parallel is None:
        for task in pending:
            yield measure_in_worker(os.getpid(), task, settings)
        return
    # A backend that hands over whole lists gets the work in portions, so that a kill costs one portion at most.
    portion = len(pending) if parallel.return_generator else 32 * joblib.effective_n_jobs(parallel.n_jobs)
    try:
        for first in range(0, len(pending), portion):
            yield from parallel(
                delayed(measure_in_worker)(os.getpid(), task, settings) for task in pending[first : first + portion]
            )
    except BrokenProcessPool as error:
        raise DataError(
            "a worker process died, most likely for lack of memory",
            cure="run again with fewer workers (workers=1 works in one process); finished images are kept",
        ) from error
