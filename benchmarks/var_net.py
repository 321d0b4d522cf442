"""What the transformer's shortcuts are worth: attention in groups against dense, cached sampling against starting over.

    python benchmarks/var_net.py                                 # depth 6, 64 px: seconds on a CPU
    python benchmarks/var_net.py --depth 16 --size 256 --batch 4 --device cuda --precision bf16

Each pair is measured in turns, close together, and the median of the ratios counts, because other work on the machine
disturbs single runs. Weights are random: what is measured does not depend on them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from lfvar.interop.published import PUBLISHED_256, PUBLISHED_512
from lfvar.nn.conditioning import Condition
from lfvar.nn.quantiser import MultiScaleQuantiser
from lfvar.nn.scale_inputs import scale_inputs
from lfvar.nn.var import VAR, VARConfig
from lfvar.sampling.filters import Filters, filter_logits
from lfvar.sampling.guidance import Guidance, branch_conditions, combine_branches, guidance_branches
from lfvar.sampling.noise import SampleNoise, race
from lfvar.sampling.sampler import sample

SCHEDULES = {64: (1, 2, 3, 4, 6, 8), 256: PUBLISHED_256, 512: PUBLISHED_512}
GUIDANCE, FILTERS = Guidance(1.5), Filters(top_k=200, top_p=0.95)


def main() -> None:
    args = parse()
    device = torch.device(args.device)
    torch.manual_seed(0)
    small = args.size == 64
    config = VARConfig(
        depth=args.depth,
        width=64 * args.heads,
        num_heads=args.heads,
        patch_nums=SCHEDULES[args.size],
        vocab_size=512 if small else 4096,
        latent_channels=16 if small else 32,
        num_measurements=120,
    )
    grouped = VAR(config).to(device)
    dense = VAR(replace(config, num_unmasked_scales=0)).to(device)
    dense.load_state_dict(grouped.state_dict())
    quantiser = MultiScaleQuantiser(grouped.schedule, config.vocab_size, config.latent_channels).to(device)
    condition = Condition(torch.arange(args.batch) % 7, torch.randn(args.batch, 120)).to(device)
    mixed = torch.autocast(device.type, torch.bfloat16) if args.precision == "bf16" else nullcontext()

    table = Table("what", "plain, ms/image", "ours, ms/image", "plain / ours", title=title(args, config))
    with mixed:
        calls = [lambda net=net: attention_alone(net, args.batch) for net in (dense, grouped)]
        add_row(table, "attention alone: dense / groups", *calls, args)
        steps = [lambda net=net: training_step(net, condition) for net in (dense, grouped)]
        add_row(table, "training step: dense / groups", *steps, args)
        grouped.eval()
        seeds = list(range(args.batch))
        ours, plain = (
            draw_cached(grouped, quantiser, condition, seeds),
            draw_again(grouped, quantiser, condition, seeds),
        )
        if args.precision == "fp32":
            assert all(map(torch.equal, ours(), plain())), "cached sampling gave other ids"
        add_row(table, "guided sampling: prefix again / cached", plain, ours, args)
    Console().print(table)


def attention_alone(net: VAR, batch_size: int) -> None:
    """Forward and backward of one block's self-attention, projections included."""
    attention = net.blocks[0].attention
    x_BLD = torch.randn(batch_size, net.schedule.num_tokens, net.config.width, device=net.start_1lD.device)
    attention(x_BLD).sum().backward()
    net.zero_grad(set_to_none=True)


def training_step(net: VAR, condition: Condition) -> None:
    """Forward and backward of one batch, without the optimizer."""
    net.train()
    num_inputs = net.schedule.num_tokens - net.schedule.lengths[0]
    device = condition.label_B.device
    inputs_BLC = torch.randn(len(condition), num_inputs, net.config.latent_channels, device=device)
    ids_BL = torch.randint(net.config.vocab_size, (len(condition), net.schedule.num_tokens), device=device)
    F.cross_entropy(net(inputs_BLC, condition).flatten(0, 1), ids_BL.flatten()).backward()
    net.zero_grad(set_to_none=True)


def draw_cached(
    net: VAR, quantiser: MultiScaleQuantiser, condition: Condition, seeds: list[int]
) -> Callable[[], list[Tensor]]:
    return lambda: sample(net, quantiser, condition, guidance=GUIDANCE, filters=FILTERS, seeds=seeds)


def draw_again(
    net: VAR, quantiser: MultiScaleQuantiser, condition: Condition, seeds: list[int]
) -> Callable[[], list[Tensor]]:
    """The same samples without anything remembered: all scales so far go through the net at each scale."""

    @torch.no_grad()
    def draw() -> list[Tensor]:
        branches = guidance_branches(GUIDANCE, net.conditioning)
        stacked = branch_conditions(condition, branches, net.conditioning)
        noise = SampleNoise(seeds, condition.label_B.device)
        size = net.schedule.latent_size
        f_hat_BChw = torch.zeros(len(condition), quantiser.latent_channels, size, size, device=condition.label_B.device)
        inputs: list[Tensor] = []
        ids: list[Tensor] = []
        for k, side in enumerate(net.schedule.patch_nums):
            if k:
                inputs.append(scale_inputs(f_hat_BChw, side).repeat(len(branches), 1, 1))
            prepared, cache = net.prepare(stacked), net.new_cache(len(stacked))
            for scale, inputs_RlC in enumerate([None, *inputs]):
                logits_RlV = net.step(scale, inputs_RlC, prepared, cache)
            logits_BlV = combine_branches(logits_RlV, branches, GUIDANCE.share(k, len(net.schedule)))
            ids_Bl = race(filter_logits(logits_BlV, FILTERS), noise.exponential(side * side, logits_BlV.shape[-1]))
            f_hat_BChw = f_hat_BChw + quantiser.contribution_of_ids(k, ids_Bl)
            ids.append(ids_Bl)
        return ids

    return draw


def add_row(
    table: Table, what: str, plain: Callable[[], object], ours: Callable[[], object], args: argparse.Namespace
) -> None:
    seconds: list[tuple[float, float]] = []
    for turn in range(args.repeats + 1):
        pair = (timed(plain, args.device), timed(ours, args.device))
        if turn:  # the first warms up
            seconds.append(pair)
    ratio = statistics.median(a / b for a, b in seconds)
    each = [1000 * statistics.median(column) / args.batch for column in zip(*seconds, strict=True)]
    table.add_row(what, *(f"{value:.2f}" for value in each), f"{ratio:.2f}")


def timed(call: Callable[[], object], device: str) -> float:
    start = time.perf_counter()
    call()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def title(args: argparse.Namespace, config: VARConfig) -> str:
    tokens = sum(side * side for side in config.patch_nums)
    return (
        f"depth {config.depth}, width {config.width}, {args.size} px ({tokens} tokens), batch {args.batch}, "
        f"{args.precision}, {args.device}, {torch.get_num_threads()} threads"
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--heads", type=int, default=4, help="width is 64 times as much")
    parser.add_argument("--size", type=int, choices=sorted(SCHEDULES), default=64, help="image size in pixels")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    return parser.parse_args()


if __name__ == "__main__":
    main()
