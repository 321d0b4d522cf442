"""Figures of a report on generated images: scores beside their floors, control beside its ceiling, near copies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lfvar.figures.panels import GAP, HEADING, RGB, draw_table, enlarge, outline
from lfvar.figures.style import COLOURS, GROUP_COLOURS, light_grid, make_figure, styled
from lfvar.metrics.memorisation import Memorisation

SIDE = 112
"""Of an image in a sheet, in pixels."""
_NAMES = {
    "fd": "Fréchet distance",
    "kid": "kernel distance",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
}


def draw_scores(rows: pd.DataFrame) -> Figure | None:
    """Scores of one feature space at equal counts, beside the floor, for all types and each.

    Args:
        rows: `SetReport.fidelity` of one space.

    Returns:
        The figure; None when nothing could be computed.
    """
    if not np.isfinite(rows["matched"]).any():
        return None
    metrics = [metric for metric in _NAMES if np.isfinite(rows[rows["metric"] == metric]["matched"]).any()]
    groups = list(dict.fromkeys(rows["group"]))
    with styled():
        figure = make_figure(1.3 + 0.22 * len(groups) * (1 + (len(metrics) > 3)))
        panels = figure.subplots(1 + (len(metrics) > 3), 3, squeeze=False, sharey=True).ravel()
        for axes, metric in zip(panels, metrics, strict=False):
            part = rows[rows["metric"] == metric].set_index("group").loc[groups]
            y = np.arange(len(groups))[::-1]
            floor = {"color": "#999999", "fmt": "s", "markersize": 3, "label": "two real halves"}
            axes.errorbar(part["floor"], y - 0.14, xerr=2 * part["floor_std"], linewidth=0.8, **floor)
            made = {"color": COLOURS[0], "fmt": "o", "markersize": 3.5, "label": "generated to a real half"}
            axes.errorbar(part["matched"], y + 0.14, xerr=2 * part["matched_std"], linewidth=0.8, **made)
            axes.set_yticks(y, [f"{group} ({count})" for group, count in part["num_matched"].items()])
            axes.set_title(_NAMES[metric])
            light_grid(axes, "x")
        for axes in panels[len(metrics) :]:
            axes.set_visible(False)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def draw_control(table: pd.DataFrame) -> Figure | None:
    """Rank correlation of asked and measured, one dot per measurement, under the tokenizer's ceiling where it is known.

    Args:
        table: `SetReport.control`; what follows from the mask is left out.

    Returns:
        The figure; None when nothing was asked for that depends on the image.
    """
    rows = table[~table["follows_from_mask"] & table["spearman"].notna()]
    if rows.empty:
        return None
    with styled():
        figure = make_figure(2.6)
        axes = figure.subplots()
        start, ticks, names = 0, [], []
        for group, colour in GROUP_COLOURS.items():
            part = rows[rows["group"] == group].sort_values("spearman", ascending=False)
            if part.empty:
                continue
            x = np.arange(start, start + len(part))
            if "ceiling_spearman" in part:
                axes.scatter(x, part["ceiling_spearman"], s=10, marker="_", color="#999999", linewidths=0.8)
            axes.scatter(x, part["spearman"], s=9, color=colour, linewidths=0)
            ticks.append(start + (len(part) - 1) / 2)
            names.append(f"{group} ({len(part)})\nmedian {part['spearman'].median():.2f}")
            start += len(part) + 2
        axes.axhline(0, color="#999999", linewidth=0.6)
        axes.set_ylim(min(-0.1, float(rows["spearman"].min()) - 0.05), 1.02)
        axes.set_ylabel("Spearman, asked and measured")
        axes.set_xticks(ticks, names)
        if "ceiling_spearman" in rows:
            axes.set_xlabel("grey: what survives the tokenizer alone")
        light_grid(axes)
    return figure


def draw_memorisation(found: Sequence[Memorisation]) -> Figure | None:
    """Distances to the nearest training image, of generated and of held-out real images; None without any."""
    if not found:
        return None
    with styled():
        figure = make_figure(2.2)
        for axes, item in zip(np.atleast_1d(figure.subplots(1, len(found))), found, strict=True):
            sides = [part.distance_N[np.isfinite(part.distance_N)] for part in (item.held_out, item.generated)]
            bins = np.linspace(0, float(np.quantile(np.concatenate(sides), 0.995)), 40)
            for values, colour, name in zip(sides, ("#999999", COLOURS[0]), ("unseen real", "generated"), strict=True):
                weights = np.full(len(values), 1 / len(values))
                axes.hist(values, bins, weights=weights, histtype="step", color=colour, label=f"{name} ({len(values)})")
            axes.axvline(item.threshold, color=COLOURS[4], linewidth=0.8, linestyle="--", label="near")
            axes.set_title(f"by {item.space}")
            axes.set_xlabel("distance to the nearest training image")
            axes.set_ylabel("share of images")
            axes.legend()
            light_grid(axes)
    return figure


def draw_matrix(table: pd.DataFrame, title: str) -> Figure:
    """Source type × generated type as a heat map; empty cells had fewer than two images."""
    with styled():
        side = 1.2 + 0.5 * len(table)
        figure = make_figure(side, side + 1.2)
        axes = figure.subplots()
        values = table.to_numpy(np.float64)
        picture = axes.imshow(np.ma.masked_invalid(values), cmap="viridis")
        finite = values[np.isfinite(values)]
        middle = (finite.min() + finite.max()) / 2 if len(finite) else 0.0
        for row, column in np.ndindex(values.shape):
            if np.isfinite(values[row, column]):
                colour = "white" if values[row, column] < middle else "black"
                axes.text(
                    column, row, f"{values[row, column]:.3g}", ha="center", va="center", fontsize=6.5, color=colour
                )
        axes.set_xticks(range(len(table.columns)), list(table.columns))
        axes.set_yticks(range(len(table.index)), list(table.index))
        axes.set_xlabel("generated type")
        axes.set_ylabel("source type")
        axes.set_title(title)
        figure.colorbar(picture, ax=axes, shrink=0.8)
    return figure


def draw_pairs(pairs: Sequence[tuple[RGB, NDArray[np.bool_], RGB, str]]) -> RGB:
    """Generated images beside the nearest training image, a caption below each pair, three pairs a row.

    Args:
        pairs: Generated image, its mask, training image, caption.
    """
    font = ImageFont.load_default(11)
    width, height = 2 * SIDE + GAP, SIDE + HEADING
    columns = min(3, len(pairs))
    num_rows = -(-len(pairs) // columns)
    gap = 4 * GAP
    picture = Image.new("RGB", ((width + gap) * columns - gap, (height + gap) * num_rows - gap), "white")
    draw = ImageDraw.Draw(picture)
    for index, (image, mask, near, caption) in enumerate(pairs):
        left, top = (index % columns) * (width + gap), (index // columns) * (height + gap)
        picture.paste(Image.fromarray(outline(image, mask, SIDE)), (left, top))
        picture.paste(Image.fromarray(enlarge(near, SIDE)), (left + SIDE + GAP, top))
        draw.text((left, top + SIDE + HEADING / 2), caption, fill="black", font=font, anchor="lm")
    return np.asarray(picture)


def draw_examples(rows: Sequence[tuple[str, Sequence[RGB], Sequence[RGB]]]) -> RGB:
    """Generated and real images of each type side by side.

    Args:
        rows: Type, generated images and real ones, as many of each in every row; white where there are too few.
    """
    count = max(max(len(made), len(real)) for _, made, real in rows)
    blank = np.full((SIDE, SIDE, 3), 255, np.uint8)
    tiles = []
    for label, made, real in rows:
        name = Image.new("RGB", (SIDE, SIDE), "white")
        ImageDraw.Draw(name).text(
            (SIDE / 2, SIDE / 2), label, fill="black", font=ImageFont.load_default(13), anchor="mm"
        )
        sides = [[*(enlarge(image, SIDE) for image in part), *[blank] * (count - len(part))] for part in (made, real)]
        tiles.append([np.asarray(name), *sides[0], *sides[1]])
    return draw_table(tiles, ["", "generated", *[""] * (count - 1), "real", *[""] * (count - 1)])
