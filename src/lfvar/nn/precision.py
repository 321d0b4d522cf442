"""Full float32 where a rounding error changes a decision.

bf16 or TF32 in the nearest-code search flips up to half of the token ids while the reconstruction error barely moves,
so nobody notices until a transformer trains on them. Everything between features and token ids runs in here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def float32_exact(device: torch.device) -> Iterator[None]:
    """Switch autocast and reduced-precision float32 products off inside the block, and restore both afterwards.

    Args:
        device: Where the tensors of the block live; decides which autocast is meant.
    """
    switches = _switches()
    before = [getattr(place, name) for place, name, _ in switches]
    for place, name, exact in switches:
        setattr(place, name, exact)
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for (place, name, _), value in zip(switches, before, strict=True):
            setattr(place, name, value)


def allow_tf32() -> None:
    """Let float32 products and convolutions on CUDA use TF32, as mixed-precision training wants."""
    if _has_new_switches():
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        torch.backends.cudnn.conv.fp32_precision = "tf32"  # type: ignore[attr-defined]
    else:
        torch.set_float32_matmul_precision("high")


def _switches() -> list[tuple[Any, str, object]]:
    """Where torch keeps its float32 precision, and the value that means exact.

    torch 2.9 replaced `allow_tf32` by `fp32_precision` per library, and refuses to read the old after the new was set.
    """
    backends: Any = torch.backends
    if _has_new_switches():
        places = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)
        return [(place, "fp32_precision", "ieee") for place in places]
    return [(backends.cuda.matmul, "allow_tf32", False), (backends.cudnn, "allow_tf32", False)]


def _has_new_switches() -> bool:
    return hasattr(torch.backends.cudnn, "conv") and hasattr(torch.backends.mkldnn, "matmul")
