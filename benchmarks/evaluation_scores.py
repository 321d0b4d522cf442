"""What the searches of an evaluation cost: copies of training images, and k-th neighbours for precision and coverage.

    python benchmarks/evaluation_scores.py --images 512

Plain is a loop as the definition reads: each generated image against each training image in its 8 positions, inside
the generated image's mask; and one matrix of all distances. Both give the same neighbours, which is asserted.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
from harness import Row, add_common, measure_in_turns, product_rate, rows_of, show_rows
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from lfvar.measure.symmetry import SYMMETRIES, move_image
from lfvar.metrics.memorisation import PIXEL_SIDE, nearest_inside_mask
from lfvar.metrics.neighbours import kth_distances

NUM_FEATURES, K = 256, 5


def search_plainly(
    image_NHWC: NDArray[np.float64], mask_NHW: NDArray[np.bool_], train_MHWC: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Index of the training image that is nearest inside the mask, image by image."""
    found = []
    for image, mask in zip(image_NHWC, mask_NHW, strict=True):
        best, index = np.inf, 0
        for number, other in enumerate(train_MHWC):
            for symmetry in SYMMETRIES:
                distance = float(((image - move_image(other, *symmetry))[mask] ** 2).mean())
                if distance < best:
                    best, index = distance, number
        found.append(index)
    return np.array(found)


def measure(args: argparse.Namespace) -> list[Row]:
    """Rows of the table; one generated image per eight training images."""
    rng = np.random.default_rng(0)
    side, count = PIXEL_SIDE, args.images
    train = rng.uniform(0, 255, (count, side, side, 3))
    images = rng.uniform(0, 255, (max(count // 8, 2), side, side, 3))
    masks = np.zeros(images.shape[:3], dtype=bool)
    masks[:, side // 4 : 3 * side // 4, side // 4 : 3 * side // 4] = True
    features = rng.standard_normal((count, NUM_FEATURES))
    found: dict[str, NDArray[np.generic]] = {}

    def keep(name: str, call: Callable[[], NDArray[np.generic]]) -> Callable[[], object]:
        return lambda: found.update({name: call()})

    clock = {"cpu_time": args.cpu_time}
    search = {
        "plain: image by image": keep("plain", lambda: search_plainly(images, masks, train)),
        "ours: two products": keep("ours", lambda: nearest_inside_mask(images, masks, train).index_N),
    }
    kth = {
        "plain: matrix of distances": keep("all", lambda: np.sort(cdist(features, features), axis=1)[:, K]),
        "ours: in blocks": keep("blocks", lambda: kth_distances(features, K)),
    }
    device = torch.device("cpu")
    copies, radii = (measure_in_turns(calls, args.turns, device, **clock) for calls in (search, kth))
    assert np.array_equal(found["plain"], found["ours"])
    assert np.allclose(found["all"], found["blocks"])
    rate = product_rate(device, torch.float32, small=args.size == "tiny", **clock)
    floor = 8 * count * 2 * 2 * side * side * 3 / rate
    return [
        *rows_of("evaluation: copies", copies, len(images), [floor, floor], "FLOPs"),
        *rows_of("evaluation: neighbours", radii, count, [2 * count * NUM_FEATURES / rate] * 2, "FLOPs"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common(parser)
    parser.add_argument("--images", type=int, default=256, help="training images")
    args = parser.parse_args()
    show_rows(measure(args), f"searches among {args.images} images")


if __name__ == "__main__":
    main()
