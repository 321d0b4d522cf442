"""The order in which training sees images: one endless stream that any process can enter at any place.

Passes over the dataset, each in its own random order, are laid end to end. Batch n is the n-th piece of that stream, so
a run that was killed goes on with exactly the images it would have seen, whatever its position within a pass, and N
processes together see what one would. Each draw carries its place in the stream, which seeds its augmentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from lfvar.data.carrying import raised
from lfvar.types import Batch, Sample

Draw = tuple[int, int]
"""(index of the image, place in the stream)."""


class SampleStream(Sampler[list[Draw]]):
    """Yields batches of draws from `next_draw` on, for one pass at most.

    Args:
        num_images: N, size of the dataset.
        batch_size: Draws per process.
        seed: Decides every order.
        rank: This process.
        world_size: Number of processes.
    """

    def __init__(self, num_images: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.num_images = num_images
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.next_draw = 0

    def __len__(self) -> int:
        """Batches per pass. What does not fill a batch opens the next pass; a tiny dataset repeats within a batch."""
        return max(self.num_images // self.global_batch_size, 1)

    @property
    def global_batch_size(self) -> int:
        """Draws of all processes together."""
        return self.batch_size * self.world_size

    def __iter__(self) -> Iterator[list[Draw]]:
        """Batches up to the end of the current pass; does not move `next_draw` (the loader does, batch by batch)."""
        first = self.next_draw
        done = first // self.global_batch_size % len(self)
        for number in range(len(self) - done):
            start = first + number * self.global_batch_size + self.rank * self.batch_size
            yield [(self.image_at(draw), draw) for draw in range(start, start + self.batch_size)]

    def image_at(self, draw: int) -> int:
        """Which image the stream holds at a place."""
        number, place = divmod(draw, self.num_images)
        return int(self._order(number)[place])

    def _order(self, number: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        if getattr(self, "_cached", (None,))[0] != number:
            self._cached = (number, np.random.default_rng([self.seed, number]).permutation(self.num_images))
        return self._cached[1]


class StreamLoader(DataLoader[Sample]):
    """A DataLoader over a `SampleStream` that knows which draw comes next, workers and prefetching included."""

    def __init__(self, dataset: Dataset[Sample], stream: SampleStream, **options: Any) -> None:
        super().__init__(dataset, batch_sampler=stream, collate_fn=Batch.collate, **options)
        self.stream = stream

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Batches up to the end of the current pass; starts nothing before the first is asked for."""
        for batch in raised(super().__iter__()):
            self.stream.next_draw += self.stream.global_batch_size
            yield batch


class ShardSampler(Sampler[int]):
    """Every image once over all processes, none twice: metrics on N processes equal those on one."""

    def __init__(self, num_images: int, rank: int = 0, world_size: int = 1) -> None:
        self.indices = range(rank, num_images, world_size)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)
