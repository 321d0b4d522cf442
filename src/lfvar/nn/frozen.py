"""Networks as constants: they measure, and nothing trains, saves or averages them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def freeze(network: Network) -> Network:
    """Turn a network into a constant, in place.

    Every parameter and buffer becomes a buffer that is not saved: it moves with `.to()`, but is in no optimizer and no
    checkpoint, and loading the network around it strictly misses nothing. Dropout and normalisation stay in evaluation
    mode whatever `train()` is called with. Gradients flow through to the input.

    Args:
        network: Any network; its own submodules are frozen with it.

    Returns:
        The same object, still an instance of its class.
    """
    for module in network.modules():
        for name, parameter in list(module._parameters.items()):
            delattr(module, name)
            module.register_buffer(name, None if parameter is None else parameter.detach(), persistent=False)
        for name, buffer in list(module._buffers.items()):
            module.register_buffer(name, buffer, persistent=False)
        if not isinstance(module, _Frozen):
            original: Any = type(module)
            module.__class__ = _frozen_class(original)
    return network.eval()


class _Frozen(nn.Module):
    """What the class of each frozen module has in front of its own."""

    def train(self, mode: bool = True) -> _Frozen:
        """Stay in evaluation mode."""
        return super().train(False)

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Load nothing. The original would too, but BatchNorm asks for its counter though that is not saved."""
        unexpected_keys.extend(key for key in state_dict if key.startswith(prefix) and "." not in key[len(prefix) :])

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Copy and pickle: the class is made at run time, so it is named by the one it stands before."""
        return _blank, (type(self).__bases__[1],), self.__dict__


@cache
def _frozen_class(original: Any) -> Any:
    names = {"__doc__": original.__doc__, "__module__": original.__module__}
    return type(original.__name__, (_Frozen, original), names)


def _blank(original: Any) -> Any:
    kind = _frozen_class(original)
    return kind.__new__(kind)
