"""What a CPU gains by Winograd's filtering and by packed weights, product by product, at the published sizes.

    python benchmarks/cpu_layouts.py                # seconds
    python benchmarks/cpu_layouts.py --decoder      # and the whole decoder at 256 px

Each pair runs in turns in this process; the ratio is the median of the turns'. It also says what bf16 costs here, which
a CPU without units for it computes in software.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from harness import add_common, build_pair, console, machine, measure_in_turns
from rich.table import Table
from sample import ordinary_convolutions
from torch import nn

from lfvar.nn.winograd import WinogradConv2d
from lfvar.sampling.packed import PackedLinear

CONVOLUTIONS = ((160, 160, 256), (320, 160, 128), (320, 320, 64), (640, 320, 32))
"""Channels in and out, and side of the map, of the published decoder."""
ROWS = (2, 32, 128, 512)
"""Tokens of both branches of guidance at the scales 1×1, 4×4, 8×8, 16×16."""
TINY = {"convolutions": ((8, 8, 48),), "rows": (4,), "width": 32, "product": 64}


@torch.no_grad()
def main() -> None:
    args = parse()
    device, tiny = torch.device("cpu"), args.size == "tiny"
    table = Table("what", "plain, ms", "ours, ms", "× plain", "largest difference")
    table.title = f"layouts, {machine(device, args.cpu_time)}"

    def add(what: str, plain: Callable[[], torch.Tensor], ours: Callable[[], torch.Tensor]) -> None:
        first, second = measure_in_turns({"plain": plain, "ours": ours}, args.turns, device, cpu_time=args.cpu_time)
        expected = plain()
        difference = (ours().float() - expected.float()).abs().max() / expected.float().std()
        times = (f"{result.milliseconds(1):.3g}" for result in (first, second))
        table.add_row(what, *times, f"{second.times_faster_than(first):.2f}", f"{difference:.1e} σ")

    for channels, out_channels, side in TINY["convolutions"] if tiny else CONVOLUTIONS:
        fast = WinogradConv2d(channels, out_channels, 3, padding=1)
        x_BCHW = torch.randn(1, channels, side, side)
        plain = lambda fast=fast, x=x_BCHW: F.conv2d(x, fast.weight, fast.bias, padding=1)  # noqa: E731
        add(f"convolution {channels} → {out_channels} at {side}²", plain, lambda fast=fast, x=x_BCHW: fast(x))
    width = TINY["width"] if tiny else 1024
    linear = nn.Linear(width, 4 * width)
    packed = PackedLinear(linear)
    for rows in TINY["rows"] if tiny else ROWS:
        x_ND = torch.randn(rows, width)
        add(f"{rows} rows × {width} × {4 * width}", lambda x=x_ND: linear(x), lambda x=x_ND: packed(x))
    side = TINY["product"] if tiny else 512
    a, b = torch.randn(side, side), torch.randn(side, side)
    low_a, low_b = a.bfloat16(), b.bfloat16()
    add(f"bf16 instead of fp32, product of {side}³", lambda: a @ b, lambda: low_a @ low_b)
    if args.decoder:
        tokenizer = build_pair(args.size if tiny else "256", 1, device)[1]
        ids = [torch.zeros(1, length, dtype=torch.int64) for length in tokenizer.schedule.lengths]

        def decode_plainly() -> torch.Tensor:
            with ordinary_convolutions(tokenizer):
                return tokenizer.decode_ids(ids)

        add("decoder", decode_plainly, lambda: tokenizer.decode_ids(ids))
    console().print(table)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common(parser)
    parser.add_argument("--decoder", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
