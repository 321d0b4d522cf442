"""Averages over processes in one message each, for what Lightning and its wrappers do not look after.

All of them do nothing without a process group, and are to be called by all processes alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def place_among_processes() -> tuple[int, int]:
    """Rank and number of processes."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def sum_over_processes(values: Tensor) -> Tensor:
    """Sum of a tensor over processes; the argument may be overwritten."""
    if place_among_processes()[1] > 1:
        values = values.contiguous()
        dist.all_reduce(values)
    return values


def mean_over_processes(values: Tensor) -> Tensor:
    """Mean of a tensor over processes; the argument may be overwritten."""
    return sum_over_processes(values) / place_among_processes()[1]


def of_first_process(values: Tensor) -> Tensor:
    """The first process's values of a tensor of the same shape everywhere; the argument may be overwritten."""
    if place_among_processes()[1] > 1:
        values = values.contiguous()
        dist.broadcast(values, src=0)
    return values


def of_all_processes(values: Tensor) -> Tensor:
    """Every process's values of a tensor (…) of the same shape everywhere, as (processes, …) in the order of ranks."""
    num_processes = place_among_processes()[1]
    if num_processes == 1:
        return values[None]
    gathered = values.new_empty(num_processes, *values.shape)
    dist.all_gather(list(gathered.unbind()), values.contiguous())
    return gathered


def average_in_place(tensors: Sequence[Tensor]) -> None:
    """Replace tensors of one type by their means over processes."""
    if place_among_processes()[1] > 1:
        _copy_pieces(mean_over_processes(_flat(tensors)), tensors)


def broadcast_in_place(tensors: Sequence[Tensor]) -> None:
    """Replace tensors of one type by those of the first process."""
    if place_among_processes()[1] > 1:
        flat_N = _flat(tensors)
        dist.broadcast(flat_N, src=0)
        _copy_pieces(flat_N, tensors)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def _copy_pieces(flat_N: Tensor, tensors: Sequence[Tensor]) -> None:
    pieces = flat_N.split([tensor.numel() for tensor in tensors])
    for tensor, piece in zip(tensors, pieces, strict=True):
        tensor.copy_(piece.view_as(tensor))
