"""Pictures in a notebook, small enough to be committed with it."""

from __future__ import annotations

import io
from importlib import import_module

from matplotlib.figure import Figure
from PIL import Image

from lfvar.figures.panels import RGB
from lfvar.figures.style import styled


def show(picture: RGB | Figure, *, width: int | None = None) -> None:
    """Display pixels or a figure as a JPEG below the cell.

    Args:
        picture: RGB bytes (H, W, 3), or one of the figures of `lfvar.figures`.
        width: On the page, in CSS pixels; None: as large as it is.

    Raises:
        ModuleNotFoundError: Outside a notebook, where IPython is not installed.
    """
    ipython = import_module("IPython.display")  # not a dependency: notebooks bring it
    ipython.display(ipython.Image(data=to_jpeg(picture), format="jpeg", width=width))


def to_jpeg(picture: RGB | Figure) -> bytes:
    """As `show` displays it: good enough to judge a picture by, a tenth of a PNG."""
    buffer = io.BytesIO()
    if isinstance(picture, Figure):
        with styled():
            picture.savefig(buffer, format="jpeg", dpi=90, pil_kwargs={"quality": 85})
    else:
        Image.fromarray(picture).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
