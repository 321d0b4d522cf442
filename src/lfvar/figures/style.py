"""How our diagrams look: one colour per lesion type, sizes of a paper column, no global state of pyplot."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lfvar.data.files import replace_file

WIDTH = 7.0
"""Inches: the text width of most journals."""
DPI = 200

# Okabe and Ito (2008), told apart by the colour-blind; yellow is left out, which is hard to see on white.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000", "#7F7F7F", "#8C564B", "#9467BD")

GROUP_COLOURS: Mapping[str, str] = MappingProxyType(
    {"shape": "#0072B2", "histogram": "#E69F00", "texture": "#009E73", "clinical": "#D55E00"}
)

_SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same picture on every machine
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.axisbelow": True,
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw in our style inside the block; what others draw is not touched."""
    with mpl.rc_context(_SETTINGS):
        yield


def make_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure with its own Agg canvas, in inches."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def colour_types(classes: Sequence[str]) -> dict[str, str]:
    """One colour per type, the same in all figures of a dataset."""
    return {label: COLOURS[index % len(COLOURS)] for index, label in enumerate(classes)}


def light_grid(axes: Axes, axis: Literal["both", "x", "y"] = "y") -> None:
    """Thin lines behind the data."""
    axes.grid(visible=True, axis=axis, linewidth=0.4, color="#DDDDDD")


def save_png(figure: Figure, path: Path) -> Path:
    """Write a PNG whole or not at all, the same bytes for the same figure."""
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format="png", metadata={"Software": None})
    replace_file(path, buffer.getvalue())
    return path
