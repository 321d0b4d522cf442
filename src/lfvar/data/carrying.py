"""Errors in loader processes, in our words: torch rebuilds an error from one text, and ours are more than that.

So they travel as samples do, and are raised where batches are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset

from lfvar.errors import LfvarError


class Carrying(Dataset[Any]):
    """A dataset that gives an error of ours in place of its sample."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, draw: Any) -> Any:
        """The sample, or the error that took its place."""
        try:
            return self.dataset[draw]
        except LfvarError as error:
            return error


class CarryingCollate:
    """A batch of samples, or the first error among them.

    Args:
        collate: Makes the batch.
    """

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, samples: list[Any]) -> Any:
        """Batch or error."""
        return next((sample for sample in samples if isinstance(sample, LfvarError)), None) or self.collate(samples)


class RaisingLoader(DataLoader[Any]):
    """A DataLoader that raises the errors which its processes met."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Batches; starts nothing before the first is asked for."""
        return raised(super().__iter__())


def raised(batches: Iterable[Any]) -> Iterator[Any]:
    """Batches up to the first that is an error.

    Raises:
        LfvarError: What a loader process met.
    """
    for batch in batches:
        if isinstance(batch, LfvarError):
            raise batch
        yield batch
