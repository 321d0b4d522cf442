"""Draws what belongs to a report on generated images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lfvar.data.imageio import write_png
from lfvar.evaluation.set_page import file_name
from lfvar.evaluation.set_report import SetReport
from lfvar.evaluation.sets import ImageSet
from lfvar.figures.evaluation import (
    draw_control,
    draw_examples,
    draw_matrix,
    draw_memorisation,
    draw_pairs,
    draw_scores,
)
from lfvar.figures.panels import RGB
from lfvar.figures.style import save_png
from lfvar.metrics.memorisation import closest_pairs

FIGURES_FOLDER = "figures"
NUM_EXAMPLES = 5
NUM_PAIRS = 9


def write_set_figures(
    folder: Path, report: SetReport, generated: ImageSet, real: ImageSet, train: ImageSet | None
) -> dict[str, Path]:
    """Draw all figures of a report into `figures/` of its folder.

    Returns:
        PNG files by name, in the order of the page.
    """
    target = folder / FIGURES_FOLDER
    target.mkdir(exist_ok=True)
    paths = {"examples": target / "examples.png"}
    write_png(paths["examples"], _examples(generated, real))
    rows = report.fidelity
    diagrams: dict[str, Figure | None] = {}
    for entry in report.spaces:
        diagrams[f"scores_{file_name(entry.space)}"] = draw_scores(rows[rows["space"] == entry.space])
    if report.control is not None:
        diagrams["control"] = draw_control(report.control)
    diagrams["memorisation"] = draw_memorisation(report.memorisation)
    if report.matrix is not None:
        diagrams["matrix"] = draw_matrix(report.matrix, report.matrix_title)
    for name, figure in diagrams.items():
        if figure is not None:
            paths[name] = save_png(figure, target / f"{name}.png")
    if train is not None:
        for found in report.memorisation:
            name = f"nearest_by_{file_name(found.space)}"
            pairs = []
            for i, j, distance in closest_pairs(found.generated, NUM_PAIRS):
                image_HWC, mask_HW = generated.read(i)
                caption = f"{generated.rows[i].image_id[:18]}  {distance:.3g}"
                pairs.append((image_HWC, mask_HW, train.read(j)[0], caption))
            paths[name] = target / f"{name}.png"
            write_png(paths[name], draw_pairs(pairs))
    return paths


def _examples(generated: ImageSet, real: ImageSet) -> RGB:
    rows = []
    for label in real.manifest.header.classes:
        made, seen = (_spread(images, label) for images in (generated, real))
        if len(made) or len(seen):
            rows.append((label, list(generated.images(made)), list(real.images(seen))))
    return draw_examples(rows)


def _spread(images: ImageSet, label: str) -> NDArray[np.int64]:
    mine = images.of_type(label)
    picks = np.linspace(0, len(mine) - 1, min(NUM_EXAMPLES, len(mine))).round().astype(int)
    return mine[picks]
