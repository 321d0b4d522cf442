"""All lesions of a dataset on a plane, placed by their measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from lfvar.figures.style import GROUP_COLOURS, colour_types, make_figure, styled
from lfvar.measure.schema import Feature
from lfvar.measure.standardise import Standardiser

MIN_ROWS = 10
_SEED = 0


@dataclass(frozen=True)
class Plane:
    """Where lesions lie on two axes."""

    rows: pd.DataFrame
    """Those that have measurements."""
    points_N2: NDArray[np.float64]
    titles: tuple[str, str]
    loadings_2M: NDArray[np.float64] | None
    """Share of each feature in each axis (PCA)."""


def place_rows(rows: pd.DataFrame, features: Sequence[Feature], method: Literal["pca", "tsne"]) -> Plane | None:
    """Place lesions by their standardised measurements.

    Args:
        rows: A labelled table.
        features: Measurements to go by.
        method: Principal components, or t-SNE on the first 30 of them.

    Returns:
        The plane; None when fewer than `MIN_ROWS` rows have measurements.
    """
    names = [item.name for item in features]
    usable = rows[rows[names].notna().any(axis=1)] if names else rows.iloc[:0]
    if len(usable) < MIN_ROWS:
        return None
    standardiser = Standardiser.fit(usable, features)
    values, _ = standardiser.transform(usable)
    values_NM = values.astype(np.float64)  # missing features stand at 0, the mean
    if method == "pca":
        pca = PCA(n_components=2, random_state=_SEED).fit(values_NM)
        first, second = (
            f"PC {index + 1} ({share:.0%} of variance)" for index, share in enumerate(pca.explained_variance_ratio_)
        )
        return Plane(usable, pca.transform(values_NM), (first, second), pca.components_**2)
    components = min(30, *values_NM.shape)
    reduced = PCA(n_components=components, random_state=_SEED).fit_transform(values_NM)
    perplexity = min(30.0, (len(reduced) - 1) / 3)
    points_N2 = TSNE(perplexity=perplexity, init="pca", random_state=_SEED, n_jobs=1).fit_transform(reduced)
    return Plane(usable, points_N2, (f"t-SNE 1 (perplexity {perplexity:.0f})", "t-SNE 2"), None)


def draw_map(
    rows: pd.DataFrame, classes: Sequence[str], features: Sequence[Feature], *, method: Literal["pca", "tsne"]
) -> Figure | None:
    """Standardised measurements on two axes, coloured by type.

    For PCA a second panel says what the axes are made of: the share of each group in them.

    Returns:
        The figure; None when fewer than `MIN_ROWS` rows have measurements.
    """
    plane = place_rows(rows, features, method)
    if plane is None:
        return None
    usable, points, titles, loadings = plane.rows, plane.points_N2, plane.titles, plane.loadings_2M
    labels = usable["label"].to_numpy(dtype=str)
    with styled():
        figure = make_figure(4.2 if loadings is None else 4.0, 5.2 if loadings is None else 7.0)
        if loadings is None:
            axes = figure.subplots()
        else:
            axes, side = figure.subplots(1, 2, width_ratios=(3, 1))
            _draw_loadings(side, loadings, features)
        # All types in one shuffled call: drawn one after another, the last would hide the others.
        order = np.random.default_rng(_SEED).permutation(len(points))
        colours = colour_types(classes)
        axes.scatter(
            points[order, 0],
            points[order, 1],
            s=7,
            c=[colours[label] for label in labels[order]],
            alpha=0.75,
            linewidths=0,
        )
        low, high = np.quantile(points, (0.002, 0.998), axis=0)
        margin = 0.08 * (high - low)
        axes.set_xlim(low[0] - margin[0], high[0] + margin[0])
        axes.set_ylim(low[1] - margin[1], high[1] + margin[1])
        axes.set_xlabel(titles[0])
        axes.set_ylabel(titles[1])
        axes.set_xticks([])
        axes.set_yticks([])
        for label in classes:
            axes.scatter([], [], s=16, color=colours[label], label=f"{label} ({(labels == label).sum()})")
        figure.legend(loc="outside upper center", ncols=min(len(classes), 7), handletextpad=0.1, columnspacing=1.0)
    return figure


def _draw_loadings(axes: Axes, loadings: NDArray[np.float64], features: Sequence[Feature]) -> None:
    """Bars: the share of each group of measurements in an axis."""
    groups = [item.group for item in features]
    bottom = np.zeros(2)
    for group, colour in GROUP_COLOURS.items():
        share = np.array([line[[name == group for name in groups]].sum() for line in loadings]) * 100
        axes.bar([0, 1], share, bottom=bottom, width=0.6, color=colour, alpha=0.8)
        for position, (height, base) in enumerate(zip(share, bottom, strict=True)):
            if height > 6:
                axes.text(position, base + height / 2, group, ha="center", va="center", fontsize=6.5)
        bottom += share
    axes.set_xticks([0, 1], ["PC 1", "PC 2"])
    axes.set_ylabel("share of each group in the axis, %")
    axes.set_ylim(0, 100)
