"""Training curves of one run, from the table its logger wrote."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lfvar.figures.style import COLOURS, light_grid, make_figure, styled

PANELS: Sequence[tuple[str, str]] = (
    ("loss, training", r"train/loss"),
    ("PSNR, dB, validation", r"val/psnr_(inside|outside|all)"),
    ("codes used per scale", r"codebook/usage_.+"),
    ("loss, nats, validation", r"val/loss"),
    ("tokens right, validation", r"val/accuracy"),
    ("balanced accuracy, validation", r"val/balanced_accuracy"),
    ("Dice, validation", r"val/dice"),
)
"""Title of each panel, and the columns it shows; panels without columns are left out."""
_SMOOTHED = 10
"""Training losses are noisy: the mean over that many logged values is drawn over them."""


def read_curves(run: Path) -> pd.DataFrame | None:
    """The logged values of a run folder by step, those of every resumption among them; None where there are none."""
    parts = []
    for path in sorted(run.glob("csv/*/metrics.csv")):
        try:
            parts.append(pd.read_csv(path))
        except (OSError, ValueError):  # empty, or cut short by a kill
            continue
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return table.sort_values("step", kind="stable") if "step" in table else None


def draw_curves(table: pd.DataFrame) -> Figure | None:
    """Draw what there is of `PANELS`; None where there is nothing.

    Args:
        table: Of `read_curves`.
    """
    found = []
    for title, pattern in PANELS:
        columns = [name for name in map(str, table) if re.fullmatch(pattern, name) and table[name].notna().any()]
        if columns:
            found.append((title, columns))
    if not found:
        return None
    with styled():
        figure = make_figure(2.1 * -(-len(found) // 3))
        panels = figure.subplots(-(-len(found) // 3), 3, squeeze=False).ravel()
        for axes, (title, columns) in zip(panels, found, strict=False):
            for number, column in enumerate(columns):
                part = table[["step", column]].dropna()
                colour, name = COLOURS[number % len(COLOURS)], _short(column)
                if column.startswith("train/") and len(part) > 2 * _SMOOTHED:
                    axes.plot(part["step"], part[column], color=colour, linewidth=0.4, alpha=0.4)
                    smooth = part[column].rolling(_SMOOTHED, min_periods=1).mean()
                    axes.plot(part["step"], smooth, color=colour, label=name)
                    low, high = np.quantile(part[column], [0, 0.98])  # the first steps would flatten all others
                    axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low) or None)
                else:
                    axes.plot(part["step"], part[column], color=colour, marker="o", markersize=2.5, label=name)
            axes.set_title(title)
            axes.set_xlabel("step")
            light_grid(axes)
            if len(columns) > 1:
                axes.legend(ncols=2 if len(columns) > 3 else 1)
        for axes in panels[len(found) :]:
            axes.set_visible(False)
    return figure


def _short(column: str) -> str:
    return column.rpartition("/")[2].rpartition("_")[2]
