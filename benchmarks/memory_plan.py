"""What memory a training step of the transformer takes: reckoned for any size, and measured where it runs.

    python benchmarks/memory_plan.py                              # depth 16 at 256 and 512 px, bf16: seconds
    python benchmarks/memory_plan.py --batch 8 --depths 16 24
    python benchmarks/memory_plan.py --sizes 512 --measure        # also takes one step here; minutes on a CPU

Reckoned: weights, gradients and AdamW's two averages in float32; what the forward pass keeps for the backward pass,
counted by running it on tensors without memory; with checkpointing, what blocks keep is replaced by their inputs and
the largest single block. What is left out (scratch memory of kernels, fragments) is what a measured peak has more.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from harness import DTYPES, PeakMemory, build_configs, computes_bf16, console
from rich.table import Table
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from lfvar.lit.var_optim import VAROptimConfig, build_var_optimizer
from lfvar.losses.tokens import TokenLoss, TokenLossConfig
from lfvar.nn.conditioning import Condition
from lfvar.nn.var import VAR, VARConfig

BUDGET_GB = 24.0


class SavedBytes:
    """Counts the memory that autograd keeps for the backward pass; each storage once, weights not at all."""

    def __init__(self, net: torch.nn.Module) -> None:
        self.seen: dict[int, int] = {}
        self.kept: list[Tensor] = []  # so that no two storages get the same address
        self.weights = {parameter.untyped_storage()._cdata for parameter in net.parameters()}

    def pack(self, tensor: Tensor) -> Tensor:
        """Called for each tensor that is kept."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self.weights and storage._cdata not in self.seen:
            self.seen[storage._cdata] = storage.nbytes()
            self.kept.append(tensor)
        return tensor

    @property
    def total(self) -> int:
        """Bytes."""
        return sum(self.seen.values())


def step_inputs(config: VARConfig, batch_size: int) -> tuple[Tensor, Condition, Tensor]:
    """Inputs, condition and targets of one step."""
    net_tokens = sum(side * side for side in config.patch_nums)
    inputs_BLC = torch.randn(batch_size, net_tokens - config.patch_nums[0] ** 2, config.latent_channels)
    condition = Condition(
        torch.zeros(batch_size, dtype=torch.int64), torch.zeros(batch_size, max(config.num_measurements, 1))
    )
    return inputs_BLC, condition, torch.zeros(batch_size, net_tokens, dtype=torch.int64)


def count_saved(config: VARConfig, batch_size: int, precision: str) -> tuple[int, int]:
    """Bytes that a forward pass keeps, and the number of weights."""
    # Drawing initial weights looks at their values, which these tensors do not have.
    with patch.object(torch.nn.init, "trunc_normal_"), FakeTensorMode(allow_non_fake_inputs=True):
        net = VAR(config).train()
        loss = TokenLoss(net.schedule, TokenLossConfig())
        inputs_BLC, condition, ids_BL = step_inputs(config, batch_size)
        saved = SavedBytes(net)
        with (
            torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor),
            torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"),
        ):
            loss(net(inputs_BLC, condition), ids_BL)
        return saved.total, sum(parameter.numel() for parameter in net.parameters())


def reckon(config: VARConfig, batch_size: int, precision: str) -> dict[str, float]:
    """GB of each part of a step, with and without checkpointing."""
    whole, num_weights = count_saved(config, batch_size, precision)
    shallow, _ = count_saved(replace(config, depth=1), batch_size, precision)
    block = (whole - shallow) / max(config.depth - 1, 1)
    width = sum(side * side for side in config.patch_nums) * config.width * 4 * batch_size
    fixed = 4 * 4 * num_weights  # weight, gradient, two averages
    checkpointed = shallow - block + config.depth * width + block
    return {
        "parameters_m": num_weights / 1e6,
        "fixed_gb": fixed / 1e9,
        "activations_gb": whole / 1e9,
        "checkpointed_gb": checkpointed / 1e9,
        "total_gb": (fixed + whole) / 1e9,
        "total_checkpointed_gb": (fixed + checkpointed) / 1e9,
    }


def measure(config: VARConfig, batch_size: int, precision: str, device: torch.device, *, checkpointing: bool) -> float:
    """Peak GB of one real step, weights included."""
    memory = PeakMemory(device)
    torch.manual_seed(0)
    net = VAR(replace(config, checkpointing=checkpointing)).to(device).train()
    loss = TokenLoss(net.schedule, TokenLossConfig()).to(device)
    optimizer = build_var_optimizer(net, VAROptimConfig())
    inputs_BLC, condition, ids_BL = step_inputs(config, batch_size)
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        value = loss(net(inputs_BLC.to(device), condition.to(device)), ids_BL.to(device)).loss
    value.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
    optimizer.step()
    peak = memory.read()
    return float("nan") if peak is None else peak / 1e9


def show(rows: Sequence[dict[str, Any]], precision: str, batch_size: int) -> None:
    """Print the plan."""
    table = Table("transformer", title=f"memory of a training step, {precision}, batch {batch_size}, GB")
    names = ("params, M", "fixed", "kept", "kept, ckpt", "total", "total, ckpt", f"fits {BUDGET_GB:.0f} GB", "measured")
    for name in names:
        table.add_column(name, justify="right")
    for row in rows:
        keys = ("fixed_gb", "activations_gb", "checkpointed_gb", "total_gb", "total_checkpointed_gb")
        fits = "yes" if row["total_gb"] < BUDGET_GB else "checkpointed" if row["fits"] else "no"
        table.add_row(
            f"depth {row['depth']}, {row['size']} px",
            f"{row['parameters_m']:.0f}",
            *(f"{row[key]:.2f}" for key in keys),
            fits,
            row["measured"],
        )
    out = console()
    out.print(table)
    out.print(
        "fixed: weights, gradients and AdamW. kept: for the backward pass; ckpt: with checkpointing. measured: peak of "
        "a checkpointed step here, in brackets what is reckoned for it."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["256", "512"], choices=("tiny", "64", "256", "512"))
    parser.add_argument("--depths", type=int, nargs="+", default=[16])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--precision", choices=tuple(DTYPES), default="bf16")
    parser.add_argument("--measure", action="store_true", help="take a checkpointed step, too")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    device = torch.device(args.device)
    # Where bf16 is emulated a step takes an hour; float32 keeps twice as much, which bounds it from above.
    runs = args.precision if computes_bf16(device) else "fp32"
    rows = []
    for size in args.sizes:
        for depth in args.depths:
            config = build_configs(size, depth)[0]
            row: dict[str, Any] = {"size": size, "depth": depth, **reckon(config, args.batch, args.precision)}
            row["fits"] = row["total_checkpointed_gb"] < BUDGET_GB
            row["measured"] = "-"
            if args.measure:
                peak = measure(config, args.batch, runs, device, checkpointing=True)
                expected = reckon(config, args.batch, runs)["total_checkpointed_gb"]
                row |= {"measured_gb": peak, "measured_in": runs, "reckoned_gb": expected}
                row["measured"] = f"{peak:.2f} in {runs} ({expected:.2f})"
            rows.append(row)
    show(rows, args.precision, args.batch)
    if args.json:
        args.json.write_text(json.dumps({"batch": args.batch, "precision": args.precision, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
