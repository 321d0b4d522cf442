"""Weights, gradients and optimizer states split over processes (FSDP2), with checkpoints as one process writes them.

What is large is split: the modules that a net's `SteppingModule` names as its units, gathered one at a time while they
compute. What is left (norms, embeddings, the codebook: a few percent) stays whole on every process, and its gradients
are averaged here, in one message per step. So whatever looks at those weights directly goes on working.

Validation, pictures and samples use a whole copy of the net for as long as they last (`WholeNet`): they run different
numbers of batches on different processes, which would wait for each other for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, distribute_tensor

from lfvar.lit.collective import average_in_place


class ShardedStrategy(ModelParallelStrategy):
    """Lightning's strategy for FSDP2, over all processes, with ordinary checkpoints.

    Its own would number optimizer states by the order of the module's parameters, ours are numbered by the optimizer's:
    a checkpoint goes on under any trainer, whatever wrote it. Rank 0 writes it through the trainer's `CheckpointIO`.
    """

    strategy_name = "fsdp2"

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Split over all processes, of all machines."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Lightning asks for `load_optimizer_state_dict`."""
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """All weights, whole and on the CPU, on rank 0; all processes have to take part."""
        assert self.lightning_module is not None
        state = ((name, self._gather(value)) for name, value in self.lightning_module.state_dict().items())
        return {name: value for name, value in state if value is not None}

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """On rank 0 as `Optimizer.state_dict` of one process; all processes have to take part."""
        state = _plain(optimizer).state_dict()
        values = {
            index: {name: self._gather(value) for name, value in slots.items()}
            for index, slots in state["state"].items()
        }
        return {**state, "state": values}

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Read the file, on every process."""
        path = self.broadcast(str(checkpoint_path))
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Keep of each weight what belongs here."""
        assert self.lightning_module is not None
        own = self.lightning_module.state_dict()
        stored = checkpoint["state_dict"].items()
        state = {name: like(value, own[name]) if name in own else value for name, value in stored}
        self.lightning_module.load_state_dict(state, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Keep of each state what belongs here."""
        for optimizer, stored in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            _load_optimizer(_plain(optimizer), stored)

    def _gather(self, value: Any) -> Any:
        """The whole of a value on rank 0, on the CPU; None elsewhere."""
        gathered = whole(value)
        if not self.is_global_zero:
            return None
        return gathered.detach().cpu() if isinstance(gathered, Tensor) else gathered


def split(net: nn.Module, units: Sequence[nn.Module], mesh: DeviceMesh, *, methods: Sequence[str] = ()) -> None:
    """Split the weights of `units` over the processes of a mesh, in place; the rest of the net stays whole.

    Args:
        net: Equal on all processes.
        units: Its modules that are gathered one at a time.
        mesh: One-dimensional.
        methods: Names of methods beside `forward` that training calls from outside.

    Raises:
        ImportError: With a torch that is too old for it.
    """
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    if is_split(net):
        return
    for unit in units:
        fully_shard(unit, mesh=mesh)
    kept = {parameter for parameter in net.parameters() if not isinstance(parameter, DTensor)}
    try:
        fully_shard(net, mesh=mesh, ignored_params=kept)
    except TypeError as error:
        raise ImportError(f"trainer=fsdp needs torch ≥ 2.8, this is {torch.__version__}") from error
    for method in methods:
        register_fsdp_forward_method(net, method)


def is_split(net: nn.Module) -> bool:
    """Whether some weights of a net are split over processes."""
    return any(isinstance(parameter, DTensor) for parameter in net.parameters())


def here(value: Tensor) -> Tensor:
    """The part of a tensor that this process holds, sharing its memory; all of it where it is not split."""
    return (value.to_local() if isinstance(value, DTensor) else value).detach()


def whole(value: Any) -> Any:
    """The whole of a tensor, gathered from all processes if it is split; anything else as it is."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def whole_of_part(part: Tensor, parameter: Tensor) -> Tensor:
    """The whole of what every process holds a part of, split as `parameter` is."""
    if not isinstance(parameter, DTensor):
        return part
    value = DTensor.from_local(
        part, parameter.device_mesh, parameter.placements, shape=parameter.shape, stride=parameter.stride()
    )
    return value.full_tensor()


def like(value: Tensor, parameter: Tensor) -> Tensor:
    """A tensor that all processes hold whole, split as `parameter` is, on its device."""
    if not isinstance(parameter, DTensor):
        return value
    mesh = parameter.device_mesh
    return distribute_tensor(value.to(parameter.device), mesh, parameter.placements, src_data_rank=None)


def average_kept_gradients(net: nn.Module) -> None:
    """Average over processes the gradients of the weights that are whole on all of them; those split are already."""
    kept = [p.grad for p in net.parameters() if p.grad is not None and not isinstance(p, DTensor)]
    if kept:
        average_in_place(kept)


@torch.no_grad()
def clip_split_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """`nn.utils.clip_grad_norm_` over weights of which some are split, some whole; returns the norm before clipping."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    parts = [here(gradient) for gradient in gradients]
    squares = [part.float().square().sum() for part in parts]
    of_split = [square for square, g in zip(squares, gradients, strict=True) if isinstance(g, DTensor)]
    of_kept = [square for square, g in zip(squares, gradients, strict=True) if not isinstance(g, DTensor)]
    total = torch.stack(of_split).sum() if of_split else squares[0].new_zeros(())
    dist.all_reduce(total)
    norm = torch.stack([total, *of_kept]).sum().sqrt()
    torch._foreach_mul_(parts, (max_norm / (norm + 1e-6)).clamp(max=1.0))
    return norm


class WholeNet:
    """Lends a module a whole copy of its split net.

    Args:
        net: Before it is split; its class and `config` make the copy.
    """

    def __init__(self, net: nn.Module) -> None:
        self._class, self._config = type(net), net.config
        self._split: nn.Module | None = None

    def lend(self, module: nn.Module, device: torch.device) -> None:
        """Put a whole copy in the place of `module.net`; to be called by all processes."""
        net = module.net
        if self._split is not None or not isinstance(net, nn.Module):
            return
        state = {name: whole(value) for name, value in net.state_dict().items()}
        with device:
            copy = cast(Any, self._class)(self._config)
        copy.load_state_dict(state)
        copy.requires_grad_(False)
        self._split, module.net = net, copy.eval()

    def take_back(self, module: nn.Module) -> None:
        """Give `module` its split net back, if it lacks it."""
        if self._split is not None:
            module.net, self._split = self._split, None


def _load_optimizer(optimizer: torch.optim.Optimizer, stored: Mapping[str, Any]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = {
        index: {
            name: like(value, parameters[index]) if isinstance(value, Tensor) and value.ndim else value
            for name, value in values.items()
        }
        for index, values in stored["state"].items()
    }
    optimizer.load_state_dict({**stored, "state": state})


def _plain(optimizer: Any) -> torch.optim.Optimizer:
    """The optimizer that Lightning may have wrapped."""
    return cast(torch.optim.Optimizer, getattr(optimizer, "optimizer", optimizer))
