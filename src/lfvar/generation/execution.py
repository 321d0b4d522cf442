"""A plan carried out: in this process or in several, going on where a killed run stopped, the same bytes either way."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfvar.data.files import hash_bytes, remove_temporary_files
from lfvar.data.generated import FULL, IMAGES, MASKS, RAW, SHEETS, find_claims
from lfvar.data.journal import Journal, is_being_written, read_header
from lfvar.data.manifest import MANIFEST_FILE, Manifest
from lfvar.errors import DataError
from lfvar.generation.maker import Maker
from lfvar.generation.plan import PlannedSample
from lfvar.processes import Workers
from lfvar.progress import ProgressBar

JOURNAL = "journal"

Item = Mapping[str, Any]
Chunk = tuple[tuple[int, ...], tuple[PlannedSample, ...]]

OpenMaker = Callable[[int], Maker]
"""Opens the maker of a process, by its number. Picklable, as it travels to spawned processes."""


def claim_folder(folder: Path, settings: Mapping[str, Any], *, raw: bool, full: bool) -> None:
    """Make the folders of a run, after making sure that what is there was made by the same settings.

    Args:
        folder: Of the generated images.
        settings: Of the run.
        raw: Whether it keeps what the decoder made.
        full: Whether it writes whole photographs.

    Raises:
        ArtefactError: When other settings made it.
        DataError: When the folder holds something else.
    """
    there = _settings_there(folder)
    find_claims(folder, settings, there)
    if there is None and any(_holds_files(folder / name) for name in (IMAGES, MASKS)):
        raise DataError(
            f"'{folder}' holds images that lfvar.generate did not write", cure="choose another output=FOLDER"
        )
    for name in (IMAGES, MASKS, SHEETS, *([RAW] if raw else []), *([FULL] if full else [])):
        (folder / name).mkdir(parents=True, exist_ok=True)


def _holds_files(folder: Path) -> bool:
    """Whether there is anything but what is being written: another shard may just have begun."""
    return folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir())


def journal_file(folder: Path, shard: tuple[int, int] | None) -> Path:
    """The journal of a run, or of a shard of it."""
    return folder / (f"{JOURNAL}.jsonl" if shard is None else f"{JOURNAL}.{shard[0]}of{shard[1]}.jsonl")


def read_items(folder: Path, settings: Mapping[str, Any], plan: Sequence[PlannedSample]) -> dict[int, Item]:
    """What the journals of a folder have as finished, and whose files are as they were written.

    Args:
        folder: Of the generated images.
        settings: Of the run; items of other settings do not count.
        plan: Of the run.
    """
    found: dict[int, Item] = {}
    for path in sorted(folder.glob(f"{JOURNAL}*.jsonl")):
        header, *lines = path.read_bytes().split(b"\n")
        if not _same(header, settings):
            continue
        for line in lines:
            item = _parse(line)
            if item is not None and _is_whole(folder, item, plan):
                found[int(item["index"])] = item
    return found


def carry_out(
    plan: Sequence[PlannedSample],
    folder: Path,
    settings: Mapping[str, Any],
    open_maker: OpenMaker,
    *,
    batch_size: int,
    unit: int = 1,
    processes: int = 1,
    shard: tuple[int, int] | None = None,
    title: str = "generating",
) -> int:
    """Make what is not there yet.

    Args:
        plan: Everything that is to be made.
        folder: Claimed by `claim_folder`.
        settings: What decides the images; the journal's header.
        open_maker: Loads what a process needs.
        batch_size: Samples made at once.
        unit: Shards are cut at multiples of it: 1, or the batch size where an image depends on what is made beside it.
        processes: Processes of this command.
        shard: (i, n): of the plan cut into n equal parts, only the i-th (from 1).
        title: Of the progress bar.

    Returns:
        How many were made now.

    Raises:
        DataError: When another process writes the same journal, or a process dies.
    """
    done = read_items(folder, settings, plan)
    mine = _cut(plan, batch_size, _part(len(plan), unit, shard))
    total = sum(len(indices) for indices, _ in mine)
    # Whole batches again where one was cut: in bfloat16 an image depends on what is made beside it.
    pending = [chunk for chunk in mine if not done.keys() >= set(chunk[0])]
    count = sum(len(indices) for indices, _ in pending)
    if count:
        (folder / MANIFEST_FILE).unlink(missing_ok=True)  # until all is done it would promise too much
    with Journal(journal_file(folder, shard), settings) as journal, ProgressBar(total, title) as bar:
        if not any(is_being_written(path) for path in folder.glob(f"{JOURNAL}*.jsonl") if path != journal.path):
            remove_half_written(folder)
        bar.skip(total - count)
        if pending:
            cure = f"go on with fewer than {processes} processes or a smaller batch_size; finished images are kept"
            with Workers(_Making(open_maker), min(processes, len(pending)), cure=cure) as workers:
                for items in workers.spread(pending):
                    for item in items:
                        journal.append(item)
                    bar.advance(len(items))
    return count


def remove_half_written(folder: Path) -> None:
    """Remove images that killed processes left half-written; for when no other process makes any in the folder."""
    for name in (IMAGES, MASKS, RAW, FULL):
        remove_temporary_files(folder / name)


def _part(count: int, unit: int, shard: tuple[int, int] | None) -> range:
    """The indices of a shard: the same for all who cut the same plan, whatever their batch size."""
    if shard is None:
        return range(count)
    units = -(-count // unit)
    first, last = (units * number // shard[1] * unit for number in (shard[0] - 1, shard[0]))
    return range(first, min(last, count))


def _cut(plan: Sequence[PlannedSample], size: int, part: range) -> list[Chunk]:
    """Batches of a part of the plan, the same whatever is done already and by whomever."""
    chunks = [tuple(part[first : first + size]) for first in range(0, len(part), size)]
    return [(indices, tuple(plan[index] for index in indices)) for indices in chunks]


@dataclass(frozen=True)
class _Making:
    """Opens what makes a chunk."""

    open_maker: OpenMaker

    def __call__(self, number: int) -> Callable[[Chunk], list[dict[str, Any]]]:
        maker = self.open_maker(number)
        return lambda chunk: maker.make(*chunk)


def _settings_there(folder: Path) -> Mapping[str, Any] | None:
    """The settings that a folder was started with; None for a new one."""
    for path in sorted(folder.glob(f"{JOURNAL}*.jsonl")):
        header = read_header(path)
        if header is not None:
            return header
    if (folder / MANIFEST_FILE).is_file():
        return Manifest.read(folder, command="python -m lfvar.generate").header.settings
    return None


def _same(line: bytes, settings: Mapping[str, Any]) -> bool:
    return _parse(line) == settings


def _parse(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None  # cut short by a kill


def _is_whole(folder: Path, item: Any, plan: Sequence[PlannedSample]) -> bool:
    try:
        name = f"{plan[item['index']].image_id}.png"
        return all(
            hash_bytes((folder / part / name).read_bytes()) == item[key]
            for part, key in ((IMAGES, "image_hash"), (MASKS, "mask_hash"))
        )
    except (OSError, KeyError, IndexError, TypeError):
        return False
