"""Do sweeps move what they ask for? `python benchmarks/sweep_strips.py FOLDER [FOLDER …] --segmenter PATH`.

Each FOLDER is what `lfvar.generate mode=sweep` (or `mode=prompt`) wrote. For a sweep it prints, over its strips, the
rank correlation between the value asked and the value measured again: inside the mask that was asked for, and inside
what a segmenter finds in the image, which owes nothing to the mask. For prompts, medians of what sentences speak of.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from lfvar.data.generated import read_generated
from lfvar.data.imageio import read_image, read_mask
from lfvar.data.manifest import Manifest
from lfvar.evaluation.steering import measure_all
from lfvar.interop.segmenters import load_segmenter, segment_lesions
from lfvar.measure.schema import FEATURE_NAMES
from lfvar.measure.settings import MeasureSettings

SPOKEN_OF = (
    "clinical_relative_area",
    "clinical_colour_lightness",
    "clinical_asymmetry_shape_max",
    "clinical_border_compactness",
    "clinical_centroid_x",
    "clinical_centroid_y",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--segmenter", type=Path)
    arguments = parser.parse_args()
    segmenter = load_segmenter(arguments.segmenter) if arguments.segmenter else None
    for folder in arguments.folders:
        manifest, table = Manifest.read(folder), read_generated(folder).set_index("image_id")
        rows = list(manifest.rows)
        image_NHWC = np.stack([read_image(folder / row.image) for row in rows])
        mask_NHW = np.stack([read_mask(folder / row.mask) for row in rows])
        measured = {"asked mask": measure_all(image_NHWC, mask_NHW, MeasureSettings(), 1)}
        if segmenter is not None:
            image_NCHW = torch.from_numpy(image_NHWC).permute(0, 3, 1, 2).float() / 127.5 - 1
            found_NHW = segment_lesions(segmenter.net, image_NCHW)
            measured["found lesion"] = measure_all(image_NHWC, found_NHW, MeasureSettings(), 1)
        table = table.loc[[row.image_id for row in rows]]
        print(f"{folder.name}: {len(rows)} images")
        for where, values_NM in measured.items():
            if table["mode"].iloc[0] == "sweep":
                print_strips(where, table, values_NM)
            else:
                print_sentences(where, table, values_NM)


def print_strips(where: str, table, values_NM: np.ndarray) -> None:  # noqa: ANN001
    feature = table.attrs["header"]["settings"]["source"]["sweep"]["feature"]
    asked_N = table[f"asked_{feature}"].to_numpy()
    got_N = values_NM[:, FEATURE_NAMES.index(feature)]
    strips = [(table["source_id"] == source).to_numpy() for source in table["source_id"].unique()]
    ranks = [spearmanr(asked_N[strip], got_N[strip], nan_policy="omit").statistic for strip in strips]
    print(f"  {feature}, {where}: mean {np.mean(ranks):.2f}, by strip {', '.join(f'{rank:.2f}' for rank in ranks)}")


def print_sentences(where: str, table, values_NM: np.ndarray) -> None:  # noqa: ANN001
    for prompt in table["prompt"].unique():
        of_prompt = values_NM[(table["prompt"] == prompt).to_numpy()]
        medians = {name: np.nanmedian(of_prompt[:, FEATURE_NAMES.index(name)]) for name in SPOKEN_OF}
        print(f"  '{prompt}', {where}: " + ", ".join(f"{name[9:]} {value:.3g}" for name, value in medians.items()))


if __name__ == "__main__":
    main()
