"""What a worker process does: open one pair, check it, frame it, write it, and say what came of it.

Imports little, because every worker process imports it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lfvar.data.files import hash_bytes, is_full_disk
from lfvar.data.framing import Frame, FramingKind, choose_frame, cut_frame, cut_mask, fraction_in_view
from lfvar.data.imageio import write_png
from lfvar.data.records import PairError, Record, Source
from lfvar.errors import DataError

Stamp = tuple[str, int, int]
"""Name, size and modification time (ns) of a file: the same stamp, the same file."""


@dataclass(frozen=True)
class PairTask:
    """How to prepare a pair, and where to."""

    folder: Path
    image_size: int
    framing: FramingKind
    margin: float
    min_side: float
    min_lesion_fraction: float
    max_lesion_fraction: float


@dataclass(frozen=True)
class PairFacts:
    """What the manifest says about a prepared pair beyond what the source listed (see `ManifestRow`)."""

    image: str
    mask: str
    original_width: int
    original_height: int
    frame_x0: int
    frame_y0: int
    frame_width: int
    frame_height: int
    lesion_fraction: float
    lesion_in_view: float
    source_image_hash: str
    source_mask_hash: str
    image_hash: str
    mask_hash: str


@dataclass(frozen=True)
class Outcome:
    """What came of one record: `facts` when it is prepared, `reason` when it is rejected."""

    image_id: str
    sources: tuple[Stamp, ...]
    """Of the files it was made from; empty when the source generates them."""
    outputs: tuple[Stamp, ...] = ()
    facts: PairFacts | None = None
    factors: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain data for the journal."""
        return {key: value for key, value in asdict(self).items() if value}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outcome:
        """Read back what `to_json` gave.

        Raises:
            KeyError, TypeError, ValueError: When it is something else.
        """
        facts, reason = data.get("facts"), data.get("reason")
        if (facts is None) == (reason is None):
            raise ValueError("neither prepared nor rejected")
        return cls(
            image_id=str(data["image_id"]),
            sources=_to_stamps(data.get("sources", ())),
            outputs=_to_stamps(data.get("outputs", ())),
            facts=None if facts is None else PairFacts(**facts),
            factors=dict(data.get("factors", {})),
            reason=reason,
        )

    def is_current(self, record: Record, folder: Path) -> bool:
        """Whether the files it was made from, and those it made, are still the same."""
        if self.sources != stamp_sources(record):
            return False
        return self.facts is None or self.outputs == _stamp_outputs(folder, self.facts.image, self.facts.mask)


def prepare_pair(source: Source, record: Record, stem: str, task: PairTask) -> Outcome:
    """Prepare one pair.

    Args:
        source: Opens the pair.
        record: Which one.
        stem: Name of the prepared files, without suffix.
        task: How.

    Returns:
        The outcome; a pair that cannot be used is one too.

    Raises:
        DataError: When the disk is full.
    """
    with _one_thread():
        return _prepare_or_reject(source, record, stem, task)


def _prepare_or_reject(source: Source, record: Record, stem: str, task: PairTask) -> Outcome:
    sources = stamp_sources(record)  # before reading: a file that changes meanwhile is read again next time
    try:
        facts, factors = _prepare(source, record, stem, task)
    except PairError as error:
        return Outcome(record.image_id, sources, reason=str(error))
    except OSError as error:
        if is_full_disk(error):
            raise full_disk_error(task.folder) from error
        raise
    return Outcome(record.image_id, sources, _stamp_outputs(task.folder, facts.image, facts.mask), facts, factors)


def stamp_sources(record: Record) -> tuple[Stamp, ...]:
    """The stamps of a record's files."""
    return _stamp([path for path in (record.image_path, record.mask_path) if path is not None])


def full_disk_error(folder: Path) -> DataError:
    """The disk is full."""
    return DataError(
        f"no room left on the disk of '{folder}'",
        cure="free some space and run the same command again: finished images are kept; "
        "or choose a folder on another disk",
    )


def _prepare(source: Source, record: Record, stem: str, task: PairTask) -> tuple[PairFacts, Mapping[str, float]]:
    pair = source.load(record)
    # A dataset without masks gets empty ones, so that nothing after this has two cases to tell apart.
    mask_HW = np.zeros(pair.image_HWC.shape[:2], dtype=np.bool_) if pair.mask_HW is None else pair.mask_HW
    if pair.mask_HW is not None:
        _check_mask(mask_HW)
    frame = choose_frame(mask_HW, task.framing, margin=task.margin, min_side=task.min_side)
    square_HW = cut_mask(mask_HW, frame, task.image_size)
    in_view = 1.0 if pair.mask_HW is None else _check_view(mask_HW, square_HW, frame, task)
    image, mask = f"images/{stem}.png", f"masks/{stem}.png"
    height, width = mask_HW.shape
    source_image_hash, source_mask_hash = _hash_sources(record, pair.image_HWC, mask_HW)
    facts = PairFacts(
        image=image,
        mask=mask,
        original_width=width,
        original_height=height,
        frame_x0=frame.x0,
        frame_y0=frame.y0,
        frame_width=frame.width,
        frame_height=frame.height,
        lesion_fraction=float(square_HW.mean()),
        lesion_in_view=in_view,
        source_image_hash=source_image_hash,
        source_mask_hash=source_mask_hash,
        image_hash=write_png(task.folder / image, cut_frame(pair.image_HWC, frame, task.image_size)),
        mask_hash=write_png(task.folder / mask, square_HW),
    )
    return facts, {name: float(value) for name, value in pair.factors.items()}


def _check_mask(mask_HW: NDArray[np.bool_]) -> None:
    """Make sure that a mask marks a lesion and leaves some skin.

    Raises:
        PairError: When it does not.
    """
    if not mask_HW.any():
        raise PairError("empty mask: no lesion pixel")
    if mask_HW.all():
        raise PairError("full mask: no skin pixel")


def _check_view(mask_HW: NDArray[np.bool_], square_HW: NDArray[np.bool_], frame: Frame, task: PairTask) -> float:
    """How much of the lesion is in view.

    Raises:
        PairError: When the square shows too little or too much of it.
    """
    in_view = fraction_in_view(mask_HW, frame)
    if in_view == 0:
        raise PairError(f"out of view: the lesion lies outside the frame (framing '{task.framing}')")
    fraction = float(square_HW.mean())
    if fraction == 0 or fraction < task.min_lesion_fraction:
        raise PairError(
            f"empty mask: lesion on {fraction:.3%} of the square at {task.image_size} px, "
            f"below min_lesion_fraction {task.min_lesion_fraction:.3%}"
        )
    if fraction == 1 or fraction > task.max_lesion_fraction:
        raise PairError(
            f"full mask: lesion on {fraction:.2%} of the square, "
            f"above max_lesion_fraction {task.max_lesion_fraction:.2%}"
        )
    return in_view


def _hash_sources(record: Record, image_HWC: NDArray[np.uint8], mask_HW: NDArray[np.bool_]) -> tuple[str, str]:
    try:
        image = hash_bytes(record.image_path.read_bytes()) if record.image_path else _hash_pixels(image_HWC)
        mask = hash_bytes(record.mask_path.read_bytes()) if record.mask_path else _hash_pixels(mask_HW)
    except OSError as error:
        raise PairError(f"missing image: '{error.filename}' vanished while it was read") from error
    return image, mask


def _hash_pixels(pixels: NDArray[np.generic]) -> str:
    return hash_bytes(f"{pixels.dtype}{pixels.shape}".encode() + np.ascontiguousarray(pixels).tobytes())


def _stamp_outputs(folder: Path, image: str, mask: str) -> tuple[Stamp, ...]:
    return _stamp([folder / image, folder / mask])


def _stamp(paths: Sequence[Path]) -> tuple[Stamp, ...]:
    stamps = []
    for path in paths:
        try:
            status = path.stat()
            stamps.append((path.name, status.st_size, status.st_mtime_ns))
        except OSError:
            stamps.append((path.name, -1, 0))
    return tuple(stamps)


def _to_stamps(data: Sequence[Sequence[Any]]) -> tuple[Stamp, ...]:
    return tuple((str(name), int(size), int(time)) for name, size, time in data)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Hold OpenCV, where a source uses it, to one thread: its results differ in the last digit with their number.

    The processes side by side fill the machine anyway.
    """
    if "cv2" not in sys.modules:
        yield
        return
    import cv2

    num_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(num_threads)
