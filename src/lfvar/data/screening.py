"""Before any image is opened: which records can be used at all, and what their files are called."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from lfvar.data.files import hash_bytes, replace_file
from lfvar.data.records import Record

_LONGEST_STEM = 120


@dataclass(frozen=True)
class Rejection:
    """A record that cannot be used."""

    image_id: str
    reason: str
    """Starts with one of a few words to count by, then a colon: "size mismatch: image 600×450, mask 300×225"."""
    path: str

    @property
    def category(self) -> str:
        """The reason without its details."""
        return self.reason.partition(":")[0]

    @classmethod
    def of(cls, record: Record, reason: str) -> Rejection:
        """Reject a record, pointing to the file that is to blame."""
        path = record.mask_path if "mask" in reason.partition(":")[0] else record.image_path
        return cls(record.image_id, reason, str(path or ""))


def screen(records: Sequence[Record], classes: Sequence[str]) -> tuple[list[Record], list[Rejection]]:
    """Part the records that can be tried from those whose row is already wrong.

    A row that repeats another one word for word is dropped; rows that give one id to different things are all rejected,
    because nothing says which one is right.
    """
    by_id: dict[str, list[Record]] = {}
    for record in records:
        by_id.setdefault(record.image_id, []).append(record)
    candidates: list[Record] = []
    rejections: list[Rejection] = []
    for image_id, same in by_id.items():
        if not image_id:
            rejections += [Rejection.of(record, "missing id: the row names no image") for record in same]
            continue
        if len(set(same)) > 1:
            rejections += [Rejection.of(record, f"duplicate id: {len(same)} rows that differ") for record in same]
            continue
        rejections += [Rejection.of(record, "duplicate id: repeats an earlier row") for record in same[1:]]
        record = same[0]
        if record.label not in classes:
            reason = f"unknown type: '{record.label}' is none of {', '.join(classes)}"
            rejections.append(Rejection.of(record, reason))
        elif record.problem is not None:
            rejections.append(Rejection.of(record, record.problem))
        else:
            candidates.append(record)
    return candidates, rejections


def choose_stems(image_ids: Sequence[str]) -> dict[str, str]:
    """A file name for each id, without suffix: legal everywhere, and distinct where case does not count."""
    stems = {image_id: quote(image_id, safe="") for image_id in image_ids}
    counts = Counter(stem.casefold() for stem in stems.values())
    for image_id, stem in stems.items():
        if counts[stem.casefold()] > 1 or len(stem) > _LONGEST_STEM:
            stems[image_id] = f"{stem[:_LONGEST_STEM]}~{hash_bytes(image_id.encode())[:8]}"
    return stems


def write_rejections(path: Path, rejections: Iterable[Rejection]) -> None:
    """Write `rejected.csv`, sorted."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("image_id", "reason", "path"))
    writer.writerows(sorted((item.image_id, item.reason, item.path) for item in rejections))
    replace_file(path, buffer.getvalue().encode())


def write_factors(path: Path, factors: Mapping[str, Mapping[str, float]]) -> None:
    """Write `factors.parquet`, one row per image; remove it when no image has factors."""
    rows = [{"image_id": image_id, **factors[image_id]} for image_id in sorted(factors) if factors[image_id]]
    if not rows:
        path.unlink(missing_ok=True)
        return
    buffer = io.BytesIO()
    pd.DataFrame(rows).to_parquet(buffer, index=False)
    replace_file(path, buffer.getvalue())
