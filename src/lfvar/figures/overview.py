"""A dataset at a glance: some prepared images of every type, their lesions outlined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lfvar.figures.panels import RGB, outline
from lfvar.figures.sheets import Sheet, SheetRow, Tile, draw_sheet

SIDE = 128
"""Of an image, in pixels."""


def draw_overview(images: Sequence[tuple[str, Sequence[tuple[RGB, NDArray[np.bool_]]]]], columns: int) -> RGB:
    """A row per type.

    Args:
        images: Name of each row; its images, uint8 (H, W, 3), and masks (H, W).
        columns: Places in a row; those that stay empty are grey.
    """
    rows = []
    for name, tiles in images:
        drawn = [Tile(outline(pixels, mask_HW, SIDE)) for pixels, mask_HW in tiles]
        rows.append(SheetRow(name, (*drawn, *[None] * (columns - len(drawn)))))
    return draw_sheet(Sheet(("",) * columns, tuple(rows)), side=SIDE)


def choose_evenly(count: int, wanted: int) -> list[int]:
    """Places of `wanted` items out of `count`, evenly over all of them."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, wanted))}) if count else []
