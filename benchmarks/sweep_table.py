"""Print the results of a sweep as a Markdown table: one row per setting, mean over seeds (and their spread).

python benchmarks/sweep_table.py runs/sweeps/STAMP [METRIC ...]
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from lfvar.config import read_card

METRICS = (
    "val/psnr_inside",
    "val/psnr_outside",
    "val/ssim_inside",
    "val/ssim_outside",
    "val/l1_inside",
    "val/l1_outside",
)


def main() -> None:
    folder, *metrics = sys.argv[1:]
    metrics = metrics or list(METRICS)
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for path in sorted(Path(folder).glob("*/run_card.json")):
        card = read_card(path.parent)
        if card.get("result", {}).get("status") != "finished":
            print(f"left out, not finished: {path.parent}", file=sys.stderr)
            continue
        swept = [o for o in card["overrides"] if o.split("=")[0] in ("loss", "seed") or o.startswith("loss.")]
        setting = " ".join(o for o in swept if not o.startswith("seed=")) or "as shipped"
        rows[setting].append(card["result"]["metrics"])
    if not rows:
        sys.exit(f"no finished runs in {folder}")
    print("| setting | seeds | " + " | ".join(name.removeprefix("val/").replace("_", " ") for name in metrics) + " |")
    print("| --- " * (2 + len(metrics)) + "|")
    for setting, results in rows.items():
        cells = []
        for name in metrics:
            values = np.array([result[name] for result in results])
            digits = 2 if "psnr" in name else 4
            cells.append(f"{values.mean():.{digits}f} (±{np.ptp(values) / 2:.{digits}f})")
        print(f"| `{setting}` | {len(results)} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
