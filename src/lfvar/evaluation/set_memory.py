"""Near copies of training images in a set of generated ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lfvar.evaluation.set_features import SetFeatures
from lfvar.evaluation.sets import ImageSet
from lfvar.metrics.extractors import MEASUREMENTS
from lfvar.metrics.memorisation import Memorisation, compare_distances, nearest_by_features, nearest_inside_mask, shrink
from lfvar.progress import ProgressBar

Array = NDArray[np.float64]


def memorise(
    generated: SetFeatures, held_out: SetFeatures, train: SetFeatures | None, batch_size: int
) -> list[Memorisation]:
    """Look for training images among generated ones, by the features of one network and by pixels inside the mask.

    Args:
        generated: What may hold copies.
        held_out: Real images that are not in training.
        train: The training images; None: nothing is looked for.
        batch_size: Images at once.

    Returns:
        One entry per way of looking that the images allow.
    """
    if train is None:
        return []
    found = []
    space = memory_space(generated, train)
    if space is not None:
        vectors = [usable(features.spaces[space]) for features in (generated, held_out, train)]
        complete = all(len(v) == len(f.images) for v, f in zip(vectors, (generated, held_out, train), strict=True))
        if complete:
            nearest = [nearest_by_features(part, vectors[2]) for part in vectors[:2]]
            found.append(compare_distances(space, *nearest))
    pixels = [_small(features.images, batch_size) for features in (generated, held_out, train)]
    with ProgressBar(2, "nearest training images") as bar:
        inside = []
        for image_NHWC, mask_NHW in pixels[:2]:
            inside.append(nearest_inside_mask(image_NHWC, mask_NHW, pixels[2][0]))
            bar.advance()
    if all(np.isfinite(item.distance_N).any() for item in inside):
        found.append(compare_distances("pixels inside the mask", *inside))
    return found


def memory_space(*sets: SetFeatures) -> str | None:
    """The space in which near copies are looked for: the first of a network that all sets have."""
    names = [name for name in sets[0].spaces if name != MEASUREMENTS and all(name in s.spaces for s in sets)]
    # Of Inception's four depths the last: the others see colour and texture more than the image.
    return next((name for name in names if name.endswith("-2048")), names[0] if names else None)


def _small(images: ImageSet, batch_size: int) -> tuple[Array, NDArray[np.bool_]]:
    parts = [shrink(*batch) for batch in images.batches(np.arange(len(images)), batch_size)]
    return np.concatenate([image for image, _ in parts]), np.concatenate([mask for _, mask in parts])


def usable(vectors_ND: Array) -> Array:
    """Rows without NaN: an image without a lesion has no measurements."""
    return vectors_ND[np.isfinite(vectors_ND).all(axis=1)]
