"""Weights in the layout that a CPU multiplies fastest.

Sampling multiplies few rows by large matrices, scale after scale. A library that gets the matrix as it is rearranges
parts of it at every product; stored rearranged, that work is done once, and the GELU joins the product before it.
Products are rounded as before up to the order of sums, which can only decide between tokens that are tied.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lfvar.nn.attention import ScaleAttention
from lfvar.nn.transformer_block import TransformerBlock
from lfvar.nn.var import VAR

_ROWS = 256
"""Rows that the layout is chosen for; all numbers of rows can use it."""


class PackedLinear(nn.Module):
    """A float32 linear layer for inference on a CPU; lives where it was made and is not saved.

    Args:
        linear: Its weights are copied.
        gelu: Follow it by a GELU (tanh form).
    """

    def __init__(self, linear: nn.Linear, *, gelu: bool = False) -> None:
        super().__init__()
        self.activation, self.algorithm = ("gelu", "tanh") if gelu else ("none", "")
        self.bias = None if linear.bias is None else linear.bias.detach()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), _ROWS)

    def forward(self, input: Tensor, bias_D: Tensor | None = None) -> Tensor:
        """As `nn.Linear`, with another bias where one is given."""
        bias_D = self.bias if bias_D is None else bias_D
        result: Tensor = torch.ops.mkldnn._linear_pointwise(
            input, self.weight, bias_D, self.activation, [], self.algorithm
        )
        return result


def can_pack() -> bool:
    """Whether this build of torch has the kernels (oneDNN)."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")


def store_packed(net: VAR) -> None:
    """Replace the large linear layers of a transformer in place; nothing happens where `can_pack` says no.

    From then on it only samples, in float32, on the CPU; its plain weights are gone.

    Args:
        net: On the CPU, in evaluation mode, in float32.
    """
    if not can_pack():
        return
    for module in list(net.modules()):
        if isinstance(module, ScaleAttention):
            _replace(module, "qkv", PackedLinear(module.qkv))
            _replace(module, "proj", PackedLinear(module.proj))
        elif isinstance(module, TransformerBlock):
            mlp = module.mlp
            _replace(module, "mlp", nn.Sequential(PackedLinear(mlp.fc1, gelu=True), PackedLinear(mlp.fc2)))
    _replace(net, "head", PackedLinear(net.head))


def _replace(owner: nn.Module, name: str, part: nn.Module) -> None:
    setattr(owner, name, part)
