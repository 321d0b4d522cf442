"""What a prepared dataset looks like in numbers: counts, sizes, measurements by type, correlations, maps of all rows.

Each function takes a labelled table (`lfvar.measure.labelled.label_table`) and returns a figure; `write_figures` saves
all of them. Nothing shows an image of the dataset, so licences of images do not reach the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lfvar.data.manifest import Manifest
from lfvar.data.splits import SPLITS
from lfvar.figures.maps import draw_map
from lfvar.figures.style import GROUP_COLOURS, colour_types, light_grid, make_figure, save_png, styled
from lfvar.measure.labelled import label_table
from lfvar.measure.schema import GROUPS, SCHEMA, Feature, feature

FIGURES_FOLDER = "figures"
CHOSEN = (
    "clinical_relative_diameter",
    "shape_sphericity",
    "clinical_asymmetry_shape_max",
    "clinical_border_radial_variation",
    "clinical_colour_lightness",
    "clinical_colour_redness",
    "clinical_colour_variegation",
    "clinical_contrast_colour",
    "histogram_entropy",
)
"""A handful that a dermatologist can read, one or two of each letter of the ABCD rule."""


def write_figures(folder: Path, manifest: Manifest, table: pd.DataFrame) -> list[Path]:
    """Draw all figures of a measured dataset.

    Args:
        folder: The prepared folder; PNG files go to `figures/` in it.
        manifest: Of that folder.
        table: Its measurements (`lfvar.measure.run.read_table`).

    Returns:
        The files, in the order in which a paper would show them.

    Raises:
        ArtefactError: When images of the manifest are not in the table.
    """
    rows = label_table(manifest, table)
    classes = [label for label in manifest.header.classes if (rows["label"] == label).any()]
    features = [item for item in SCHEMA if item.name in table.columns]
    chosen = [feature(name) for name in CHOSEN if name in table.columns and table[name].notna().any()]
    target = Path(folder) / FIGURES_FOLDER
    target.mkdir(exist_ok=True)
    figures = {"class_counts": draw_class_counts(rows, classes), "mask_area": draw_mask_area(rows, classes)}
    if chosen:
        figures["measurements_by_type"] = draw_distributions(rows, classes, chosen)
    if any(table[item.name].notna().any() for item in features):
        figures["correlation"] = draw_correlations(rows, features)
    for method in ("pca", "tsne"):
        drawn = draw_map(rows, classes, features, method=method)
        if drawn is not None:
            figures[f"map_{method}"] = drawn
    return [save_png(figure, target / f"{name}.png") for name, figure in figures.items()]


def draw_class_counts(rows: pd.DataFrame, classes: Sequence[str]) -> Figure:
    """Images of each type in each split, with the number of lesions they show."""
    shades = dict(zip(SPLITS, ("#0072B2", "#8FC1E3", "#E69F00"), strict=True))
    with styled():
        figure = make_figure(2.6)
        axes = figure.subplots()
        bottom = np.zeros(len(classes))
        for split in SPLITS:
            part = rows[rows["split"] == split]
            counts = np.array([(part["label"] == label).sum() for label in classes])
            label = f"{split} ({len(part)} images, {part['lesion'].nunique()} lesions)"
            axes.bar(range(len(classes)), counts, bottom=bottom, width=0.7, color=shades[split], label=label)
            bottom += counts
        for index, total in enumerate(bottom):
            axes.annotate(
                f"{total:.0f}", (index, total), xytext=(0, 2), textcoords="offset points", ha="center", fontsize=7
            )
        axes.set_xticks(range(len(classes)), _break(classes))
        axes.set_ylabel("images")
        axes.margins(y=0.12)
        light_grid(axes)
        figure.legend(loc="outside upper center", ncols=3)
    return figure


def draw_mask_area(rows: pd.DataFrame, classes: Sequence[str]) -> Figure:
    """How much of the prepared image is lesion: all images, and the spread of each type."""
    colours = colour_types(classes)
    with styled():
        figure = make_figure(2.6)
        left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
        share = rows["lesion_fraction"] * 100
        left.hist(share, bins=np.linspace(0, 100, 41).tolist(), color="#56B4E9", edgecolor="white", linewidth=0.4)
        left.axvline(share.median(), color="black", linewidth=0.8, linestyle="--")
        left.annotate(
            f"median {share.median():.0f} %",
            (float(share.median()), 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, -2),
            textcoords="offset points",
            va="top",
            fontsize=7,
        )
        left.set_xlabel("lesion, % of the prepared image")
        left.set_ylabel("images")
        left.set_xlim(0, 100)
        light_grid(left)
        _draw_boxes(right, [share[rows["label"] == label].to_numpy() for label in classes], classes, colours)
        right.set_ylabel("lesion, % of the prepared image")
        right.set_ylim(0, 100)
    return figure


def draw_distributions(rows: pd.DataFrame, classes: Sequence[str], features: Sequence[Feature]) -> Figure:
    """Violins of some measurements by type, with the quartiles in them."""
    columns = 3
    lines = -(-len(features) // columns)
    colours = colour_types(classes)
    with styled():
        figure = make_figure(1.75 * lines + 0.2)
        grid = figure.subplots(lines, columns, squeeze=False)
        for axes, item in zip(grid.flat, features, strict=False):
            values = [rows.loc[rows["label"] == label, item.name].dropna().to_numpy() for label in classes]
            _draw_violins(axes, values, classes, colours)
            axes.set_title(_title(item), loc="left")
        for axes in grid.flat[len(features) :]:
            axes.set_axis_off()
    return figure


def draw_correlations(rows: pd.DataFrame, features: Sequence[Feature]) -> Figure:
    """Spearman correlations between all measurements, by group and alike ones side by side within a group."""
    ordered: list[Feature] = []
    limits = []
    for group in GROUPS:
        members = [item for item in features if item.group == group and rows[item.name].nunique() > 1]
        ordered += _place_alike_together(rows, members)
        limits.append((group, len(members)))
    matrix = rows[[item.name for item in ordered]].corr(method="spearman").to_numpy()
    with styled():
        figure = make_figure(5.4, 7.0)
        axes = figure.subplots()
        image = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
        start = 0
        for group, count in limits:
            if not count:
                continue
            for line in (axes.axhline, axes.axvline):
                if start:
                    line(start - 0.5, color="black", linewidth=0.7)
            axes.text(
                -1.5, start + (count - 1) / 2, f"{group} ({count})", ha="right", va="center", color=GROUP_COLOURS[group]
            )
            start += count
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=30, pad=0.02)
        bar.set_label("Spearman correlation")
        outline: Any = bar.outline
        outline.set_linewidth(0.4)
    return figure


def _place_alike_together(rows: pd.DataFrame, features: Sequence[Feature]) -> list[Feature]:
    """Order features by the first principal axis of their correlations, so that blocks show."""
    if len(features) < 3:
        return list(features)
    matrix = np.nan_to_num(rows[[item.name for item in features]].corr(method="spearman").to_numpy())
    _, vectors = np.linalg.eigh(matrix)
    angle = np.arctan2(vectors[:, -2], vectors[:, -1] * np.sign(vectors[:, -1].sum() or 1))
    # Cut the circle of angles at its widest gap (Friendly, Corrgrams, 2002).
    order = np.argsort(angle, kind="stable")
    gaps = np.diff(np.append(angle[order], angle[order[0]] + 2 * np.pi))
    return [features[index] for index in np.roll(order, -int(np.argmax(gaps)) - 1)]


def _draw_boxes(
    axes: Axes, values: Sequence[NDArray[np.float64]], classes: Sequence[str], colours: dict[str, str]
) -> None:
    parts = axes.boxplot(
        list(values),
        widths=0.6,
        patch_artist=True,
        showfliers=False,
        medianprops={"color": "black", "linewidth": 1},
        boxprops={"linewidth": 0.6},
        whiskerprops={"linewidth": 0.6},
        capprops={"linewidth": 0.6},
    )
    for box, label in zip(parts["boxes"], classes, strict=True):
        box.set_facecolor(colours[label])
        box.set_alpha(0.6)
    axes.set_xticks(range(1, len(classes) + 1), _break(classes))
    light_grid(axes)


def _draw_violins(
    axes: Axes, values: Sequence[NDArray[np.float64]], classes: Sequence[str], colours: dict[str, str]
) -> None:
    """A violin where there are enough values of more than one size; the median and quartiles in any case."""
    for position, (label, column) in enumerate(zip(classes, values, strict=True)):
        if len(column) == 0:
            continue
        if len(column) >= 5 and np.ptp(column) > 0:
            bodies: Any = axes.violinplot([column], [position], widths=0.85, showextrema=False)["bodies"]
            for body in bodies:
                body.set_facecolor(colours[label])
                body.set_alpha(0.55)
        low, middle, high = np.quantile(column, (0.25, 0.5, 0.75))
        axes.vlines(position, low, high, color="black", linewidth=1.6)
        axes.scatter([position], [middle], s=9, color="white", edgecolor="black", linewidth=0.6, zorder=3)
    axes.set_xticks(range(len(classes)), _break(classes))
    light_grid(axes)


def _break(classes: Sequence[str]) -> list[str]:
    """Long type names on two lines."""
    return [label.replace("_", "\n") for label in classes]


def _title(item: Feature) -> str:
    words = item.name.partition("_")[2].replace("_", " ")
    words = words if any(letter.isupper() for letter in words) else words.capitalize()
    return words if item.unit == "1" else f"{words} ({item.unit})"
