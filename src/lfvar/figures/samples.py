"""Samples of every lesion type beside the held-out image whose measurements were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lfvar.figures.panels import GAP, HEADING, RGB, draw_table, enlarge, outline, to_pixels

Group = Literal["measured", "type"]

LABEL_WIDTH = 72
_EMPTY = (235, 235, 235)


@dataclass(frozen=True)
class SampleRow:
    """What is shown of one type. Images are CHW in [-1, 1]."""

    label: str
    source_CHW: NDArray[np.floating] | None
    """The held-out image as the tokenizer shows it; None: none was found."""
    mask_HW: NDArray[np.bool_] | None
    """Its lesion."""
    samples: tuple[NDArray[np.floating] | None, ...]
    """(S, C, H, W) for each group of columns; None: nothing to show."""


def draw_samples(rows: Sequence[SampleRow], groups: Sequence[Group], seeds: Sequence[int], *, side: int = 128) -> RGB:
    """One row per type: the held-out image with its lesion outlined, then samples, group by group.

    Args:
        rows: What to show, one per type.
        groups: "measured": with the measurements of the held-out image; "type": of its type alone.
        seeds: Of the samples, for the headings; the same in every group.
        side: Side of a tile in pixels.

    Returns:
        One RGB picture.
    """
    headings = ["held out", *(f"{group}, seed {seed}" for group in groups for seed in seeds)]
    table = draw_table([_tiles(row, len(seeds), side) for row in rows], headings)
    return _label_rows(table, [row.label for row in rows], side)


def _tiles(row: SampleRow, count: int, side: int) -> list[RGB]:
    empty = np.full((side, side, 3), _EMPTY, np.uint8)
    if row.source_CHW is None:
        tiles = [empty]
    elif row.mask_HW is None or not row.mask_HW.any():
        tiles = [enlarge(to_pixels(row.source_CHW), side)]
    else:
        tiles = [outline(to_pixels(row.source_CHW), row.mask_HW, side)]
    for samples_SCHW in row.samples:
        if samples_SCHW is None:
            tiles += [empty] * count
        else:
            tiles += [enlarge(to_pixels(image_CHW), side) for image_CHW in samples_SCHW]
    return tiles


def _label_rows(table: RGB, labels: Sequence[str], side: int) -> RGB:
    """Put a name to the left of each row."""
    picture = Image.new("RGB", (LABEL_WIDTH + table.shape[1], table.shape[0]), "white")
    picture.paste(Image.fromarray(table), (LABEL_WIDTH, 0))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for y, label in enumerate(labels):
        middle = HEADING + y * (side + GAP) + side / 2
        draw.text((LABEL_WIDTH - 6, middle), label[:10], fill="black", font=font, anchor="rm")
    return np.asarray(picture)
