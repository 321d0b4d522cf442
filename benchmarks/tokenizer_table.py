"""Tables over evaluated tokenizers, seeds averaged: `python benchmarks/tokenizer_table.py NAME=RUN,RUN NAME=RUN …`.

Each RUN is the folder of `python -m lfvar.evaluate target=tokenizer`; those of one NAME are seeds of one setting.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def read(folder: Path) -> dict[str, float]:
    """The numbers of one report by the names of the tables' columns."""
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    quality = report["quality"]
    row: dict[str, float] = {}
    for measure, digits in (("psnr", 2), ("ssim", 3), ("delta_e", 2), ("structure", 3), ("perceptual_lite0", 3)):
        for region in ("inside", "outside"):
            for kind in ("reconstruction", "drop_from_quantisation"):
                cell = quality[kind].get(measure, {}).get(region)
                if cell is not None:
                    suffix = "" if kind == "reconstruction" else " drop"
                    row[f"{measure} {region}{suffix}|{digits}"] = cell["mean"]
                    row[f"{measure} {region}{suffix} median|{digits}"] = cell["median"]
    for name, value in report["codebook"].items():
        row[f"{name}|{3 if name.startswith('usage') else 0}"] = value
    for entry in report["frechet"]:
        variant = entry["variants"]["reconstruction"]
        row[f"FD({entry['extractor']})|1"] = variant["across_halves"]["mean"]
        row[f"floor({entry['extractor']})|1"] = entry["floor"]["mean"]
    for part, cell in report["preservation"].get("reconstruction", {}).items():
        row[f"spearman {part}|3"] = cell["spearman_median"]
        row[f"error {part}|3"] = cell["error_median"]
    return row


def cell(values: Sequence[float], digits: int) -> str:
    """Mean and half the range over seeds."""
    mean, spread = sum(values) / len(values), (max(values) - min(values)) / 2
    return f"{mean:.{digits}f}" + (f" ±{spread:.{digits}f}" if len(values) > 1 else "")


def main(arguments: Sequence[str]) -> int:
    if not arguments or any("=" not in argument for argument in arguments):
        print(__doc__)
        return 1
    settings = {}
    for argument in arguments:
        name, runs = argument.split("=", 1)
        settings[name] = [read(Path(run)) for run in runs.split(",")]
    columns = list(dict.fromkeys(column for rows in settings.values() for row in rows for column in row))
    print("| | " + " | ".join(settings) + " |")
    print("| --- |" + " ---: |" * len(settings))
    for column in columns:
        name, digits = column.rsplit("|", 1)
        cells = [
            cell([row[column] for row in rows if column in row] or [float("nan")], int(digits))
            for rows in settings.values()
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
