"""Images for a metric, however they come: a loader's batches, a dataset's samples, a list of either."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from lfvar.types import Batch, Sample

Images: TypeAlias = Iterable[Batch] | Iterable[Sample] | Dataset[Sample]
"""A loader, a list of batches, a dataset, a list of samples."""


def as_batches(data: Images, batch_size: int) -> Iterator[Batch]:
    """Batches as they come, or samples collected into batches."""
    # A map-style dataset has no iterator of its own.
    samples: Any = data
    items: Iterator[Any] = iter(samples) if hasattr(data, "__iter__") else (samples[i] for i in range(len(samples)))
    for first in items:
        yield first if isinstance(first, Batch) else Batch.collate([first, *islice(items, batch_size - 1)])


def count_images(data: Images) -> int:
    """How many there are, as far as the data say; 0 for a stream."""
    dataset: Any = getattr(data, "dataset", data)
    if not hasattr(dataset, "__len__"):
        return 0
    if isinstance(dataset, Sequence) and len(dataset) and isinstance(dataset[0], Batch):
        return sum(len(batch) for batch in dataset)
    return len(dataset)


def to_bytes(image_BCHW: Tensor) -> NDArray[np.uint8]:
    """[-1, 1] to RGB bytes BHWC, rounded to the nearest; what is no number becomes 0."""
    pixels_BCHW = image_BCHW.detach().float().clamp(-1, 1).add(1).mul(127.5).round().nan_to_num(0.0)
    bytes_BHWC: NDArray[np.uint8] = pixels_BCHW.permute(0, 2, 3, 1).cpu().numpy().astype(np.uint8)
    return np.ascontiguousarray(bytes_BHWC)
