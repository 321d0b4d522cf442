"""Contact sheets: rows of images with a name beside each, headings above, and captions below."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import wrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lfvar.figures.panels import GAP, RGB, enlarge

HEADING = 22
CAPTION = 16
NAME_WIDTH = 132
_CHARACTERS = 19  # of a name's line
_LINE = 15
_BACKGROUND = "white"
_EMPTY = (235, 235, 235)


@dataclass(frozen=True)
class Tile:
    """One image."""

    pixels: RGB
    caption: str = ""


@dataclass(frozen=True)
class SheetRow:
    """Images that belong together."""

    name: str
    """Written to the left; lines are broken where they are too long."""
    tiles: tuple[Tile | None, ...]
    """None: nothing to show."""


@dataclass(frozen=True)
class Sheet:
    """A picture of many images."""

    headings: tuple[str, ...]
    rows: tuple[SheetRow, ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.tiles) != len(self.headings):
                raise ValueError(f"row {row.name!r} has {len(row.tiles)} tiles for {len(self.headings)} headings")


def draw_sheet(sheet: Sheet, *, side: int = 128) -> RGB:
    """Draw a sheet.

    Args:
        sheet: What to show.
        side: Side of a tile in pixels. Images are enlarged or reduced to it; small ones keep their pixels visible.

    Returns:
        One RGB picture; the same bytes for the same sheet.
    """
    has_captions = any(tile is not None and tile.caption for row in sheet.rows for tile in row.tiles)
    pitch_x, pitch_y = side + GAP, side + GAP + (CAPTION if has_captions else 0)
    size = (NAME_WIDTH + pitch_x * len(sheet.headings) - GAP, HEADING + pitch_y * len(sheet.rows) - GAP)
    picture = Image.new("RGB", size, _BACKGROUND)
    draw, font, small = ImageDraw.Draw(picture), ImageFont.load_default(13), ImageFont.load_default(11)
    for column, heading in enumerate(sheet.headings):
        middle = NAME_WIDTH + column * pitch_x + side / 2
        draw.text((middle, HEADING / 2), heading[:20], fill="black", font=font, anchor="mm")
    for number, row in enumerate(sheet.rows):
        top = HEADING + number * pitch_y
        lines = break_name(row.name, most=max(1, side // _LINE))
        first = top + (side - _LINE * (len(lines) - 1)) / 2
        for line_number, line in enumerate(lines):
            place = (NAME_WIDTH - 6, first + line_number * _LINE)
            is_title = line_number == 0 and "\n" in row.name
            draw.text(place, line, fill="black", font=font if is_title else small, anchor="rm")
        for column, tile in enumerate(row.tiles):
            left = NAME_WIDTH + column * pitch_x
            pixels = np.full((side, side, 3), _EMPTY, np.uint8) if tile is None else enlarge(tile.pixels, side)
            picture.paste(Image.fromarray(pixels), (left, top))
            if tile is not None and tile.caption:
                below = (left + side / 2, top + side + CAPTION / 2)
                draw.text(below, tile.caption, fill="black", font=small, anchor="mm")
    return np.asarray(picture)


def break_name(name: str, *, most: int) -> list[str]:
    """A name in lines that fit beside a row, at most that many; what is left out is marked."""
    lines = [part for line in name.split("\n") for part in (wrap(line, _CHARACTERS) or [""])]
    return lines if len(lines) <= most else [*lines[: most - 1], lines[most - 1][: _CHARACTERS - 1] + "…"]
