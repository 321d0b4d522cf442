"""Prepare many pairs: skip what is finished, spread the rest over processes, note each outcome in the journal."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from joblib import Parallel, delayed

from lfvar.data.files import remove_temporary_files
from lfvar.data.journal import Journal
from lfvar.data.manifest import MANIFEST_FILE
from lfvar.data.pairs import Outcome, PairTask, prepare_pair
from lfvar.data.prepare_config import PrepareConfig
from lfvar.data.records import Record, Source
from lfvar.data.screening import choose_stems
from lfvar.errors import DataError
from lfvar.processes import end_with_parent, usable_cores
from lfvar.progress import ProgressBar

_BATCH = 8
"""Images that a worker prepares before it reports: handing over single ones costs as much as preparing them."""


def run_pairs(
    source: Source, candidates: Sequence[Record], config: PrepareConfig, folder: Path, journal: Journal, name: str
) -> tuple[dict[str, Outcome], int, int]:
    """Prepare what the journal does not know as finished and unchanged.

    Args:
        source: Opens pairs.
        candidates: What to prepare; ids are unique.
        config: How.
        folder: Where to; has `images/` and `masks/`.
        journal: What earlier runs finished; new outcomes are added as they come in.
        name: Of the dataset, for the progress bar.

    Returns:
        The outcome of each candidate, how many are new, and the number of processes.
    """
    stems = choose_stems([record.image_id for record in candidates])
    finished: dict[str, Outcome] = {}
    for item in journal.items:
        try:
            outcome = Outcome.from_json(item)
        except (KeyError, TypeError, ValueError):
            continue  # a damaged line: its image is prepared again
        finished[outcome.image_id] = outcome
    outcomes: dict[str, Outcome] = {}
    pending: list[Record] = []
    for record in candidates:
        known = finished.get(record.image_id)
        same_name = known is None or known.facts is None or known.facts.image == f"images/{stems[record.image_id]}.png"
        if known is not None and same_name and known.is_current(record, folder):
            outcomes[record.image_id] = known
        else:
            pending.append(record)
    num_workers = count_workers(config.workers, len(pending))
    if not pending:
        return outcomes, 0, num_workers
    # Until all is done, an earlier manifest would describe images that are being replaced.
    (folder / MANIFEST_FILE).unlink(missing_ok=True)
    for part in ("images", "masks"):
        remove_temporary_files(folder / part)
    task = PairTask(folder, **config.describe())  # type: ignore[arg-type]  # same names
    jobs = [(source, record, stems[record.image_id], task) for record in pending]
    with ProgressBar(len(pending), f"preparing {name}") as bar:
        for outcome in _execute(jobs, num_workers):
            journal.append(outcome.to_json())
            outcomes[outcome.image_id] = outcome
            bar.advance()
    return outcomes, len(pending), num_workers


def _execute(jobs: Sequence[tuple[Source, Record, str, PairTask]], num_workers: int) -> Iterator[Outcome]:
    if num_workers == 1:
        for job in jobs:
            yield prepare_pair(*job)
        return
    parallel = Parallel(
        n_jobs=num_workers,
        return_as="generator_unordered",
        batch_size=_BATCH,
        pre_dispatch=4 * _BATCH * num_workers,
    )
    try:
        yield from parallel(delayed(_prepare_in_worker)(os.getpid(), *job) for job in jobs)
    except BrokenProcessPool as error:
        raise DataError(
            "a worker process died, most likely for lack of memory",
            cure=f"run again with fewer than {num_workers} workers (workers=1 works in one process); "
            "finished images are kept",
        ) from error


def _prepare_in_worker(parent: int, source: Source, record: Record, stem: str, task: PairTask) -> Outcome:
    """`prepare_pair` in a process that `parent` started."""
    end_with_parent(parent)
    return prepare_pair(source, record, stem, task)


def count_workers(workers: int, num_tasks: int) -> int:
    """Processes to use: as asked, or one per core that this process may use, but none for a handful of images."""
    if workers == 0:
        workers = min(usable_cores(), num_tasks // 128)  # starting a process costs as much as a hundred small images
    return max(1, min(workers, num_tasks))
