"""Samples of an evaluation, made in several processes: the same as in one, sooner with several GPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from omegaconf import DictConfig

from lfvar.devices import device_of_process
from lfvar.processes import Workers
from lfvar.sampling.editing import EditConfig, Job, Result
from lfvar.sampling.filters import Filters
from lfvar.sampling.guidance import Guidance
from lfvar.synthesizer import Synthesizer


class Part(NamedTuple):
    """A batch of a setting."""

    first: int
    jobs: tuple[Job, ...]
    guidance: Guidance
    filters: Filters
    editing: EditConfig


@dataclass(frozen=True)
class OpenSynthesizer:
    """Loads the synthesiser of a process; plain data, so that it travels."""

    ckpt: str
    tokenizer: str | None
    weights: Any
    device: str

    @classmethod
    def of(cls, cfg: DictConfig) -> OpenSynthesizer:
        """As an evaluation's config says."""
        return cls(cfg.ckpt, cfg.tokenizer, cfg.weights, cfg.device)

    def __call__(self, number: int) -> Callable[[Part], tuple[int, list[Result]]]:
        """What makes a part, and says which it was."""
        synthesizer = Synthesizer.from_run(
            self.ckpt, tokenizer=self.tokenizer, weights=self.weights, device=device_of_process(self.device, number)
        )

        def make(part: Part) -> tuple[int, list[Result]]:
            results = synthesizer.run(
                part.jobs,
                guidance=part.guidance,
                filters=part.filters,
                editing=part.editing,
                batch_size=len(part.jobs),
            )
            return part.first, list(results)

        return make


class SharedRun:
    """`Synthesizer.run` over processes that stay for all settings; a context.

    Args:
        open_synthesizer: Of a process.
        processes: How many.
    """

    def __init__(self, open_synthesizer: OpenSynthesizer, processes: int) -> None:
        cure = f"use fewer than {processes} processes"
        self._workers: Workers[Part, tuple[int, list[Result]]] = Workers(open_synthesizer, processes, cure=cure)

    def __enter__(self) -> SharedRun:
        return self

    def __exit__(self, *error: object) -> None:
        self._workers.__exit__(*error)

    def __call__(
        self, jobs: Sequence[Job], *, guidance: Guidance, filters: Filters, editing: EditConfig, batch_size: int
    ) -> Iterator[Result]:
        """Results in the order of jobs, once all are there."""
        size = max(1, min(batch_size, -(-len(jobs) // self._workers.processes)))
        parts = [
            Part(first, tuple(jobs[first : first + size]), guidance, filters, editing)
            for first in range(0, len(jobs), size)
        ]
        for _, results in sorted(self._workers.spread(parts), key=lambda done: done[0]):
            yield from results
