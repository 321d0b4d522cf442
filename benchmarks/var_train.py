"""What a training step of the transformer costs, and what each of its shortcuts is worth.

    python benchmarks/var_train.py                                            # depth 6, 64 px: seconds on a CPU
    python benchmarks/var_train.py --size 256 --depth 16 --batch 1 --turns 1  # published size; minutes on a CPU
    python benchmarks/var_train.py --size 256 --depth 16 --batch 32 --device cuda --compile

A step is everything between a batch and new weights: token ids, inputs, forward, loss, backward, clipping, AdamW. The
first row does it the straightforward way: the tokenizer encodes the images of the batch, attention takes one call with
a dense mask, all in float32. Each row after it adds one shortcut to the row before. All rows train the same weights.
The row in bf16 is left out on a CPU that emulates it.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from harness import (
    DTYPES,
    Measured,
    add_common,
    build_pair,
    computes_bf16,
    console,
    describe_rates,
    machine,
    measure_in_turns,
    product_rate,
    tokenizer_flops,
    transformer_flops,
    write_json,
)
from rich.table import Table
from torch import Tensor

from lfvar.lit.var_optim import VAROptimConfig, build_var_optimizer
from lfvar.losses.tokens import TokenLoss, TokenLossConfig
from lfvar.nn.attention import ScaleAttention, attention_groups, block_causal_mask
from lfvar.nn.conditioning import Condition
from lfvar.nn.scale_inputs import teacher_inputs
from lfvar.nn.var import VAR
from lfvar.nn.vqvae import VQVAE

PLAIN, CACHED, GROUPED, BF16, COMPILED = (
    "images, dense, fp32",
    "+ cached tokens",
    "+ grouped attention",
    "+ bf16",
    "+ compiled",
)


def with_dense_attention(net: VAR) -> VAR:
    """The same net, sharing its weights, with one masked call per block instead of one per group of scales."""
    dense = copy.deepcopy(net, memo={id(parameter): parameter for parameter in net.parameters()})
    for module in dense.modules():
        if isinstance(module, ScaleAttention):
            module.groups = attention_groups(net.schedule, 0)
            module.mask_LL = block_causal_mask(net.schedule, net.schedule.num_tokens).to(net.start_1lD.device)
    return dense


class Step:
    """One training step on one batch, again and again.

    Args:
        net: Trained.
        tokenizer: Makes ids of images.
        batch_size: Images in the batch.
    """

    def __init__(self, net: VAR, tokenizer: VQVAE, batch_size: int) -> None:
        self.net, self.tokenizer = net.train(), tokenizer
        device, config = net.start_1lD.device, net.config
        size, draw = tokenizer.config.image_size, torch.Generator().manual_seed(0)
        self.image_BCHW = (torch.rand(batch_size, 3, size, size, generator=draw) * 2 - 1).to(device)
        self.ids_BL = torch.randint(config.vocab_size, (batch_size, net.schedule.num_tokens), generator=draw).to(device)
        values_BM = torch.randn(batch_size, config.num_measurements, generator=draw)
        self.condition = Condition(torch.arange(batch_size) % config.num_classes, values_BM).to(device)
        self.loss = TokenLoss(net.schedule, TokenLossConfig()).to(device)
        self.optim = VAROptimConfig(lr=1e-5)
        self.optimizer = build_var_optimizer(net, self.optim)

    def __call__(self, net: Callable[..., Tensor], *, cached: bool, mixed: bool) -> None:
        """From the batch to new weights."""
        device = self.image_BCHW.device
        ids_BL = self.ids_BL if cached else torch.cat(self.tokenizer.encode_ids(self.image_BCHW), dim=1)
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            ids = ids_BL.split(self.net.schedule.lengths, dim=1)
            inputs_BLC = teacher_inputs(self.tokenizer.quantiser.decode_partials(ids), self.net.schedule)
            loss = self.loss(net(inputs_BLC, self.condition), ids_BL).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.optim.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def build_variants(
    net: VAR, tokenizer: VQVAE, batch_size: int, *, compiled: bool, with_bf16: bool = True
) -> dict[str, Callable[[], object]]:
    """The rows of the table; compiled is the fastest of the others."""
    step, dense = Step(net, tokenizer, batch_size), with_dense_attention(net)
    variants: dict[str, Callable[[], object]] = {
        PLAIN: lambda: step(dense, cached=False, mixed=False),
        CACHED: lambda: step(dense, cached=True, mixed=False),
        GROUPED: lambda: step(net, cached=True, mixed=False),
    }
    if with_bf16:
        variants[BF16] = lambda: step(net, cached=True, mixed=True)
    if compiled:
        fast = torch.compile(net)
        variants[COMPILED] = lambda: step(fast, cached=True, mixed=with_bf16)
    return variants


def tabulate(
    measured: Sequence[Measured], batch_size: int, net: VAR, tokenizer: VQVAE, rates: dict[str, float]
) -> dict[str, Any]:
    """Rows of the table, and what floors are reckoned with."""
    training = 3 * transformer_flops(net.config, branches=1)  # backward costs two products for each of forward
    encoding = tokenizer_flops(tokenizer.config)[0]
    rows = []
    for result, before in zip(measured, [measured[0], *measured], strict=False):
        floor = training / rates["bf16" if "bf16" in rates and result.name in (BF16, COMPILED) else "fp32"]
        if result.name == PLAIN:
            floor += encoding / rates["fp32"]
        ms = result.milliseconds(batch_size)
        rows.append(
            {
                "what": result.name,
                "ms_per_image": ms,
                "floor_ms": 1000 * floor,
                "share_of_floor": 1000 * floor / ms,
                "times_before": result.times_faster_than(before),
                "times_plain": result.times_faster_than(measured[0]),
                "peak_mb": None if result.peak_bytes is None else result.peak_bytes / 1e6,
            }
        )
    gflop = {"transformer_gflop": training / 1e9, "encoder_gflop": encoding / 1e9}
    return {"rows": rows, **gflop, **{f"tflops_{name}": rate / 1e12 for name, rate in rates.items()}}


def show(found: dict[str, Any], title: str) -> None:
    """Print the table, and what its columns mean."""
    table = Table("training step", title=title)
    for name in ("ms/image", "floor, ms", "floor / time", "× row before", "× first row", "peak, MB"):
        table.add_column(name, justify="right")
    for row in found["rows"]:
        numbers = [f"{row[key]:.3g}" for key in ("ms_per_image", "floor_ms")]
        ratios = [f"{row[key]:.2f}" for key in ("share_of_floor", "times_before", "times_plain")]
        table.add_row(row["what"], *numbers, *ratios, "?" if row["peak_mb"] is None else f"{row['peak_mb']:.0f}")
    out = console()
    out.print(table)
    out.print(
        f"floor: {found['transformer_gflop']:.0f} GFLOP per image forward and backward, {found['encoder_gflop']:.0f} "
        f"to encode it, at the rate of one large matrix product here ({describe_rates(found)}). × is the median over "
        f"the turns. peak: beyond weights and optimizer."
    )


def main() -> None:
    args = parse()
    device = torch.device(args.device)
    net, tokenizer = build_pair(args.size, args.depth, device)
    clock = {"cpu_time": args.cpu_time}
    with_bf16 = computes_bf16(device, args.size)
    known = DTYPES if with_bf16 else {"fp32": torch.float32}
    rates = {name: product_rate(device, dtype, small=args.size == "tiny", **clock) for name, dtype in known.items()}
    tokenizer.requires_grad_(False)
    variants = build_variants(net, tokenizer, args.batch, compiled=args.compile, with_bf16=with_bf16)
    measured = measure_in_turns(variants, args.turns, device, **clock)
    found = tabulate(measured, args.batch, net, tokenizer, rates)
    title = f"depth {args.depth}, {args.size} px, batch {args.batch}, {machine(device, args.cpu_time)}"
    show(found, title)
    if args.json:
        rows = found.pop("rows")
        about = {
            "depth": args.depth,
            "size": args.size,
            "batch": args.batch,
            "machine": machine(device, args.cpu_time),
            **found,
        }
        write_json(args.json, about, measured, rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common(parser)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--compile", action="store_true", help="add a compiled step (many core-minutes on a CPU)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
