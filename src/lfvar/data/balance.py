"""Class-balanced order of training: rare lesion types as often as frequent ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lfvar.data.stream import SampleStream


class BalancedStream(SampleStream):
    """A `SampleStream` that draws every class equally often, without chance.

    The stream is laid out in rounds: each holds every class once, in its own random order. Within a class, images come
    in passes as in the plain stream, every image once per pass. What stands at a place is a function of the place
    alone, so entering anywhere and spreading over processes work as they do there. A pass keeps the length of the
    plain stream's; rare images are seen several times in it.

    Args:
        labels: Class of each image of the dataset. Classes without images are none.
        batch_size: Draws per process.
        seed: Decides every order.
        rank: This process.
        world_size: Number of processes.
    """

    def __init__(self, labels: Sequence[str], batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(len(labels), batch_size, seed, rank, world_size)
        self.images_of_class = [
            np.array([index for index, label in enumerate(labels) if label == name], np.int64)
            for name in sorted(set(labels))
        ]
        self._orders: dict[int, tuple[int, NDArray[np.int64]]] = {}

    def image_at(self, draw: int) -> int:
        """Which image the stream holds at a place."""
        turn, seat = divmod(draw, len(self.images_of_class))
        number = int(self._order_of(-1, turn, len(self.images_of_class))[seat])
        images = self.images_of_class[number]
        passed, place = divmod(turn, len(images))
        return int(images[self._order_of(number, passed, len(images))[place]])

    def _order_of(self, number: int, passed: int, size: int) -> NDArray[Any]:
        """Random order of a pass over a class; class -1 is the order of the classes in a round."""
        cached = self._orders.get(number)
        if cached is None or cached[0] != passed:
            cached = (passed, np.random.default_rng([self.seed, number + 1, passed]).permutation(size))
            self._orders[number] = cached
        return cached[1]
