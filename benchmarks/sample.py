"""What sampling costs: a straightforward sampler against ours, images per second and peak memory.

    python benchmarks/sample.py                                              # depth 6, 64 px: seconds on a CPU
    python benchmarks/sample.py --size 256 --depth 16 --batches 1 --turns 1  # published size; minutes on a CPU
    python benchmarks/sample.py --size 256 --depth 16 --batches 1 8 64 --device cuda

From a condition to an image, with guidance, top-k 900 and top-p 0.96. Straightforward is what the formulas say, in the
way that public code does it: keys and values concatenated, the condition projected again at every scale, all logits
sorted, decoder as it comes. Ours differs in the order of work, not in what is drawn: in float32 both draw the same ids
(stated below the table; rounding may decide ties). "our order" is ours with weights and
convolutions as they come. "edit" has a mask over a quarter of the image. Rows in bf16 are left
out on a CPU that emulates it.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from harness import (
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
from torch import Tensor, nn

from lfvar.nn.attention import MAX_LOG_SCALE
from lfvar.nn.conditioning import Condition
from lfvar.nn.var import VAR
from lfvar.nn.vqvae import VQVAE
from lfvar.nn.winograd import WinogradConv2d
from lfvar.sampling.cuda_graphs import Graph, SampleGraphs
from lfvar.sampling.filters import Filters
from lfvar.sampling.guidance import Guidance
from lfvar.sampling.lowered import store_lowered
from lfvar.sampling.masking import Kept, keep_outside
from lfvar.sampling.noise import SampleNoise
from lfvar.sampling.packed import store_packed
from lfvar.sampling.sampler import sample

GUIDANCE, FILTERS = Guidance(1.5), Filters(top_k=900, top_p=0.96)
Draw = Callable[[], list[Tensor]]
Decode = Callable[[Sequence[Tensor]], Tensor]
PLAIN, OURS = "straightforward, fp32", "ours, fp32"


class Straightforward:
    """Sampling as the formulas say, over the weights of our net; nothing is prepared, kept in place or left out."""

    def __init__(self, net: VAR) -> None:
        self.net = net
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def block(self, index: int, x_BlD: Tensor, vector_BD: Tensor) -> Tensor:
        """One transformer block; keys and values of earlier scales are concatenated with the new ones."""
        block = self.net.blocks[index]
        modulation = self.net.adalns[index](F.silu(vector_BD)).unflatten(1, (1, 6, -1))
        gain1, gain2, scale1, scale2, shift1, shift2 = modulation.unbind(2)
        attention, heads = block.attention, self.net.config.num_heads
        h_BlD = F.layer_norm(x_BlD, x_BlD.shape[-1:], eps=1e-6) * (1 + scale1) + shift1
        bias = torch.cat([attention.q_bias_D, torch.zeros_like(attention.q_bias_D), attention.v_bias_D])
        qkv = F.linear(h_BlD, attention.qkv.weight, bias).unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        q = F.normalize(q.float(), dim=-1) * attention.log_scale_N11.clamp(max=MAX_LOG_SCALE).exp()
        k = F.normalize(k.float(), dim=-1).to(v.dtype)
        if len(self.keys) > index:
            k, v = torch.cat([self.keys[index], k], dim=2), torch.cat([self.values[index], v], dim=2)
            self.keys[index], self.values[index] = k, v
        else:
            self.keys.append(k)
            self.values.append(v)
        mixed = F.scaled_dot_product_attention(q.to(v.dtype), k, v, scale=1.0).transpose(1, 2).flatten(2)
        x_BlD = x_BlD + attention.proj(mixed) * gain1
        h_BlD = F.layer_norm(x_BlD, x_BlD.shape[-1:], eps=1e-6) * (1 + scale2) + shift2
        return x_BlD + block.mlp.fc2(F.gelu(block.mlp.fc1(h_BlD), approximate="tanh")) * gain2

    def logits(self, x_BlD: Tensor, vector_BD: Tensor) -> Tensor:
        """Through all blocks and the head."""
        for index in range(self.net.config.depth):
            x_BlD = self.block(index, x_BlD, vector_BD)
        scale, shift = self.net.head_adaln(F.silu(vector_BD)).float().unflatten(1, (1, 2, -1)).unbind(2)
        h_BlD = F.layer_norm(x_BlD.float(), x_BlD.shape[-1:], eps=1e-6) * (1 + scale) + shift
        return self.net.head(h_BlD).float()

    def draw(self, tokenizer: VQVAE, condition: Condition, seeds: Sequence[int]) -> list[Tensor]:
        """Token ids of every scale."""
        net, quantiser = self.net, tokenizer.quantiser
        self.keys, self.values = [], []
        null = net.conditioning.without(condition, label=True, measurements=True)
        noise = SampleNoise(seeds, condition.label_B.device)
        vector_BD = torch.cat([net.conditioning(condition), net.conditioning(null)])
        x_BlD = vector_BD[:, None] + net.start_1lD
        side, last = net.schedule.latent_size, len(net.schedule) - 1
        f_hat = torch.zeros(len(seeds), quantiser.latent_channels, side, side, device=vector_BD.device)
        ids = []
        for k, place in enumerate(net.schedule.slices):
            x_BlD = x_BlD + net.position_1LD[:, place] + net.levels(net.level_L[place])
            with_BlV, without_BlV = self.logits(x_BlD, vector_BD).chunk(2)
            strength = GUIDANCE.class_strength * k / last
            p_BlV = filter_by_sorting((1 + strength) * with_BlV - strength * without_BlV).softmax(dim=-1)
            ids.append((p_BlV / noise.exponential(*p_BlV.shape[1:])).argmax(dim=-1))  # what torch.multinomial does
            f_hat = f_hat + quantiser.contribution_of_ids(k, ids[-1])
            if k < last:
                inputs = F.interpolate(f_hat, size=(net.schedule.patch_nums[k + 1],) * 2, mode="area")
                x_BlD = net.embed(inputs.flatten(2).transpose(1, 2).repeat(2, 1, 1)).float()
        return ids


def filter_by_sorting(logits_BlV: Tensor) -> Tensor:
    """Top-k by a threshold, then top-p over all codes in ascending order."""
    count = min(FILTERS.top_k, logits_BlV.shape[-1])
    smallest = logits_BlV.topk(count, dim=-1).values[..., -1:]
    logits_BlV = logits_BlV.masked_fill(logits_BlV < smallest, -torch.inf)
    ordered, place = logits_BlV.sort(dim=-1)
    lost = ordered.softmax(dim=-1).cumsum(dim=-1) <= 1 - FILTERS.top_p
    lost[..., -1] = False
    return logits_BlV.masked_fill(lost.scatter(-1, place, lost), -torch.inf)


def build_variants(
    net: VAR, tokenizer: VQVAE, batch_size: int, drawn: dict[str, Tensor], *, with_bf16: bool = True
) -> dict[str, Callable[[], object]]:
    """What is compared. Each call leaves its ids in `drawn`."""
    device = net.start_1lD.device
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(batch_size, net.config.num_measurements, generator=generator)
    condition = Condition(torch.arange(batch_size) % net.config.num_classes, values).to(device)
    seeds = list(range(batch_size))
    packed = copy.deepcopy(net).requires_grad_(False)
    if device.type == "cpu":
        store_packed(packed)  # as Synthesizer.from_run does

    @torch.no_grad()
    def run(name: str, draw: Draw, decode: Decode) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled="bf16" in name):
            ids = draw()
            decode(ids)
        drawn[name] = torch.cat(ids, dim=1)

    def ours(chosen: VAR, **options: Any) -> Draw:
        codec = tokenizer.quantiser
        return lambda: sample(chosen, codec, condition, guidance=GUIDANCE, filters=FILTERS, seeds=seeds, **options)

    def decode_plainly(ids: Sequence[Tensor]) -> Tensor:
        with ordinary_convolutions(tokenizer):
            return tokenizer.decode_ids(ids)

    def plain() -> list[Tensor]:
        return Straightforward(net).draw(tokenizer, condition, seeds)

    kept = quarter_free(tokenizer, batch_size)
    found: dict[str, tuple[Draw, Decode]] = {
        PLAIN: (plain, decode_plainly),
        "our order, fp32": (ours(net), decode_plainly),
        OURS: (ours(packed), tokenizer.decode_ids),
        "ours, fp32, edit": (ours(packed, keep=kept), tokenizer.decode_ids),
    }
    if with_bf16:
        low_net, low_tokenizer = copy.deepcopy(net), copy.deepcopy(tokenizer)
        store_lowered(low_net, low_tokenizer)
        found["straightforward, bf16"] = (plain, decode_plainly)
        found["ours, bf16"] = (ours(low_net), low_tokenizer.decode_ids)
        found["ours, bf16, edit"] = (ours(low_net, keep=kept), low_tokenizer.decode_ids)
    if device.type == "cuda":
        graphs = SampleGraphs(low_net)
        found["ours, bf16, CUDA graphs"] = (ours(low_net, graphs=graphs), RecordedDecoder(low_tokenizer))
    return {name: lambda name=name, parts=parts: run(name, *parts) for name, parts in found.items()}


@contextmanager
def ordinary_convolutions(tokenizer: VQVAE) -> Iterator[None]:
    """Inside the block the decoder takes no short cut through Winograd's filtering."""
    fast = [module for module in tokenizer.modules() if isinstance(module, WinogradConv2d)]
    for module in fast:
        module.__class__ = nn.Conv2d
    try:
        yield
    finally:
        for module in fast:
            module.__class__ = WinogradConv2d


class RecordedDecoder:
    """`decode_ids` with the decoder as one CUDA graph."""

    def __init__(self, tokenizer: VQVAE) -> None:
        self.tokenizer = tokenizer
        self.graph: Graph | None = None

    def __call__(self, ids: Sequence[Tensor]) -> Tensor:
        """Token ids to images in [-1, 1]."""
        f_hat_BChw = self.tokenizer.quantiser.decode_partials(ids)[-1]
        if self.graph is None:
            self.graph = Graph(self.tokenizer.decode, [f_hat_BChw])
        return self.graph(f_hat_BChw).clamp(-1, 1)


def quarter_free(tokenizer: VQVAE, batch_size: int) -> Kept:
    """A source image of which a square over a quarter of the area is painted anew."""
    size, device = tokenizer.config.image_size, tokenizer.quantiser.codebook.weight.device
    lesion = torch.zeros(batch_size, 1, size, size, device=device)
    lesion[:, :, size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = 1
    ids = tokenizer.encode_ids(torch.rand(1, 3, size, size, device=device) * 2 - 1)
    return Kept([ids_1l.repeat(batch_size, 1) for ids_1l in ids], keep_outside(lesion, tokenizer.schedule))


def tabulate(
    measured: Sequence[Measured], batch_size: int, flops: float, rates: dict[bool, float]
) -> list[dict[str, Any]]:
    """Rows of the table for one batch size."""
    first = measured[0]
    rows = []
    for result in measured:
        mixed = "bf16" in result.name
        same = next(other for other in measured if ("bf16" in other.name) == mixed)
        ms = result.milliseconds(batch_size)
        rows.append(
            {
                "batch": batch_size,
                "what": result.name,
                "images_per_s": 1000 / ms,
                "ms_per_image": ms,
                "floor_ms": 1000 * flops / rates[mixed],
                "times_straightforward_fp32": result.times_faster_than(first),
                "times_straightforward": result.times_faster_than(same),
                "peak_mb": None if result.peak_bytes is None else result.peak_bytes / 1e6,
            }
        )
    return rows


def main() -> None:
    args = parse()
    device = torch.device(args.device)
    net, tokenizer = build_pair(args.size, args.depth, device)
    net.eval()
    flops = transformer_flops(net.config, branches=2) + tokenizer_flops(tokenizer.config)[1]
    dtypes = {False: torch.float32, True: torch.bfloat16}
    clock = {"cpu_time": args.cpu_time}
    known = {mixed: dtype for mixed, dtype in dtypes.items() if not mixed or computes_bf16(device, args.size)}
    rates = {mixed: product_rate(device, dtype, small=args.size == "tiny", **clock) for mixed, dtype in known.items()}
    about = {
        "depth": args.depth,
        "size": args.size,
        "gflop_per_image": flops / 1e9,
        "machine": machine(device, args.cpu_time),
    }
    about |= {f"tflops_{'bf16' if mixed else 'fp32'}": rate / 1e12 for mixed, rate in rates.items()}
    rows: list[dict[str, Any]] = []
    turns: list[Measured] = []
    same_ids: dict[int, float] = {}
    for batch_size in args.batches:
        drawn: dict[str, Tensor] = {}
        variants = build_variants(net, tokenizer, batch_size, drawn, with_bf16=computes_bf16(device, args.size))
        measured = measure_in_turns(variants, args.turns, device, **clock)
        rows += tabulate(measured, batch_size, flops, rates)
        turns += measured
        same_ids[batch_size] = (drawn[PLAIN] == drawn[OURS]).float().mean().item()
    show(rows, about, same_ids, net)
    if args.json:
        write_json(args.json, about | {"same_ids_fp32": same_ids}, turns, rows)


def show(rows: Sequence[dict[str, Any]], about: dict[str, Any], same_ids: dict[int, float], net: VAR) -> None:
    """Print a table per batch size, and what its columns mean."""
    out = console()
    for batch_size in same_ids:
        title = f"depth {about['depth']}, {about['size']} px, batch {batch_size}, {about['machine']}"
        table = Table("sampler", title=title)
        for name in ("images/s", "ms/image", "floor, ms", "× plain fp32", "× plain", "peak, MB"):
            table.add_column(name, justify="right")
        for row in (row for row in rows if row["batch"] == batch_size):
            peak = "?" if row["peak_mb"] is None else f"{row['peak_mb']:.0f}"
            ratios = [f"{row[key]:.2f}" for key in ("times_straightforward_fp32", "times_straightforward")]
            numbers = [f"{row[key]:.3g}" for key in ("images_per_s", "ms_per_image", "floor_ms")]
            table.add_row(row["what"], *numbers, *ratios, peak)
        out.print(table)
    cache_mb = 2 * 2 * 2 * net.config.depth * net.schedule.num_tokens * net.config.width / 1e6  # k, v; branches; bytes
    out.print(
        f"floor: {about['gflop_per_image']:.0f} GFLOP per image at the rate of one large matrix product here "
        f"({describe_rates(about)}). × plain: against the "
        f"straightforward sampler in the same precision. peak: beyond weights; keys and values are {cache_mb:.1f} MB "
        f"of it per image in bf16. Same ids in fp32, by batch: "
        f"{', '.join(f'{size}: {share:.2%}' for size, share in same_ids.items())}."
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common(parser)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    return parser.parse_args()


if __name__ == "__main__":
    main()
