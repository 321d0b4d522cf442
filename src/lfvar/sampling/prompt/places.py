"""Where a lesion shall lie: words for nine fields of the image, and for its corners and edges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

MIDDLE = 0.5
FIELD = 0.2
"""Distance, by side of the image, of a field's centroid from the middle: "in the upper left" is (0.3, 0.3)."""
RIM = 0.3
"""The same for a corner or an edge."""

Position = tuple[float, float]

_VERTICAL = {"upper": -1, "top": -1, "lower": 1, "bottom": 1}
_HORIZONTAL = {"left": -1, "right": 1, "left hand": -1, "right hand": 1}
_CENTRE = ("centre", "middle")
_PARTS = ("part", "side", "half", "third", "quadrant", "area", "region")
_ALONE = ("top", "bottom", "left", "right")


def _at(x: int, y: int, distance: float) -> Position:
    return round(MIDDLE + x * distance, 3), round(MIDDLE + y * distance, 3)


def _name_places() -> Iterator[tuple[str, Position]]:
    for name in (*_CENTRE, "very centre", *(f"central {part}" for part in _PARTS)):
        yield name, _at(0, 0, FIELD)
    for vertical, y in _VERTICAL.items():
        for horizontal, x in _HORIZONTAL.items():
            field = f"{vertical} {horizontal}"
            yield from ((name, _at(x, y, FIELD)) for name in (field, *(f"{field} {part}" for part in _PARTS)))
            yield f"{field} corner", _at(x, y, RIM)
    for side, x, y in (
        *((vertical, 0, y) for vertical, y in _VERTICAL.items()),
        *((horizontal, x, 0) for horizontal, x in _HORIZONTAL.items()),
    ):
        names = (*(f"{side} {word}" for word in (*_PARTS, *_CENTRE)), *(f"{word} {side}" for word in _CENTRE))
        yield from ((name, _at(x, y, FIELD)) for name in names)
        yield f"{side} edge", _at(x, y, RIM)
        if side in _ALONE:
            yield side, _at(x, y, FIELD)


PLACES: Mapping[str, Position] = dict(_name_places())
"""Centroid (x from the left, y from the top) of each place."""

CENTRED = ("centred", "centrally located")
"""The centre, said without a preposition."""
LOCATED = ("located", "placed", "positioned", "situated", "lying")
PREPOSITIONS = ("in", "at", "on", "near", "towards")
OF_IMAGE = tuple(
    f"of {article}{noun}" for article in ("the ", "") for noun in ("image", "picture", "photo", "skin", "skin area")
)

PRINTED: Mapping[Position, str] = {
    _at(0, 0, FIELD): "in the centre",
    _at(0, -1, FIELD): "at the top",
    _at(0, 1, FIELD): "at the bottom",
    _at(-1, 0, FIELD): "on the left",
    _at(1, 0, FIELD): "on the right",
    _at(0, -1, RIM): "at the upper edge",
    _at(0, 1, RIM): "at the lower edge",
    _at(-1, 0, RIM): "at the left edge",
    _at(1, 0, RIM): "at the right edge",
    **{
        _at(x, y, distance): f"in the {vertical} {horizontal}{ending}"
        for vertical, y in (("upper", -1), ("lower", 1))
        for horizontal, x in (("left", -1), ("right", 1))
        for distance, ending in ((FIELD, ""), (RIM, " corner"))
    },
}
"""How each place that can be asked for is printed."""

PLACE_WORDS = (*PLACES, *CENTRED, *LOCATED, *PREPOSITIONS, *OF_IMAGE)
