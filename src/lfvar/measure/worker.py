"""What a worker process does: read prepared pairs, measure them, and say what came of it.

Imports little, because every worker process imports it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lfvar.data.files import hash_bytes
from lfvar.data.imageio import read_image, read_mask
from lfvar.data.records import PairError
from lfvar.measure.extract import Measurements, MeasureSettings, measure
from lfvar.processes import end_with_parent


@dataclass(frozen=True)
class MeasureTask:
    """One prepared pair."""

    image: Path
    mask: Path
    image_hash: str
    """SHA-256 of the file's bytes, as the manifest has it."""
    mask_hash: str


def measure_pair(task: MeasureTask, settings: MeasureSettings) -> Measurements | str:
    """Measure one pair.

    Returns:
        The measurements, or what is wrong with the files: then nothing may be stored under their hashes.
    """
    for path, expected in ((task.image, task.image_hash), (task.mask, task.mask_hash)):
        try:
            found = hash_bytes(path.read_bytes())
        except OSError as error:
            return f"'{path}' cannot be read: {error.strerror}"
        if found != expected:
            return f"'{path}' was changed after it was prepared"
    try:
        image_HWC, mask_HW = read_image(task.image), read_mask(task.mask)
    except PairError as error:
        return str(error)
    if image_HWC.shape[:2] != mask_HW.shape:
        return f"'{task.image}' and its mask have different sizes"
    return measure(image_HWC, mask_HW, settings)


def measure_in_worker(
    parent: int, task: MeasureTask, settings: MeasureSettings
) -> tuple[MeasureTask, Measurements | str]:
    """`measure_pair` in a process that `parent` started, on another machine, or in a thread."""
    if os.getpid() != parent:
        _use_one_thread()
        end_with_parent(parent)
    return task, measure_pair(task, settings)


@cache
def _use_one_thread() -> None:
    """Processes share the cores; more threads in each would only wait for each other. ITK gets one where it is used."""
    import cv2

    cv2.setNumThreads(1)
