"""Full float32 where a rounding error changes a decision.

bf16 or TF32 in the nearest-code search flips up to half of the token ids while the reconstruction error barely moves,
so nobody notices until a transformer trains on them. Everything between features and token ids runs in here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def float32_exact(device: torch.device) -> Iterator[None]:
    """Switch autocast and TF32 off inside the block, and restore both afterwards.

    Args:
        device: Where the tensors of the block live; decides which autocast is meant.
    """
    matmul = torch.backends.cuda.matmul.allow_tf32
    cudnn = torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = matmul
        torch.backends.cudnn.allow_tf32 = cudnn
