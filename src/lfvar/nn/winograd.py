"""3×3 convolutions by Winograd's minimal filtering (Lavin & Gray 2016, arXiv 1509.09308), where a CPU gains by it.

Filtering tiles of 6×6 outputs at once takes 64 products where the plain sum takes 324. Sums come out in another order:
relative differences are about 1e-4 of a map's spread, far below a grey level of the image, but enough to move token
ids. So decoders use it and encoders do not, and only outside of training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

MIN_PIXELS = 48 * 48
"""Smallest map that gains: below, transforming the weights costs more than it saves."""


class WinogradConv2d(nn.Conv2d):
    """A `Conv2d` that is fast on a CPU in float32 when no gradient is wanted, at 3×3 with stride and padding 1.

    Everything else goes the ordinary way. Images of a batch go through one by one: the memory for transformed tiles is
    that of one image, and no image depends on its neighbours.
    """

    def forward(self, input: Tensor) -> Tensor:
        """As `Conv2d`."""
        if not self._gains(input):
            return super().forward(input)
        images = input.contiguous().split(1)
        maps = [torch._nnpack_spatial_convolution(image, self.weight, self.bias, [1, 1], [1, 1]) for image in images]
        return maps[0] if len(maps) == 1 else torch.cat(maps)

    def _gains(self, input: Tensor) -> bool:
        return (
            input.device.type == "cpu"
            and input.dtype == self.weight.dtype == torch.float32
            and not torch.is_grad_enabled()
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()
            and input.shape[-1] * input.shape[-2] >= MIN_PIXELS
            and (self.kernel_size, self.stride, self.padding, self.dilation, self.groups)
            == ((3, 3), (1, 1), (1, 1), (1, 1), 1)
            and is_available()
        )


def is_available() -> bool:
    """Whether this build of torch has the kernels (NNPACK) and this CPU runs them."""
    # Asking also initialises them; a call before fails.
    return hasattr(torch, "_nnpack_spatial_convolution") and torch._nnpack_available()
