"""Do the metrics notice? `python benchmarks/corrupted_sets.py PREPARED [--images 60] [--types nv mel] [--no-lite]`.

Takes real images of a prepared folder, splits their lesions into three parts, leaves two as they are (reference and
training images) and spoils the third at rising strength: blur, noise, colour shift, images of the other types under
the wrong name, one image repeated, training images copied. Distances are per type, averaged. A star: worse than two
halves of the reference by more than three standard deviations of random draws. The last lines say whether each metric
that should notice does, and whether it gets worse with each step.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lfvar.metrics.diversity import alikeness, draw_pairs
from lfvar.metrics.frechet import Spread
from lfvar.metrics.memorisation import compare_distances, nearest_inside_mask, shrink
from lfvar.metrics.set_scores import LOWER_IS_BETTER, METRICS, ScoreSettings, score_sets

Pixels = NDArray[np.uint8]
Array = NDArray[np.float64]
Embed = Callable[[Pixels, NDArray[np.bool_]], Array]
"""Images BHWC and masks BHW to features (B, D)."""
STRENGTHS = (0, 1, 2, 3)
SHARES = (0.0, 0.2, 0.5, 0.9)
"""Of the images that are replaced, where a corruption replaces images."""


@dataclass(frozen=True)
class Images:
    """Some images with masks and types."""

    image_NHWC: Pixels
    mask_NHW: NDArray[np.bool_]
    label_N: NDArray[np.str_]

    def take(self, index: NDArray[np.int64]) -> Images:
        """Some of them, in this order."""
        return Images(self.image_NHWC[index], self.mask_NHW[index], self.label_N[index])

    def replaced(self, rows: NDArray[np.int64], other: Images, by: NDArray[np.int64]) -> Images:
        """Images and masks of some rows replaced by others; types stay as they were asked for."""
        image_NHWC, mask_NHW = self.image_NHWC.copy(), self.mask_NHW.copy()
        image_NHWC[rows], mask_NHW[rows] = other.image_NHWC[by], other.mask_NHW[by]
        return Images(image_NHWC, mask_NHW, self.label_N)


def spoil(clean: Images, train: Images, how: str, strength: int, seed: int = 0) -> Images:
    """The images, spoiled; strength 0 leaves them as they are.

    Raises:
        KeyError: There is no such corruption.
    """
    rng = np.random.default_rng(seed)
    count = len(clean.label_N)
    rows = rng.permutation(count)[: round(SHARES[strength] * count)]
    if how in PIXELS:
        image_NHWC = clean.image_NHWC if strength == 0 else PIXELS[how](clean.image_NHWC, strength, rng)
        return Images(image_NHWC, clean.mask_NHW, clean.label_N)
    if how == "wrong type":
        by = [rng.choice(np.flatnonzero(clean.label_N != clean.label_N[row])) for row in rows]
        return clean.replaced(rows, clean, np.array(by, np.int64))
    if how == "one image repeated":
        by = [np.flatnonzero(clean.label_N == clean.label_N[row])[0] for row in rows]
        return clean.replaced(rows, clean, np.array(by, np.int64))
    if how == "copies":
        by = [rng.choice(np.flatnonzero(train.label_N == clean.label_N[row])) for row in rows]
        return clean.replaced(rows, train, np.array(by, np.int64))
    raise KeyError(how)


def _blur(image_NHWC: Pixels, strength: int, rng: np.random.Generator) -> Pixels:
    sigma = max(1.0, image_NHWC.shape[1] / 64) * (0, 0.5, 1.0, 2.0)[strength]
    return np.stack([cv2.GaussianBlur(image, (0, 0), sigma) for image in image_NHWC])


def _noise(image_NHWC: Pixels, strength: int, rng: np.random.Generator) -> Pixels:
    moved = image_NHWC + rng.normal(0, (0, 4, 10, 25)[strength], image_NHWC.shape)
    return np.clip(moved, 0, 255).round().astype(np.uint8)


def _colour_shift(image_NHWC: Pixels, strength: int, rng: np.random.Generator) -> Pixels:
    moved = image_NHWC + np.array((-1, 0.3, 1)) * (0, 6, 15, 35)[strength]
    return np.clip(moved, 0, 255).round().astype(np.uint8)


PIXELS = {"blur": _blur, "noise": _noise, "colour shift": _colour_shift}
CORRUPTIONS = (*PIXELS, "wrong type", "one image repeated", "copies")
DISTANCES = ("fd", "kid")
SHOULD_NOTICE: Mapping[str, Sequence[str]] = {
    "blur": DISTANCES,
    "noise": DISTANCES,
    "colour shift": DISTANCES,
    "wrong type": DISTANCES,
    "one image repeated": ("fd", "coverage", "MS-SSIM"),
    "copies": ("near copies",),
}
"""What must have a star at the highest strength, in every feature space.

Recall is not among them: the few images beside the repeated one have balls wide enough to reach most real ones.
"""


def score(
    spoiled: Images,
    reference: Images,
    train: Images,
    embeds: Mapping[str, Embed],
    known: dict[tuple[str, bytes], Array],
) -> list[dict[str, object]]:
    """All metrics of a spoiled set: a row each with `metric`, `space`, `value`, `floor`, `std`, `better`."""
    rows: list[dict[str, object]] = []
    types = list(dict.fromkeys(reference.label_N))
    for space, embed in embeds.items():
        a_ND, b_MD = (_features(space, embed, images, known) for images in (spoiled, reference))
        per_type = [
            score_sets(
                _finite(a_ND[spoiled.label_N == label]),
                _finite(b_MD[reference.label_N == label]),
                ScoreSettings(num_bootstrap=0),
            )
            for label in types
        ]
        for index, metric in enumerate(METRICS):
            cells = [scores[index] for scores in per_type]
            std = math.sqrt(sum(cell.floor.std**2 for cell in cells)) / len(cells)
            value, floor = (
                float(np.mean(side)) for side in zip(*((c.matched.mean, c.floor.mean) for c in cells), strict=True)
            )
            better = -1 if metric in LOWER_IS_BETTER else 1
            rows.append(
                {"metric": metric, "space": space, "value": value, "floor": floor, "std": std, "better": better}
            )
    sides = []
    for images in (spoiled, reference):
        found = alikeness(images.image_NHWC.__getitem__, draw_pairs(list(images.label_N), 150, 0), num_bootstrap=100)
        sides.append(Spread(found.mean, (found.interval.high - found.interval.low) / 4))
    std = math.hypot(sides[0].std, sides[1].std)
    rows.append(
        {"metric": "MS-SSIM", "space": "", "value": sides[0].mean, "floor": sides[1].mean, "std": std, "better": -1}
    )
    small = [shrink(images.image_NHWC, images.mask_NHW) for images in (spoiled, reference, train)]
    near = compare_distances("pixels", *(nearest_inside_mask(*part, small[2][0]) for part in small[:2]))
    std = math.sqrt(near.expected / len(spoiled.label_N))
    rows.append(
        {
            "metric": "near copies",
            "space": "",
            "value": near.share_near,
            "floor": near.expected,
            "std": std,
            "better": -1,
        }
    )
    return rows


def run(clean: Images, reference: Images, train: Images, embeds: Mapping[str, Embed]) -> pd.DataFrame:
    """All corruptions at all strengths: one row per metric, with `noticed`."""
    known: dict[tuple[str, bytes], Array] = {}
    rows = []
    for how in CORRUPTIONS:
        for strength in STRENGTHS[1:] if rows else STRENGTHS:
            name = how if strength else "nothing"
            found = score(spoil(clean, train, how, strength), reference, train, embeds, known)
            rows += [{"corruption": name, "strength": strength, **row} for row in found]
            print(f"{name} {strength}", file=sys.stderr, flush=True)
    table = pd.DataFrame(rows)
    table["noticed"] = (table["floor"] - table["value"]) * table["better"] > 3 * table["std"]
    return table


def judge(table: pd.DataFrame) -> pd.DataFrame:
    """For each corruption and metric that should notice: in which spaces it does, and whether it worsens every step."""
    rows = []
    for how, metrics in SHOULD_NOTICE.items():
        for metric in metrics:
            part = table[(table["corruption"].isin([how, "nothing"])) & (table["metric"] == metric)]
            for space, cells in part.groupby("space", sort=False):
                cells = cells.sort_values("strength")
                steps = np.diff(cells["value"] * -cells["better"])
                first = cells.loc[cells["noticed"] & (cells["strength"] > 0), "strength"]
                rows.append(
                    {
                        "corruption": how,
                        "metric": metric,
                        "space": space,
                        "noticed": bool(cells["noticed"].iloc[-1]),
                        "first": int(first.min()) if len(first) else None,
                        "worse with each step": bool((steps > 0).all()),
                    }
                )
    return pd.DataFrame(rows)


def print_tables(table: pd.DataFrame) -> None:
    """Markdown: values with stars, then what noticed."""
    table = table.assign(
        column=[f"{m} ({s})" if s else m for m, s in zip(table["metric"], table["space"], strict=True)]
    )
    columns = list(dict.fromkeys(table["column"]))
    floors = table.drop_duplicates("column").set_index("column")["floor"]
    print("| | " + " | ".join(columns) + " |\n| --- |" + " ---: |" * len(columns))
    print("| two real halves | " + " | ".join(f"{floors[column]:.3g}" for column in columns) + " |")
    for (how, strength), rows in table.groupby(["corruption", "strength"], sort=False):
        cells = rows.set_index("column")
        shown = [f"{cells.loc[c, 'value']:.3g}{' *' if cells.loc[c, 'noticed'] else ''}" for c in columns]
        print(f"| {how}{f' {strength}' if strength else ''} | " + " | ".join(shown) + " |")
    print("\n| corruption | metric | noticed from strength | worse with each step |\n| --- | --- | --- | --- |")
    for _, row in judge(table).iterrows():
        name = f"{row['metric']} ({row['space']})" if row["space"] else row["metric"]
        first = f"{row['first']:.0f}" if row["noticed"] else "not noticed"
        print(f"| {row['corruption']} | {name} | {first} | {'yes' if row['worse with each step'] else 'no'} |")


def read_parts(folder: Path, types: Sequence[str], count: int) -> list[Images]:
    """Three sets of `count` images of each type that share no lesion; the second has twice as many, to be halved."""
    from lfvar.data.manifest import Manifest
    from lfvar.evaluation.sets import open_set

    images = open_set("real", folder, Manifest.read(folder))
    rng = np.random.default_rng(0)
    parts: list[list[int]] = [[], [], []]
    for label in types:
        mine = images.of_type(label)
        lesions = rng.permutation(sorted({images.rows[i].lesion_id or images.rows[i].image_id for i in mine}))
        firsts = {images.rows[i].lesion_id or images.rows[i].image_id: int(i) for i in mine}  # one image of each lesion
        if len(lesions) < 4 * count:
            raise SystemExit(f"{label} has {len(lesions)} lesions, {4 * count} are needed: use --images or --types")
        for part, (low, high) in zip(parts, ((0, 1), (1, 3), (3, 4)), strict=True):
            part += [firsts[lesion] for lesion in lesions[low * count : high * count]]
    found = []
    for part in parts:
        pixels = [images.read(index) for index in part]
        labels = np.array([images.rows[index].label for index in part])
        found.append(Images(np.stack([image for image, _ in pixels]), np.stack([mask for _, mask in pixels]), labels))
    return found


def find_embeds(folder: Path, *, lite: bool) -> dict[str, Embed]:
    """Measurements on the scales of the folder, and lite0."""
    import torch

    from lfvar.data.manifest import Manifest
    from lfvar.measure.extract import measure
    from lfvar.measure.statistics import read_standardiser
    from lfvar.metrics.extractors import measurement_features
    from lfvar.metrics.set_extractors import find_set_extractors

    standardiser = read_standardiser(folder, Manifest.read(folder))

    def measured(image_BHWC: Pixels, mask_BHW: NDArray[np.bool_]) -> Array:
        rows = [measure(image, mask).values for image, mask in zip(image_BHWC, mask_BHW, strict=True)]
        return measurement_features(np.stack(rows), standardiser)

    embeds: dict[str, Embed] = {"measurements": measured}
    if lite:
        (extractor,), _ = find_set_extractors(["lite0"], torch.device("cpu"))
        embeds = {"lite0": lambda image_BHWC, mask_BHW: extractor.embed(image_BHWC), **embeds}
    return embeds


def _features(space: str, embed: Embed, images: Images, known: dict[tuple[str, bytes], Array]) -> Array:
    """Features of images, each of which is embedded once however often it comes."""
    keys = [(space, i.tobytes() + m.tobytes()) for i, m in zip(images.image_NHWC, images.mask_NHW, strict=True)]
    new = list({key: index for index, key in enumerate(keys) if key not in known}.values())
    for first in range(0, len(new), 32):
        part = new[first : first + 32]
        for index, vector_D in zip(part, embed(images.image_NHWC[part], images.mask_NHW[part]), strict=True):
            known[keys[index]] = vector_D
    return np.stack([known[key] for key in keys])


def _finite(vectors_ND: Array) -> Array:
    return vectors_ND[np.isfinite(vectors_ND).all(axis=1)]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--types", nargs="+", default=["nv", "mel"])
    parser.add_argument("--no-lite", action="store_true")
    options = parser.parse_args(arguments)
    clean, reference, train = read_parts(options.folder, options.types, options.images)
    print_tables(run(clean, reference, train, find_embeds(options.folder, lite=not options.no_lite)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
