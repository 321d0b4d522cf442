"""How time and memory grow with the number of images, their size, and the depth of the transformer.

    python benchmarks/growth.py                                        # 1 000, 10 000 and 100 000 images: minutes
    python benchmarks/growth.py --counts 1000 4000 --parts images      # quick

Rows are synthetic: a manifest, measurements and token ids of the wanted length, and one small mask file that all rows
share. What matters is the exponent of the last step, log(time ratio) / log(count ratio): 1 is linear, and what lies
clearly above is marked. Searches are asked the same number of questions at every count. Memory is what a call takes at
its peak beyond what was there; the ids of a token cache lie in a file that is mapped, not read: of what it holds only
anonymous memory is counted, which the system cannot take back.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from harness import PeakMemory, console, machine, process_seconds
from rich.table import Table

from lfvar.data.balance import BalancedStream
from lfvar.data.imageio import write_png
from lfvar.data.manifest import Manifest, ManifestHeader, ManifestRow, hash_inputs
from lfvar.data.mask_bank import MaskBank
from lfvar.data.measurements import MeasurementRows
from lfvar.data.records import HAM10000_CLASSES, Record
from lfvar.data.splits import SplitConfig, assign_splits
from lfvar.data.stream import SampleStream
from lfvar.data.token_cache import (
    HEADER_FILE,
    IDS_FILE,
    MASKS_FILE,
    SKIN_FILE,
    TokenCache,
    TokenizerIdentity,
    cache_key,
    hash_content,
)
from lfvar.measure.profiles import Profiles
from lfvar.measure.schema import FEATURE_NAMES
from lfvar.measure.standardise import Standardiser
from lfvar.metrics.neighbours import nearest
from lfvar.nn.conditioning import Condition
from lfvar.nn.var import VAR, VARConfig
from lfvar.nn.vqvae import VQVAE, VQVAEConfig

QUESTIONS = 100
"""Asked of what searches, whatever it searches in."""
STEEP = 1.2
"""An exponent above this is marked."""
IDENTITY = TokenizerIdentity("0" * 64, (1, 2, 4), 4096, 32)


@dataclass(frozen=True)
class Point:
    """One measurement."""

    what: str
    count: int
    seconds: float
    peak_mb: float | None


class Rows:
    """What a prepared folder of `count` images holds, without its images."""

    def __init__(self, count: int, folder: Path) -> None:
        rng = np.random.default_rng(0)
        self.count, self.folder = count, folder
        lesions = rng.integers(0, max(count * 3 // 4, 1), count)
        self.records = [
            Record(f"i{index:07d}", HAM10000_CLASSES[lesion % 7], f"l{lesion}") for index, lesion in enumerate(lesions)
        ]
        mask = np.zeros((32, 32), dtype=bool)
        mask[8:24, 8:24] = True
        write_png(folder / "mask.png", mask)
        values = np.abs(rng.standard_normal((count, len(FEATURE_NAMES)))) + 0.1
        self.table = pd.DataFrame(values, columns=list(FEATURE_NAMES))
        self.table.insert(0, "image_id", [record.image_id for record in self.records])
        self.features_ND = rng.standard_normal((count, 64))
        self.fractions = rng.uniform(0.01, 0.6, count)

    def manifest(self) -> Manifest:
        """Rows as `lfvar.prepare` would write them."""
        splits = assign_splits(self.records, SplitConfig()).splits
        rows = tuple(
            ManifestRow(
                r.image_id, r.label, r.lesion_id, None, splits[r.image_id], None, "mask.png", "mask.png", 600, 450,
                0, 0, 450, 450, float(fraction), 1.0, "0" * 64, "0" * 64, f"{index:064x}", "0" * 64,
            )
            for index, (r, fraction) in enumerate(zip(self.records, self.fractions, strict=True))
        )  # fmt: skip
        inputs = hash_inputs([[r.image_id, r.label, r.lesion_id, None] for r in self.records])
        header = ManifestHeader("growth", HAM10000_CLASSES, 32, {"split": {}}, inputs, None, "benchmark", "0")
        return Manifest(header, rows)

    def write_tokens(self, manifest: Manifest) -> None:
        """A finished cache of random ids."""
        length = sum(side * side for side in IDENTITY.patch_nums)
        shapes = {
            IDS_FILE: (self.count, 8, length),
            SKIN_FILE: (self.count, 8, length),
            MASKS_FILE: (self.count, 32, 4),
        }
        for name, shape in shapes.items():
            kind = np.uint8 if name == MASKS_FILE else np.uint16
            np.lib.format.open_memmap(self.folder / name, mode="w+", dtype=kind, shape=shape)[:] = 7
        arrays = [np.load(self.folder / name, mmap_mode="r") for name in shapes]
        header = {
            "key": cache_key(manifest, IDENTITY),
            "content_hash": hash_content(*arrays),
            "command": "benchmark",
            "images": [row.image_hash for row in manifest.rows],
        }
        (self.folder / HEADER_FILE).write_text(json.dumps(header))


def grow_images(count: int) -> list[Point]:
    """Everything that looks at all rows of a dataset, once."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rows = Rows(count, folder)
        manifest = rows.manifest()
        rows.write_tokens(manifest)
        labels = [row.label for row in manifest.rows]
        standardiser = Standardiser.fit(rows.table)
        profiles = Profiles.fit(rows.table, labels, FEATURE_NAMES)
        cache = TokenCache.open(folder, manifest, IDENTITY)
        bank = MaskBank(folder, manifest.rows)
        some = np.random.default_rng(1).integers(0, count, QUESTIONS)
        calls: dict[str, Callable[[], object]] = {
            "splits": lambda: assign_splits(rows.records, SplitConfig()),
            "manifest: write": lambda: manifest.write(folder),
            "manifest: read": lambda: Manifest.read(folder),
            "one pass of the stream": lambda: sum(len(batch) for batch in SampleStream(count, 32, 0)),
            "one balanced pass": lambda: sum(len(batch) for batch in BalancedStream(labels, 32, 0)),
            "standardiser: fit": lambda: Standardiser.fit(rows.table),
            "measurements in 8 positions": lambda: MeasurementRows.of_table(rows.table, standardiser),
            "profiles: fit": lambda: Profiles.fit(rows.table, labels, FEATURE_NAMES),
            "profiles: 100 draws": lambda: profiles.sample("nv", range(QUESTIONS)),
            "token cache: open and check": lambda: TokenCache.open(folder, manifest, IDENTITY),
            "token cache: read all": lambda: read_all(cache, manifest),
            "mask bank: 100 masks": lambda: [bank.nearest(0.1, seed=seed) for seed in range(QUESTIONS)],
            "neighbours of 100 samples": lambda: nearest(rows.features_ND[some], rows.features_ND),
        }
        return [measured(what, count, call) for what, call in calls.items()]


def read_all(cache: TokenCache, manifest: Manifest) -> None:
    """Every image's ids and mask once, in one of its positions."""
    for index, row in enumerate(manifest.rows):
        cache.get_ids(row.image_id, index % 8)
        cache.get_mask(row.image_id, index % 8)


def grow_size(pixels: int) -> list[Point]:
    """A narrow tokenizer of the published shape."""
    side = pixels // 16
    schedule = tuple(sorted(part for part in {1, 2, 4, side // 2, side} if 0 < part <= side))
    net = VQVAE(VQVAEConfig(channels=16, vocab_size=512, patch_nums=schedule)).eval()
    image_BCHW = torch.rand(1, 3, pixels, pixels) * 2 - 1
    with torch.no_grad():
        ids = net.encode_ids(image_BCHW)
        return [
            measured("tokenizer: encode", pixels**2, lambda: net.encode_ids(image_BCHW)),
            measured("tokenizer: decode", pixels**2, lambda: net.decode_ids(ids)),
        ]


def grow_depth(depth: int) -> list[Point]:
    """A step of a transformer of one width; forward and backward."""
    net = VAR(VARConfig(depth=depth, width=256, num_heads=4, patch_nums=(1, 2, 4, 8), vocab_size=512)).train()
    inputs_BLC = torch.randn(2, net.schedule.num_tokens - 1, 32)
    condition = Condition(torch.zeros(2, dtype=torch.int64))

    def step() -> None:
        net(inputs_BLC, condition).logsumexp(-1).mean().backward()
        net.zero_grad(set_to_none=True)

    return [measured("transformer: forward and backward", depth, step)]


def measured(what: str, count: int, call: Callable[[], object], runs: int = 3) -> Point:
    """The fastest of a few runs, in processor time, and the highest peak."""
    seconds, peaks = [], []
    for _ in range(runs):
        mapped = what.startswith("token cache")
        before = anonymous_bytes() if mapped else 0
        memory = PeakMemory(torch.device("cpu"))
        start = process_seconds()
        kept = call()
        seconds.append(process_seconds() - start)
        peak = anonymous_bytes() - before if mapped else memory.read()
        peaks.append(peak)
        del kept
        if seconds[-1] > 2:  # long enough to be repeatable
            break
    known = [peak for peak in peaks if peak is not None]
    return Point(what, count, min(seconds), max(known) / 1e6 if known else None)


def anonymous_bytes() -> int:
    """Memory of this process that no file stands behind; 0 where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)


def exponent(points: Sequence[Point]) -> float | None:
    """Of the last step: 1 is linear. None for what is too fast to tell."""
    if len(points) < 2 or points[-1].seconds < 0.005:
        return None
    before, last = points[-2], points[-1]
    return math.log(last.seconds / max(before.seconds, 1e-6)) / math.log(last.count / before.count)


def show(found: dict[str, list[Point]]) -> None:
    """Print one table per part."""
    out = console()
    for part, points in found.items():
        counts = sorted({point.count for point in points})
        head = {"images": "images", "size": "pixels", "depth": "blocks"}[part]
        table = Table(head, *(f"{count:,}".replace(",", " ") for count in counts), "exponent", "peak, MB", title=part)
        for what in dict.fromkeys(point.what for point in points):
            line = [point for point in points if point.what == what]
            power = exponent(line)
            mark = "" if power is None or power <= STEEP else " !"
            peak = line[-1].peak_mb
            table.add_row(
                what,
                *(f"{point.seconds:.3g} s" for point in line),
                "-" if power is None else f"{power:.2f}{mark}",
                "?" if peak is None else f"{peak:.0f}",
            )
        out.print(table)
    out.print(
        "exponent: of the time over the last step, 1 is linear; - is too fast to tell. peak: at the largest count, "
        "beyond what was there before. Processor time; what takes less than two seconds is the fastest of three."
    )


def main() -> None:
    args = parse()
    found: dict[str, list[Point]] = {}
    grow: dict[str, tuple[Callable[[int], list[Point]], Sequence[int]]] = {
        "images": (grow_images, args.counts),
        "size": (grow_size, args.sizes),
        "depth": (grow_depth, args.depths),
    }
    for part in args.parts:
        call, values = grow[part]
        found[part] = [point for value in values for point in call(value)]
    show(found)
    if args.json:
        about: dict[str, Any] = {"machine": machine(torch.device("cpu"), cpu_time=True), "torch": torch.__version__}
        parts = {part: [asdict(point) for point in points] for part, points in found.items()}
        args.json.write_text(json.dumps({"about": about, "parts": parts}, indent=1))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=("images", "size", "depth"), default=["images", "size", "depth"])
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--depths", type=int, nargs="+", default=[2, 4, 8, 16])
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
