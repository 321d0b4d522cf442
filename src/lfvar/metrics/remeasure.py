"""Measure images that are in memory, such as reconstructions, on all cores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from typing import Protocol

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from lfvar.errors import DataError
from lfvar.measure.extract import MeasureSettings, measure
from lfvar.processes import end_with_parent, usable_cores

_WORTH_A_PROCESS = 32  # images: starting a process costs as much


class Remeasure(Protocol):
    """Images and masks to measurements."""

    def __call__(self, image_BHWC: NDArray[np.uint8], mask_BHW: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(B, M) in schema order, NaN where a measurement is missing."""


@contextmanager
def remeasuring(settings: MeasureSettings, num_images: int, *, workers: int = 0) -> Iterator[Remeasure]:
    """Yield a function that measures batches; its processes live as long as the block.

    Args:
        settings: How to measure.
        num_images: How many there will be in all; decides how many processes are worth starting.
        workers: Processes; 0: one per core, 1: this process.

    Raises:
        DataError: When a worker process dies.
    """
    num_jobs = workers or min(usable_cores(), num_images // _WORTH_A_PROCESS)
    if num_jobs <= 1:
        yield lambda image_BHWC, mask_BHW: _stack(
            [measure(image, mask, settings).values for image, mask in zip(image_BHWC, mask_BHW, strict=True)]
        )
        return
    with Parallel(n_jobs=num_jobs) as parallel:

        def spread(image_BHWC: NDArray[np.uint8], mask_BHW: NDArray[np.bool_]) -> NDArray[np.float64]:
            pairs = zip(image_BHWC, mask_BHW, strict=True)
            return _stack(parallel(delayed(_measure_in_worker)(os.getpid(), *pair, settings) for pair in pairs))

        try:
            yield spread
        except BrokenProcessPool as error:
            raise DataError(
                "a process that measures died, most likely for lack of memory",
                cure="use fewer of them: measure.workers=1 works in one process",
            ) from error


def _stack(rows: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.stack(rows) if rows else np.zeros((0, 0))


def _measure_in_worker(
    parent: int, image_HWC: NDArray[np.uint8], mask_HW: NDArray[np.bool_], settings: MeasureSettings
) -> NDArray[np.float64]:
    if os.getpid() != parent:
        _use_one_thread()
        end_with_parent(parent)
    return measure(image_HWC, mask_HW, settings).values


@cache
def _use_one_thread() -> None:
    """Processes share the cores; more threads in each would only wait for each other."""
    import cv2

    cv2.setNumThreads(1)
