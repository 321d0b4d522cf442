"""What measuring costs: ms per image on one core, two processes against one, and the time for all of HAM10000.

    python benchmarks/measure.py                                     # phantoms, anywhere
    python benchmarks/measure.py ../shared/data/ham10000_fullres     # a dataset in the HAM10000 layout

Images are measured at the size of the files. Two processes are compared with one in pairs of runs close together, and
the median of the pairs counts, because other work on the machine disturbs single runs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from lfvar.data.files import hash_bytes
from lfvar.data.imageio import read_image, read_mask, write_png
from lfvar.data.sources.phantom import Phantom
from lfvar.measure.clinical import measure_clinical
from lfvar.measure.radiomics import measure_radiomics
from lfvar.measure.settings import MeasureSettings
from lfvar.measure.worker import MeasureTask, measure_in_worker

HAM10000_IMAGES = 10_015
SETTINGS = MeasureSettings()


def find_pairs(root: Path | None, count: int, place: Path) -> list[MeasureTask]:
    if root is None:
        pairs = draw_phantoms(count, place)
    else:
        masks = {path.name.removesuffix("_segmentation.png"): path for path in root.rglob("*_segmentation.png")}
        images = {path.stem: path for path in sorted(root.rglob("*.jpg"))}
        pairs = [(images[name], masks[name]) for name in images if name in masks][:count]
    if not pairs:
        raise SystemExit(f"no pairs of NAME.jpg and NAME_segmentation.png below '{root}'")
    return [MeasureTask(i, m, hash_bytes(i.read_bytes()), hash_bytes(m.read_bytes())) for i, m in pairs]


def draw_phantoms(count: int, place: Path) -> list[tuple[Path, Path]]:
    """Phantoms of 450 px with skin mirrored on both sides: 600 × 450."""
    source = Phantom(num_images=count, size=450)
    pairs = []
    for record in source.records():
        pair = source.load(record)
        image, mask = place / f"{record.image_id}.png", place / f"{record.image_id}_mask.png"
        write_png(image, np.pad(pair.image_HWC, ((0, 0), (75, 75), (0, 0)), mode="symmetric"))
        write_png(mask, np.pad(pair.mask_HW, ((0, 0), (75, 75))))
        pairs.append((image, mask))
    return pairs


def seconds_of(tasks: list[MeasureTask], processes: int) -> float:
    """Wall seconds for all tasks by warm worker processes (one process is a worker, too, so that both pay for it)."""
    with Parallel(n_jobs=processes, batch_size=1, backend="loky") as parallel:
        parallel(delayed(warm_up)() for _ in range(4 * processes))
        start = time.perf_counter()
        parallel(delayed(measure_in_worker)(os.getpid(), task, SETTINGS) for task in tasks)
        return time.perf_counter() - start


def warm_up() -> None:
    mask = np.zeros((32, 32), bool)
    mask[8:24, 8:24] = True
    image: NDArray[np.uint8] = np.full((32, 32, 3), 100, np.uint8)
    measure_radiomics(image, mask, SETTINGS)
    time.sleep(0.2)  # so that every process gets one


def split_cost(tasks: list[MeasureTask]) -> dict[str, float]:
    """CPU milliseconds per image of each step, in this process."""
    cv2.setNumThreads(1)
    warm_up()
    spent = {"read": 0.0, "radiomics": 0.0, "clinical": 0.0}
    for task in tasks:
        marks = [time.process_time()]
        image, mask = read_image(task.image), read_mask(task.mask)
        marks.append(time.process_time())
        measure_radiomics(image, mask, SETTINGS)
        marks.append(time.process_time())
        measure_clinical(image, mask, SETTINGS)
        marks.append(time.process_time())
        for name, before, after in zip(spent, marks, marks[1:], strict=False):
            spent[name] += (after - before) * 1e3 / len(tasks)
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?", type=Path, help="dataset in the HAM10000 layout; left out: phantoms")
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        tasks = find_pairs(arguments.root, arguments.images, Path(place))
        height, width = read_mask(tasks[0].mask).shape
        cost = split_cost(tasks)
        repeated = tasks * max(1, round(60 / len(tasks)))
        runs = [(seconds_of(repeated, 1), seconds_of(repeated, 2)) for _ in range(arguments.rounds)]
    one = statistics.median(first for first, _ in runs) / len(repeated)
    ratio = statistics.median(first / second for first, second in runs)
    table = Table(title=f"measuring {len(tasks)} images of {width} × {height}, {os.cpu_count()} cores")
    table.add_column("what")
    table.add_column("value", justify="right")
    for name, value in cost.items():
        table.add_row(f"CPU time of one image: {name}", f"{value:.1f} ms")
    table.add_row("CPU time of one image: all", f"{sum(cost.values()):.1f} ms")
    table.add_row("wall time of one image, one process", f"{one * 1e3:.1f} ms")
    pairs = ", ".join(f"{first / second:.2f}" for first, second in runs)
    table.add_row("two processes / one process", f"{ratio:.2f} × (runs: {pairs})")
    table.add_row(f"{HAM10000_IMAGES} images, one process", f"{one * HAM10000_IMAGES / 60:.1f} min")
    table.add_row(f"{HAM10000_IMAGES} images, two processes", f"{one / ratio * HAM10000_IMAGES / 60:.1f} min")
    Console().print(table)


if __name__ == "__main__":
    main()
