"""Stage 0: check every pair once, frame it square, resize it, and write what later stages read.

A prepared folder holds `images/`, `masks/`, `manifest.parquet`, `rejected.csv`, `factors.parquet` when the source knows
generating factors, and the journal that lets a killed run continue.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lfvar
from lfvar.data.execution import run_pairs
from lfvar.data.files import is_full_disk
from lfvar.data.journal import Journal, read_header
from lfvar.data.manifest import (
    MANIFEST_FILE,
    SCHEMA_VERSION,
    Manifest,
    ManifestHeader,
    ManifestRow,
    find_differences,
    hash_inputs,
    plain,
)
from lfvar.data.pairs import Outcome, full_disk_error
from lfvar.data.prepare_config import PrepareConfig
from lfvar.data.prepare_report import PrepareReport
from lfvar.data.records import Record, Source
from lfvar.data.screening import Rejection, screen, write_factors, write_rejections
from lfvar.data.splits import Assignment, SplitConfig, assign_splits
from lfvar.errors import ArtefactError, DataError

__all__ = ["PrepareConfig", "PrepareReport", "check_prepared", "make_settings", "prepare"]

JOURNAL_FILE = "journal.jsonl"
REJECTED_FILE = "rejected.csv"
FACTORS_FILE = "factors.parquet"


def prepare(
    source: Source,
    name: str,
    config: PrepareConfig,
    split: SplitConfig,
    folder: Path,
    command: str = "python -m lfvar.prepare",
) -> PrepareReport:
    """Prepare a dataset, or continue where a killed run stopped.

    Args:
        source: The dataset as downloaded.
        name: Of the dataset, for headers and messages.
        config: How to prepare.
        split: How to split.
        folder: Where to; created when missing.
        command: The command line, which errors about this folder will name.

    Returns:
        Counts of what was done.

    Raises:
        DataError: When the dataset is not there, too little of it is usable, or the disk is full.
        ArtefactError: When the folder holds what other settings made, and `config.overwrite` is off.
    """
    start = time.monotonic()
    folder = Path(folder)
    records = source.records()
    settings = make_settings(source, name, config, split)
    try:
        _claim_folder(folder, settings, overwrite=config.overwrite)
        candidates, rejections = screen(records, source.classes)
        with Journal(folder / JOURNAL_FILE, _pixel_settings(settings)) as journal:
            outcomes, num_new, num_workers = run_pairs(source, candidates, config, folder, journal, name)
        prepared, more_rejections = _sort_out(candidates, outcomes)
        rejections += more_rejections
        write_rejections(folder / REJECTED_FILE, rejections)
        _check_enough(records, prepared, rejections, config, folder)
        manifest, warnings = _make_manifest(source, name, records, prepared, outcomes, settings, config, split, command)
        write_factors(
            folder / FACTORS_FILE, {record.image_id: outcomes[record.image_id].factors for record in prepared}
        )
        manifest.write(folder)
    except OSError as error:
        if is_full_disk(error):
            raise full_disk_error(folder) from error
        raise
    return PrepareReport(
        name=name,
        folder=folder,
        manifest_hash=manifest.hash,
        num_listed=len(records),
        num_prepared=len(prepared),
        num_new=num_new,
        rejected=dict(Counter(rejection.category for rejection in rejections).most_common()),
        counts=manifest.count(),
        warnings=warnings,
        seconds=time.monotonic() - start,
        num_workers=num_workers,
    )


def check_prepared(
    source: Source,
    name: str,
    config: PrepareConfig,
    split: SplitConfig,
    folder: Path,
    command: str = "python -m lfvar.prepare",
) -> Manifest | None:
    """The manifest of a folder that was prepared with the same arguments.

    Where the originals are at hand their list is compared too; a prepared folder also works without them.

    Returns:
        The manifest, with the split of `split.fold`; None when nothing was prepared, or preparing is not finished.

    Raises:
        ArtefactError: When the manifest is damaged, was made with other settings or from another list of images, or
            when prepared files are missing.
    """
    folder = Path(folder)
    if not (folder / MANIFEST_FILE).is_file():
        return None
    manifest = Manifest.read(folder, command=command)
    differences = find_differences(manifest.header.settings, make_settings(source, name, config, split))
    if differences:
        raise _mismatch(folder, differences, command)
    try:
        inputs_hash = _hash_records(source.records())
    except DataError:
        inputs_hash = manifest.header.inputs_hash
    if inputs_hash != manifest.header.inputs_hash:
        raise ArtefactError(
            f"the list of images of '{name}' has changed since '{folder}' was prepared",
            cure=f"prepare again, which keeps what is unchanged: {command}",
        )
    for row in manifest.rows:
        for path in (row.image, row.mask):
            if not (folder / path).is_file():
                raise ArtefactError(f"prepared file '{folder / path}' is missing", cure=f"prepare again: {command}")
    return manifest.with_fold(split.fold) if split.num_folds else manifest


def make_settings(source: Source, name: str, config: PrepareConfig, split: SplitConfig) -> dict[str, Any]:
    """Everything that decides the content of a manifest, as plain data."""
    settings: dict[str, Any] = plain(
        {
            "schema_version": SCHEMA_VERSION,
            "name": name,
            "source": {"kind": type(source).__name__, **source.describe()},
            "prepare": config.describe(),
            "split": split.describe(),
        }
    )
    return settings


def _pixel_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Without the split, which changes no image."""
    return {key: value for key, value in settings.items() if key != "split"}


def _claim_folder(folder: Path, settings: Mapping[str, Any], *, overwrite: bool) -> None:
    """Make sure that writing into the folder destroys nothing."""
    journal = read_header(folder / JOURNAL_FILE)
    try:
        there: Mapping[str, Any] | None = Manifest.read(folder).header.settings
    except ArtefactError:  # none yet, or damaged: it will be written anew
        there = None
    if journal is None and there is None and not (folder / JOURNAL_FILE).exists():
        for part in ("images", "masks"):
            if (folder / part).is_dir() and any((folder / part).iterdir()):
                raise DataError(
                    f"'{folder / part}' has files that lfvar did not make",
                    cure="choose another folder, or an empty one",
                )
    differences = find_differences(there, settings) if there is not None else []
    if journal is not None:
        differences += [
            phrase for phrase in find_differences(journal, _pixel_settings(settings)) if phrase not in differences
        ]
    if differences:
        if not overwrite:
            raise _mismatch(folder, differences, None)
        (folder / MANIFEST_FILE).unlink(missing_ok=True)
    try:
        for part in ("images", "masks"):
            (folder / part).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if is_full_disk(error):
            raise
        raise DataError(
            f"'{folder}' cannot be created: {error.strerror}", cure="choose a folder that you may write to"
        ) from error


def _mismatch(folder: Path, differences: Sequence[str], command: str | None) -> ArtefactError:
    again = f": {command} overwrite=true" if command else ""
    return ArtefactError(
        f"'{folder}' was prepared with other settings: {'; '.join(differences)}",
        cure=f"choose another folder, or replace this one with overwrite=true{again}",
    )


def _sort_out(candidates: Sequence[Record], outcomes: Mapping[str, Outcome]) -> tuple[list[Record], list[Rejection]]:
    prepared: list[Record] = []
    rejections: list[Rejection] = []
    for record in candidates:
        reason = outcomes[record.image_id].reason
        if reason is None:
            prepared.append(record)
        else:
            rejections.append(Rejection.of(record, reason))
    return prepared, rejections


def _check_enough(
    records: Sequence[Record],
    prepared: Sequence[Record],
    rejections: Sequence[Rejection],
    config: PrepareConfig,
    folder: Path,
) -> None:
    if not records:
        raise DataError("the dataset lists no image", cure="check data.root and the table: it has a header but no rows")
    reasons = Counter(rejection.category for rejection in rejections).most_common(3)
    why = "; ".join(f"{count} × {reason}" for reason, count in reasons)
    example = f" (for instance {rejections[0].image_id}: {rejections[0].reason})" if rejections else ""
    cure = f"see '{folder / REJECTED_FILE}' for each of them, mend the data or the patterns and run again"
    if not prepared:
        raise DataError(f"none of {len(records)} images can be used: {why}{example}", cure=cure)
    if len(prepared) < config.min_images:
        raise DataError(
            f"only {len(prepared)} of {len(records)} images can be used, fewer than min_images={config.min_images}"
            + (f": {why}{example}" if rejections else ""),
            cure=f"{cure}; or lower min_images",
        )
    if len(rejections) > config.max_rejected_fraction * len(records):
        raise DataError(
            f"{len(rejections)} of {len(records)} images were rejected, more than "
            f"max_rejected_fraction={config.max_rejected_fraction}: {why}{example}",
            cure=f"{cure}; or raise max_rejected_fraction",
        )


def _make_manifest(
    source: Source,
    name: str,
    records: Sequence[Record],
    prepared: Sequence[Record],
    outcomes: Mapping[str, Outcome],
    settings: Mapping[str, Any],
    config: PrepareConfig,
    split: SplitConfig,
    command: str,
) -> tuple[Manifest, tuple[str, ...]]:
    assignment = assign_splits(prepared, split)
    header = ManifestHeader(
        name=name,
        classes=tuple(source.classes),
        image_size=config.image_size,
        settings=settings,
        inputs_hash=_hash_records(records),
        fold=split.fold if split.num_folds else None,
        command=command,
        lfvar_version=lfvar.__version__,
    )
    rows = []
    for record in sorted(prepared, key=lambda record: record.image_id):
        facts = outcomes[record.image_id].facts
        assert facts is not None
        rows.append(
            ManifestRow(
                image_id=record.image_id,
                label=record.label,
                lesion_id=record.lesion_id,
                patient_id=record.patient_id,
                split=assignment.splits[record.image_id],
                fold=assignment.folds.get(record.image_id),
                **dataclasses.asdict(facts),
            )
        )
    manifest = Manifest(header, tuple(rows))
    return manifest, tuple(_warn(manifest, assignment))


def _hash_records(records: Sequence[Record]) -> str:
    return hash_inputs([(record.image_id, record.label, record.lesion_id, record.patient_id) for record in records])


def _warn(manifest: Manifest, assignment: Assignment) -> Iterable[str]:
    labels = {row.label for row in manifest.rows}
    for label in manifest.header.classes:
        if label not in labels:
            yield f"type '{label}' has no usable image: a model cannot learn it"
    yield from assignment.warnings
    first_with: dict[str, ManifestRow] = {}
    copies = [
        f"{row.image_id} = {first.image_id}"
        for row in manifest.rows
        if (first := first_with.setdefault(row.source_image_hash, row)).split != row.split
    ]
    if copies:
        yield f"{len(copies)} images are copies of an image in another split (first: {copies[0]})"
    small = sum(min(row.frame_width, row.frame_height) < manifest.header.image_size for row in manifest.rows)
    if small:
        yield f"{small} images are smaller than image_size={manifest.header.image_size} and were enlarged"
