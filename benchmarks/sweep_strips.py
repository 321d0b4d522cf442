"""Do sweeps move what they ask for? `python benchmarks/sweep_strips.py FOLDER [FOLDER …] --segmenter PATH`.

Each FOLDER is what `lfvar.generate mode=sweep` (or `mode=prompt`) wrote. For a sweep it prints, over its strips, the
rank correlation between the value asked and the value measured again: inside the mask that was asked for, and inside
what is found in the image, which owes nothing to the mask: by a segmenter, and by a threshold (Otsu's, on the colour
difference from the edge of the image). How much of a shape these could find at best, "plain" says: the same masks
filled evenly with half the skin's brightness. For prompts, medians of what sentences speak of.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import spearmanr

from lfvar.data.generated import read_generated
from lfvar.data.imageio import read_image, read_mask
from lfvar.data.manifest import Manifest
from lfvar.evaluation.steering import measure_all
from lfvar.interop.segmenters import load_segmenter, segment_lesions
from lfvar.measure.schema import FEATURE_NAMES, FROM_MASK
from lfvar.measure.settings import MeasureSettings
from lfvar.sampling.composite import feather_inward

SPOKEN_OF = (
    "clinical_relative_area",
    "clinical_colour_lightness",
    "clinical_asymmetry_shape_max",
    "clinical_border_compactness",
    "clinical_centroid_x",
    "clinical_centroid_y",
)


Finder = Callable[[NDArray[np.uint8]], NDArray[np.bool_]]
"""Lesions (N, H, W) of images (N, H, W, 3)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--segmenter", type=Path)
    arguments = parser.parse_args()
    finders: dict[str, Finder] = {"threshold": find_by_threshold}
    if arguments.segmenter:
        net = load_segmenter(arguments.segmenter).net
        finders["segmenter"] = lambda images: segment_lesions(
            net, torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        )
    for folder in arguments.folders:
        manifest, table = Manifest.read(folder), read_generated(folder).set_index("image_id")
        rows = list(manifest.rows)
        image_NHWC = np.stack([read_image(folder / row.image) for row in rows])
        mask_NHW = np.stack([read_mask(folder / row.mask) for row in rows])
        table = table.loc[[row.image_id for row in rows]]
        pictures = {"found": image_NHWC}
        if swept_feature(table) in FROM_MASK:
            pictures["plain, found"] = np.stack(list(map(paint_plainly, image_NHWC, mask_NHW)))
        measured = {"asked mask": measure_all(image_NHWC, mask_NHW, MeasureSettings(), 1)}
        for what, images in pictures.items():
            for name, find in finders.items():
                measured[f"{what} by {name}"] = measure_all(images, find(images), MeasureSettings(), 1)
        print(f"{folder.name}: {len(rows)} images")
        for where, values_NM in measured.items():
            if swept_feature(table):
                print_strips(where, table, values_NM)
            else:
                print_sentences(where, table, values_NM)


def swept_feature(table: pd.DataFrame) -> str | None:
    """What a folder sweeps."""
    feature: str | None = table.attrs["header"]["settings"]["source"]["sweep"]["feature"]
    return feature


def paint_plainly(image_HWC: NDArray[np.uint8], mask_HW: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The mask filled evenly with half the skin's brightness, at a border two pixels wide."""
    skin = image_HWC[~mask_HW].mean(axis=0)
    ground_HWC = np.where(mask_HW[..., None], skin, image_HWC)
    share_HW1 = feather_inward(mask_HW, 2)[..., None]
    return np.asarray(ground_HWC * (1 - share_HW1) + 0.5 * skin * share_HW1, np.uint8)


def find_by_threshold(image_NHWC: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Each image's largest piece that differs from its edge in colour, by Otsu's threshold."""
    return np.stack([_differs(image_HWC) for image_HWC in image_NHWC])


def _differs(image_HWC: NDArray[np.uint8]) -> NDArray[np.bool_]:
    smooth_HWC = cv2.GaussianBlur(image_HWC, (3, 3), 0).astype(np.float32) / 255
    lab_HWC = cv2.cvtColor(smooth_HWC, cv2.COLOR_RGB2LAB)
    is_edge_HW = np.ones(lab_HWC.shape[:2], np.bool_)
    is_edge_HW[4:-4, 4:-4] = False
    delta_HW = np.linalg.norm(lab_HWC - np.median(lab_HWC[is_edge_HW], axis=0), axis=-1)
    level, _ = cv2.threshold(np.clip(4 * delta_HW, 0, 255).astype(np.uint8), 0, 255, cv2.THRESH_OTSU)
    found_HW = ndimage.binary_fill_holes(ndimage.binary_opening(4 * delta_HW > level))
    pieces_HW, count = ndimage.label(found_HW)
    sizes = ndimage.sum(found_HW, pieces_HW, range(1, count + 1))
    return np.asarray(pieces_HW == 1 + int(np.argmax(sizes)) if count else found_HW, np.bool_)


def print_strips(where: str, table: pd.DataFrame, values_NM: NDArray[np.float64]) -> None:
    feature = swept_feature(table)
    asked_N = table[f"asked_{feature}"].to_numpy()
    got_N = values_NM[:, FEATURE_NAMES.index(feature)]
    strips = table.reset_index().groupby(["source_id", "seed"], sort=False).indices.values()
    ranks = [_rank(asked_N[strip], got_N[strip]) for strip in strips]
    print(f"  {feature}, {where}: mean {np.mean(ranks):.2f}, by strip {', '.join(f'{rank:.2f}' for rank in ranks)}")


def _rank(asked_N: NDArray[np.float64], got_N: NDArray[np.float64]) -> float:
    """Spearman's; 0 where the value does not move, or nothing is found."""
    there = np.isfinite(got_N)
    if len(np.unique(got_N[there])) < 2:
        return 0.0
    return float(spearmanr(asked_N[there], got_N[there]).statistic)


def print_sentences(where: str, table: pd.DataFrame, values_NM: NDArray[np.float64]) -> None:
    for prompt in table["prompt"].unique():
        of_prompt = values_NM[(table["prompt"] == prompt).to_numpy()]
        medians = {name: np.nanmedian(of_prompt[:, FEATURE_NAMES.index(name)]) for name in SPOKEN_OF}
        print(f"  '{prompt}', {where}: " + ", ".join(f"{name[9:]} {value:.3g}" for name, value in medians.items()))


if __name__ == "__main__":
    main()
