"""Recorded launches: a scale of sampling as one CUDA graph.

A small batch asks a GPU for thousands of short kernels, and Python cannot launch them as fast as they run. A CUDA graph
is recorded once per scale and replayed as one launch. Its kernels are those of the plain calls, on the same shapes,
so it gives the same ids.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lfvar.nn.conditioning import Condition
from lfvar.nn.var import VAR, Prepared
from lfvar.sampling.filters import Filters
from lfvar.sampling.guidance import Guidance
from lfvar.sampling.scale_sampler import ScaleSampler

Run = Callable[[], Tensor]
Capture = Callable[[Run], tuple[Callable[[], object], Tensor]]
"""Records a run; gives what replays it and the tensor that then holds the result."""


class CudaCapture:
    """Records on the current CUDA device; recordings share their scratch memory, so replay one at a time."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, run: Run) -> tuple[Callable[[], object], Tensor]:
        """Record."""
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            run()  # libraries make their workspaces at first use, which must not be part of the recording
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads (a loader that pins memory) may go on meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            result = run()
        return graph.replay, result


class Graph:
    """A function of tensors, recorded for the shapes of its arguments and replayed with other values.

    Weights are read where they lay at recording. Under autocast, in the precision of the recording.

    Args:
        function: Runs without waiting for the device, and draws nothing at random.
        arguments: Of the shapes, types and device that every call will have.
        capture: How to record; None: on CUDA.
    """

    def __init__(
        self, function: Callable[..., Tensor], arguments: Sequence[Tensor], capture: Capture | None = None
    ) -> None:
        self._arguments = [argument.clone() for argument in arguments]
        device_type = self._arguments[0].device.type
        mixed, dtype = torch.is_autocast_enabled(device_type), torch.get_autocast_dtype(device_type)

        @torch.no_grad()
        def run() -> Tensor:
            # Autocast's cache of converted weights would outlive the recording that made them.
            with torch.autocast(device_type, dtype, enabled=mixed, cache_enabled=False):
                return function(*self._arguments)

        self._replay, self._result = (capture or CudaCapture())(run)

    def __call__(self, *arguments: Tensor) -> Tensor:
        """The result for these values, as a tensor of its own.

        Raises:
            ValueError: When a shape differs from the recorded one.
        """
        shapes, recorded = [tuple(a.shape) for a in arguments], [tuple(a.shape) for a in self._arguments]
        if shapes != recorded:
            raise ValueError(f"recorded for arguments of shapes {recorded}, called with {shapes}")
        for place, argument in zip(self._arguments, arguments, strict=True):
            place.copy_(argument)
        self._replay()
        return self._result.clone()


class GraphedScaleSampler(ScaleSampler):
    """A `ScaleSampler` for batches of one size, each scale recorded at its first draw.

    It draws kept tokens too: how many are free differs from batch to batch, and a recording has fixed shapes.
    """

    def __init__(self, net: VAR, guidance: Guidance, filters: Filters, capture: Capture) -> None:
        super().__init__(net, guidance, filters)
        self._capture = capture
        self._graphs: dict[int, Graph] = {}

    def start(self, condition: Condition) -> None:
        """Begin a new batch, in the storage of the first."""
        if not hasattr(self, "cache"):
            super().start(condition)
            return
        for place, tensor in zip(_tensors(self.prepared), _tensors(self.project(condition)), strict=True):
            place.copy_(tensor)

    def draw(self, k: int, inputs_BlC: Tensor | None, noise_BlV: Tensor, free_n: Tensor | None = None) -> Tensor:
        """As `ScaleSampler.draw`, but for all tokens."""
        arguments = [noise_BlV] if inputs_BlC is None else [noise_BlV, inputs_BlC]
        if k not in self._graphs:
            self._graphs[k] = Graph(lambda noise, inputs=None: self._scale(k, noise, inputs), arguments, self._capture)
        return self._graphs[k](*arguments)

    def _scale(self, k: int, noise_BlV: Tensor, inputs_BlC: Tensor | None) -> Tensor:
        self.cache.rewind(self.net.schedule.slices[k].start)  # recording runs a scale more than once
        return super().draw(k, inputs_BlC, noise_BlV)


class SampleGraphs:
    """Recordings of one net, for `sample(..., graphs=...)`.

    Each batch size, guidance, filters and precision has its own, with its own keys and values; the last few are kept.
    Make a new one after moving the net or replacing its weights; weights changed in place are seen.

    Args:
        net: On a CUDA device.
        num_kept: How many combinations to keep.
        capture: How to record; None: on CUDA.
    """

    def __init__(self, net: VAR, *, num_kept: int = 2, capture: Capture | None = None) -> None:
        if num_kept < 1:
            raise ValueError(f"num_kept must be at least 1, got {num_kept}")
        self.net = net
        self.num_kept = num_kept
        self._capture = capture or CudaCapture()
        self._samplers: OrderedDict[tuple[object, ...], GraphedScaleSampler] = OrderedDict()

    def of(self, net: VAR, guidance: Guidance, filters: Filters, condition: Condition) -> GraphedScaleSampler:
        """The recordings for such a batch, new or kept.

        Raises:
            ValueError: When asked for another net.
        """
        if net is not self.net:
            raise ValueError("these graphs were recorded for another net: make SampleGraphs(net) for this one")
        device_type = condition.label_B.device.type
        mixed = torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else None
        key = (len(condition), guidance, filters, mixed)
        sampler = self._samplers.pop(key, None)
        if sampler is None:
            sampler = GraphedScaleSampler(net, guidance, filters, self._capture)
        self._samplers[key] = sampler
        while len(self._samplers) > self.num_kept:
            self._samplers.popitem(last=False)
        return sampler


def _tensors(prepared: Prepared) -> list[Tensor]:
    of_tokens = [tensor for tensor in (prepared.region_BL, prepared.skin_BLD) if tensor is not None]
    return [prepared.vector_BD, *prepared.blocks, prepared.head_B12D, *of_tokens]
