"""Where to compute, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lfvar.errors import ConfigError

if TYPE_CHECKING:
    import torch


def device_of_process(name: str, number: int) -> str:
    """The name of the device for one of several processes: GPUs are given out in turn."""
    import torch

    count = torch.cuda.device_count()
    return f"cuda:{number % count}" if count and name in ("auto", "cuda") else name


def pick_device(name: str | torch.device) -> torch.device:
    """The device of that name; "auto" is CUDA where there is one.

    Raises:
        ConfigError: There is no such device.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise ConfigError(f"device={name} cannot be used: {first}", cure="use device=auto or device=cpu") from error
