"""Every benchmark in one table: each part against a plain version of itself, and how near it is to its floor.

    python benchmarks/suite.py                                           # 64 px, depth 6: a few core-minutes
    python benchmarks/suite.py --json new.json --compare old.json        # against an earlier run
    python benchmarks/suite.py --size 256 --depth 16 --batch 1 --turns 1 --cpu-time

Times belong to this machine and this run. What can be compared between runs is the ratio to the plain version, which
ran in turns with it: `--compare` shows how it moved, and names what became slower.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import data_loading
import evaluation_scores
import numpy as np
import sample
import tokenizer_step
import torch
import var_train
from harness import (
    DTYPES,
    Row,
    add_common,
    build_pair,
    computes_bf16,
    copy_rate,
    machine,
    measure_in_turns,
    product_rate,
    rows_of,
    show_rows,
    tokenizer_flops,
    transformer_flops,
)

from lfvar.data.sources.phantom import Phantom
from lfvar.measure.radiomics import luminance, measure_radiomics
from lfvar.measure.settings import MeasureSettings

SLOWER = 0.9
"""A ratio that fell below this share of the old one counts as slower."""


def measure_measuring(args: argparse.Namespace) -> list[Row]:
    """The 102 radiomics of a lesion: pyradiomics' extractor on the whole image, and ours."""
    import SimpleITK
    from radiomics.featureextractor import RadiomicsFeatureExtractor

    size = {"tiny": 32, "64": 64}.get(args.size, 450)
    source = Phantom(2, size)
    pairs = [source.load(record) for record in source.records()]
    settings = MeasureSettings()
    extractor = RadiomicsFeatureExtractor(binWidth=settings.bin_width)
    extractor.enableAllFeatures()
    extractor.enableFeatureClassByName("shape2D")

    def plainly() -> None:
        for pair in pairs:
            grey = SimpleITK.GetImageFromArray(luminance(pair.image_HWC))
            extractor.execute(grey, SimpleITK.GetImageFromArray(pair.mask_HW.astype(np.uint8)), label=1)

    def ours() -> None:
        for pair in pairs:
            measure_radiomics(pair.image_HWC, pair.mask_HW, settings)

    ours()  # silences pyradiomics and gives ITK one thread
    clock = {"cpu_time": args.cpu_time}
    measured = measure_in_turns({"plain pyradiomics": plainly, "ours": ours}, args.turns, torch.device("cpu"), **clock)
    floor = size * size * 4 / copy_rate(small=args.size == "tiny", **clock)
    return rows_of(f"measuring, {size} px", measured, len(pairs), [floor, floor], "bytes")


def measure_transformer_step(args: argparse.Namespace) -> list[Row]:
    """Rows of `var_train`."""
    device, with_bf16 = torch.device(args.device), computes_bf16(torch.device(args.device), args.size)
    net, tokenizer = build_pair(args.size, args.depth, device)
    tokenizer.requires_grad_(False)
    variants = var_train.build_variants(net, tokenizer, args.batch, compiled=args.compile, with_bf16=with_bf16)
    measured = measure_in_turns(variants, args.turns, device, cpu_time=args.cpu_time)
    rows = var_train.tabulate(measured, args.batch, net, tokenizer, find_rates(args))["rows"]
    return rows_of("transformer step", measured, args.batch, [row["floor_ms"] / 1000 for row in rows], "FLOPs")


def measure_sampling(args: argparse.Namespace) -> list[Row]:
    """Rows of `sample`."""
    device = torch.device(args.device)
    net, tokenizer = build_pair(args.size, args.depth, device)
    variants = sample.build_variants(net.eval(), tokenizer, args.batch, {}, with_bf16=computes_bf16(device, args.size))
    measured = measure_in_turns(variants, args.turns, device, cpu_time=args.cpu_time)
    flops, rates = transformer_flops(net.config, branches=2) + tokenizer_flops(tokenizer.config)[1], find_rates(args)
    floors = [flops / rates["bf16" if "bf16" in result.name else "fp32"] for result in measured]
    return rows_of("sampling", measured, args.batch, floors, "FLOPs")


def find_rates(args: argparse.Namespace) -> dict[str, float]:
    """FLOP/s in each precision that is measured."""
    device, small = torch.device(args.device), args.size == "tiny"
    known = DTYPES if computes_bf16(device, args.size) else {"fp32": torch.float32}
    return {name: product_rate(device, dtype, small=small, cpu_time=args.cpu_time) for name, dtype in known.items()}


PARTS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    "data": data_loading.measure,
    "measuring": measure_measuring,
    "tokenizer": tokenizer_step.measure,
    "transformer": measure_transformer_step,
    "sampling": measure_sampling,
    "evaluation": evaluation_scores.measure,
}


def compare(rows: Sequence[Row], old: dict[str, Any], about: dict[str, Any]) -> tuple[list[float | None], list[str]]:
    """How each ratio moved, and sentences on what cannot be compared or became slower."""
    before = {(row["part"], row["what"]): row["times_plain"] for row in old["rows"]}
    moved = [row.times_plain / before[row.part, row.what] if (row.part, row.what) in before else None for row in rows]
    different = [f"{key} {old['about'].get(key)} there" for key in about if old["about"].get(key) != about[key]]
    notes = [f"the other run differs: {', '.join(different)}"] if different else []
    notes += [
        f"slower than before: {row.part}, {row.what}: {change:.2f} of the old ratio"
        for row, change in zip(rows, moved, strict=True)
        if change is not None and change < SLOWER
    ]
    return moved, notes


def loading_rate(rows: Sequence[Row]) -> str | None:
    """Whether data keep up with the tokenizer."""
    times = {(row.part, row.what): row.ms for row in rows}
    load = times.get(("data loading", "images, crops"))
    steps = [ms for (part, _), ms in times.items() if part == "tokenizer step"]
    if load is None or not steps:
        return None
    return f"one process loads {min(steps) / load:.1f} times as fast as the fastest tokenizer step here takes images"


def main() -> None:
    args = parse()
    rows = [row for name in args.parts for row in PARTS[name](args)]
    about = {
        "size": args.size,
        "depth": args.depth,
        "batch": args.batch,
        "machine": machine(torch.device(args.device), args.cpu_time),
        "torch": torch.__version__,
    }
    moved, notes = compare(rows, json.loads(args.compare.read_text()), about) if args.compare else (None, [])
    show_rows(rows, f"{args.size} px, depth {args.depth}, batch {args.batch}, {about['machine']}", moved)
    for line in filter(None, [loading_rate(rows), *notes]):
        print(line)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({"about": about, "rows": [asdict(row) for row in rows]}, indent=1))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common(parser)
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=list(PARTS))
    parser.add_argument("--batch", type=int, default=8, help="of steps and of sampling")
    parser.add_argument("--images", type=int, default=256, help="training images of the evaluation's searches")
    parser.add_argument("--compile", action="store_true", help="add a compiled transformer step")
    parser.add_argument("--compare", type=Path, help="JSON of an earlier run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
