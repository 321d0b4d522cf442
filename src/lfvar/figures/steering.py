"""Pictures of what a transformer made of requests: a row per donor, a column per setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lfvar.figures.panels import RGB, draw_table, enlarge, outline


def draw_steered(
    rows: Sequence[int],
    given: Mapping[str, tuple[NDArray[np.uint8], NDArray[np.bool_]]],
    made: Mapping[str, tuple[NDArray[np.uint8], NDArray[np.bool_]]],
    *,
    outlined: bool,
    side: int = 112,
) -> RGB:
    """Real images on the left, with their lesions outlined; what was made of them on the right.

    Args:
        rows: Which of the images to show.
        given: Heading to images (N, H, W, 3) and masks (N, H, W).
        made: The same for what was made.
        outlined: Whether to outline lesions in what was made, too.
        side: Of a tile, in pixels.
    """
    tiles = [
        [
            *(outline(image_NHWC[row], mask_NHW[row], side) for image_NHWC, mask_NHW in given.values()),
            *(
                outline(image_NHWC[row], mask_NHW[row], side)
                if outlined and mask_NHW[row].any()
                else enlarge(image_NHWC[row], side)
                for image_NHWC, mask_NHW in made.values()
            ),
        ]
        for row in rows
    ]
    return draw_table(tiles, [*given, *made])
