"""What the benchmarks share: nets of published size, runs in turns, peak memory, floors.

Other work on a machine disturbs single runs. All variants therefore run once per turn, close together, and a ratio is
the median of the turns' ratios; times and ratios of one table belong together, those of two tables do not.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from lfvar.config.precision import cpu_bf16_units
from lfvar.interop.published import PUBLISHED_256, PUBLISHED_512
from lfvar.nn.var import VAR, VARConfig
from lfvar.nn.vqvae import VQVAE, VQVAEConfig

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SIZES = ("tiny", "64", "256", "512")
_SCHEDULES = {"tiny": (1, 2, 4), "64": (1, 2, 3, 4, 6, 8), "256": PUBLISHED_256, "512": PUBLISHED_512}
_SMALL_TOKENIZERS: dict[str, dict[str, Any]] = {
    "tiny": {"channels": 16, "channel_multipliers": (1, 2), "vocab_size": 64, "latent_channels": 8},
    "64": {"channels": 64, "channel_multipliers": (1, 2, 4), "stem_stride": 2, "vocab_size": 1024, "num_res_blocks": 1},
}
"""Where size is not one of the published; those have 108.9 M parameters and stride 16."""


def build_configs(size: str, depth: int) -> tuple[VARConfig, VQVAEConfig]:
    """Settings of a transformer of this depth (width 64 times as much, as published) and of a tokenizer to match."""
    tokenizer = VQVAEConfig(patch_nums=_SCHEDULES[size], **_SMALL_TOKENIZERS.get(size, {}))
    net = VARConfig(
        depth=depth,
        width=64 * depth,
        num_heads=depth,
        patch_nums=tokenizer.patch_nums,
        vocab_size=tokenizer.vocab_size,
        latent_channels=tokenizer.latent_channels,
        num_measurements=120,
    )
    return net, tokenizer


def computes_bf16(device: torch.device, size: str = "") -> bool:
    """Whether bf16 is worth measuring: not on a CPU that emulates it, where a product takes many times as long.

    At size "tiny" nothing takes long, and every row is there.
    """
    return size == "tiny" or device.type != "cpu" or bool(cpu_bf16_units())


def build_pair(size: str, depth: int, device: torch.device) -> tuple[VAR, VQVAE]:
    """Both with random weights: what is measured does not depend on them. Logits are spread as a trained net's."""
    torch.manual_seed(0)
    net_config, tokenizer_config = build_configs(size, depth)
    net, tokenizer = VAR(net_config).to(device), VQVAE(tokenizer_config).to(device)
    with torch.no_grad():
        net.head.weight.normal_(std=2 / net_config.width**0.5)
        tokenizer.quantiser.codebook.weight.normal_()
    return net, tokenizer.eval()


@dataclass
class Measured:
    """One variant of what is measured, over all turns."""

    name: str
    seconds: list[float]
    """Of each turn."""
    peak_bytes: int | None
    """Highest use of memory during a call, beyond what there was before it; None: the system does not say."""

    def milliseconds(self, batch_size: int) -> float:
        """Median time of one image."""
        return 1000 * statistics.median(self.seconds) / batch_size

    def times_faster_than(self, other: Measured) -> float:
        """Median over the turns of the other's time by this one's."""
        return statistics.median(theirs / ours for ours, theirs in zip(self.seconds, other.seconds, strict=True))


def measure_in_turns(
    variants: dict[str, Callable[[], object]], turns: int, device: torch.device, *, cpu_time: bool = False
) -> list[Measured]:
    """Run every variant once per turn, after one that warms up.

    Args:
        variants: What is run, by name.
        turns: How often.
        device: Where it runs.
        cpu_time: Count what this process gets of the processors instead of the time on the wall.
    """
    now = process_seconds if cpu_time else time.perf_counter
    measured = [Measured(name, [], None) for name in variants]
    for turn in range(turns + 1):
        for result, call in zip(measured, variants.values(), strict=True):
            memory = PeakMemory(device)
            synchronise(device)
            start = now()
            call()
            synchronise(device)
            if turn:
                result.seconds.append(now() - start)
                peak = memory.read()
                result.peak_bytes = peak if peak is None else max(peak, result.peak_bytes or 0)
    return measured


class PeakMemory:
    """Highest use of memory since it was made: of the device where that is a GPU, else of this process (Linux)."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self.before: int | None = torch.cuda.memory_allocated(device)
        else:
            self.before = self._status("VmRSS") if self._forget() else None

    def read(self) -> int | None:
        """Bytes beyond what was in use at the start."""
        if self.before is None:
            return None
        now = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else self._status("VmHWM")
        return None if now is None else max(now - self.before, 0)

    def _forget(self) -> bool:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)  # glibc keeps freed memory, which would hide what the next call needs
        try:
            Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark back (proc(5))
        except OSError:
            return False
        return True

    def _status(self, field: str) -> int | None:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        return None


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Row:
    """A line of the suite's table."""

    part: str
    what: str
    ms: float
    """Median time of one image."""
    floor_ms: float
    """The same with nothing but `bound` to do."""
    bound: str
    """What the floor counts: "FLOPs" at the rate of one large product, "bytes" at the rate of a copy."""
    times_plain: float
    """How many times faster than the plain way, the first line of its part."""
    peak_mb: float | None


def rows_of(part: str, measured: Sequence[Measured], images: int, floors: Sequence[float], bound: str) -> list[Row]:
    """Lines of one part, the plain way first.

    Args:
        part: Its name.
        measured: From `measure_in_turns`.
        images: Worked on in one call.
        floors: Seconds per image of each.
        bound: See `Row`.
    """
    return [
        Row(
            part,
            result.name,
            result.milliseconds(images),
            1000 * floor,
            bound,
            result.times_faster_than(measured[0]),
            None if result.peak_bytes is None else result.peak_bytes / 1e6,
        )
        for result, floor in zip(measured, floors, strict=True)
    ]


def copy_rate(*, small: bool, cpu_time: bool = False) -> float:
    """Bytes/s of a copy in memory, read and written bytes counted: what floors of moving data are reckoned with."""
    now = process_seconds if cpu_time else time.perf_counter
    source = torch.ones((1 << 16) if small else (1 << 25))
    target, best = torch.empty_like(source), float("inf")
    for _ in range(4):
        start = now()
        target.copy_(source)
        best = min(best, now() - start)
    return 2 * source.nbytes / best


def process_seconds() -> float:
    """CPU seconds of this process, per thread that torch computes with."""
    return time.process_time() / torch.get_num_threads()


def product_rate(device: torch.device, dtype: torch.dtype, *, small: bool, cpu_time: bool = False) -> float:
    """FLOP/s of one large matrix product here and now, the best of a few: what floors are reckoned with."""
    now = process_seconds if cpu_time else time.perf_counter
    size = 256 if small else 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(4):
        synchronise(device)
        start = now()
        a @ b
        synchronise(device)
        best = min(best, now() - start)
    return 2 * size**3 / best


def transformer_flops(config: VARConfig, branches: int) -> float:
    """Of one image's forward pass over all scales, each token attending to its own and coarser scales."""
    lengths = [side * side for side in config.patch_nums]
    prefixes = [sum(lengths[: k + 1]) for k in range(len(lengths))]
    width, tokens = config.width, sum(lengths)
    linear = config.depth * (4 * width**2 + 2 * width * config.hidden) + width * config.vocab_size
    attention = config.depth * 2 * width * sum(n * seen for n, seen in zip(lengths, prefixes, strict=True))
    condition = 6 * width**2 * config.depth + 2 * width**2
    return 2.0 * branches * (linear * tokens + attention + condition)


def tokenizer_flops(config: VQVAEConfig) -> tuple[float, float]:
    """Of encoding and of decoding one image; the search among codes is small beside them and left out."""
    counts = []
    with torch.device("meta"):
        net = VQVAE(config)
        size, latent = config.image_size, config.patch_nums[-1]
        for call, shape in (
            (net.encode, (1, 3, size, size)),
            (net.decode, (1, config.latent_channels, latent, latent)),
        ):
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                call(torch.empty(shape))
            counts.append(float(counter.get_total_flops()))
    return counts[0], counts[1]


def describe_rates(about: dict[str, Any]) -> str:
    """The rates that floors are reckoned with."""
    known = {name: about.get(f"tflops_{name}") for name in DTYPES}
    return ", ".join(f"{rate:.3g} TFLOP/s {name}" for name, rate in known.items() if rate is not None)


def machine(device: torch.device, cpu_time: bool) -> str:
    """What it ran on, and by which clock."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, threads: {torch.get_num_threads()}{', CPU time' if cpu_time else ''}"


def add_common(parser: argparse.ArgumentParser) -> None:
    """Options that all benchmarks have."""
    parser.add_argument("--size", choices=SIZES, default="64", help="image size; 256 and 512 with published tokenizer")
    parser.add_argument("--depth", type=int, default=6, help="blocks; width is 64 times as much")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cpu-time", action="store_true", help="on a CPU that others use, too: count only our share")
    parser.add_argument("--json", type=Path, help="also write everything here")


def console() -> Console:
    """Wide enough for the tables, also where the output goes to a file."""
    return Console(width=max(Console().width, 140))


def show_rows(rows: Sequence[Row], title: str, moved: Sequence[float | None] | None = None) -> None:
    """Print the suite's table.

    Args:
        rows: Lines.
        title: Above them.
        moved: How the ratio of each changed since an earlier run; None where that has no such line.
    """
    table = Table("part", "what", title=title)
    names = ("ms/image", "floor, ms", "floor / time", "× plain", "peak, MB", *([] if moved is None else ["× before"]))
    for name in names:
        table.add_column(name, justify="right")
    for index, row in enumerate(rows):
        first = not index or rows[index - 1].part != row.part
        changes = [] if moved is None else ["-" if moved[index] is None else f"{moved[index]:.2f}"]
        table.add_row(
            row.part if first else "",
            row.what,
            f"{row.ms:.3g}",
            f"{row.floor_ms:.3g}",
            f"{row.floor_ms / row.ms:.2f}",
            f"{row.times_plain:.2f}",
            "?" if row.peak_mb is None else f"{row.peak_mb:.0f}",
            *changes,
        )
    out = console()
    out.print(table)
    out.print(
        "× plain: median over the turns, each against the first line of its part in the same turn. floor: FLOPs at the "
        "rate of one large matrix product here, or bytes at the rate of a copy. peak: beyond what was in use before."
    )


def write_json(path: Path, about: dict[str, Any], measured: Sequence[Measured], rows: Sequence[dict[str, Any]]) -> None:
    """Everything that the table says, and every turn."""
    data = {"about": about | {"torch": torch.__version__}, "rows": list(rows), "turns": [asdict(m) for m in measured]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1))
