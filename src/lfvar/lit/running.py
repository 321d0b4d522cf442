"""Means over the steps between two lines of a log."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


class RunningMeans:
    """Sums named tensors where they are, without waiting for the device, and hands out their means."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Take in one step; every step brings the same names."""
        self._sums = {name: value + self._sums.get(name, 0) for name, value in values.items()}
        self._count += 1

    def take(self) -> dict[str, Tensor]:
        """Means since the last call, and start anew."""
        means = {name: total / self._count for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        return means
