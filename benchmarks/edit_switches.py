"""What each measure of an edit is worth: `python benchmarks/edit_switches.py RUN FOLDER`.

RUN is a transformer's run folder, FOLDER the prepared data. Held-out lesions are painted over with type and
measurements of other lesions, once per setting of `EditConfig`; the same seeds in each. Prints

- background: PSNR of the decoder's image outside of what was painted, before compositing, in dB (higher: kept better);
- seam: gradient across the border of the mask by gradients nearby, and what it is in the sources;
- control: median Spearman between asked and measured (image-dependent measurements), and of lightness and contrast;
- FD: Fréchet distance of measurements inside to those of the lesions asked for.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lfvar.data.dataset import LesionDataset
from lfvar.data.manifest import Manifest
from lfvar.evaluation.steering import Lesions, Setting, choose_donors, measure_all, plan_jobs
from lfvar.evaluation.transformer import read_lesions, spreads_of
from lfvar.measure.settings import MeasureSettings
from lfvar.measure.standardise import Standardiser
from lfvar.measure.statistics import read_standardiser
from lfvar.metrics.control import control_table, summarise_control
from lfvar.metrics.editing import background_psnr, seam_ratio
from lfvar.metrics.extractors import measurement_features
from lfvar.metrics.frechet import feature_distance
from lfvar.metrics.preservation import FOLLOWS_FROM_MASK
from lfvar.sampling.editing import EditConfig
from lfvar.sampling.guidance import Guidance
from lfvar.synthesizer import Synthesizer

SWITCHES: Mapping[str, EditConfig] = {
    "default": EditConfig(),
    "ring 0": EditConfig(ring=0),
    "ring 2": EditConfig(ring=2),
    "0 scales kept": EditConfig(num_kept_scales=0),
    "1 scale kept": EditConfig(num_kept_scales=1),
    "2 scales kept": EditConfig(num_kept_scales=2),
    "3 scales kept": EditConfig(num_kept_scales=3),
    "no fill": EditConfig(fill=False),
    "no requantisation": EditConfig(requantise=False),
    "hard edge": EditConfig(feather=0.0),
    "skin matched": EditConfig(match_skin=True),
    "LF-VAR's rule": EditConfig(published_masks=True, fill=False, requantise=False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=150)
    parser.add_argument("--strength", type=float, default=1.0, help="of guidance, for type and measurements")
    parser.add_argument("--only", nargs="*", help="names of settings")
    arguments = parser.parse_args()
    synthesizer = Synthesizer.from_run(arguments.run)
    manifest = Manifest.read(arguments.folder)
    rows = manifest.select(arguments.split)[: arguments.limit]
    dataset = LesionDataset(arguments.folder, rows, manifest.header.classes, manifest.header.image_size)
    lesions = read_lesions(dataset, arguments.folder, manifest)
    spreads = spreads_of(manifest, arguments.folder)
    standardiser = read_standardiser(arguments.folder, manifest)
    pairs = choose_donors(lesions.lesion_N, len(lesions), 0)
    chosen = {name: value for name, value in SWITCHES.items() if not arguments.only or name in arguments.only}
    sources = np.mean(
        [seam_ratio(image, mask) for image, mask in zip(lesions.image_NHWC, lesions.mask_NHW, strict=True)]
    )
    print(f"{len(pairs)} edits per row, guidance {arguments.strength:g}; seam of the sources {sources:.2f}\n")
    head = ("setting", "background dB", "seam", "control", "lightness", "contrast", "FD")
    print("| " + " | ".join(head) + " |\n" + "| --- " * len(head) + "|")
    for name, editing in chosen.items():
        cells = score(synthesizer, lesions, pairs, Setting("edit", "all", Guidance(arguments.strength), editing),
                      spreads, standardiser)  # fmt: skip
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def score(
    synthesizer: Synthesizer,
    lesions: Lesions,
    pairs: Sequence[tuple[int, int]],
    setting: Setting,
    spreads: Mapping[str, NDArray[np.float64]],
    standardiser: Standardiser,
) -> list[str]:
    jobs = plan_jobs(lesions, pairs, setting)
    results = list(synthesizer.run(jobs, guidance=setting.guidance, editing=setting.editing, batch_size=32))
    image_NHWC = np.stack([result.image_HWC for result in results])
    images, donors = ([pair[place] for pair in pairs] for place in (0, 1))
    mask_NHW = lesions.mask_NHW[images]
    background = [background_psnr(r.raw_HWC, job.image_HWC, job.painted) for r, job in zip(results, jobs, strict=True)]
    seams = [seam_ratio(image, mask) for image, mask in zip(image_NHWC, mask_NHW, strict=True)]
    measured_NM = measure_all(image_NHWC, mask_NHW, MeasureSettings(), 1)
    asked_NM = np.where(FOLLOWS_FROM_MASK, np.nan, lesions.values_NM[donors])
    table = control_table(asked_NM, measured_NM, [lesions.label_N[donor] for donor in donors], spreads)
    spearman = table.set_index("feature")["spearman"]
    frechet = feature_distance(
        measurement_features(measured_NM, standardiser), measurement_features(lesions.values_NM[donors], standardiser)
    )
    return [
        f"{np.nanmean(background):.1f}",
        f"{np.nanmean(seams):.2f}",
        f"{summarise_control(table)['depends on the image']['spearman_median']:.2f}",
        f"{spearman['clinical_colour_lightness']:.2f}",
        f"{spearman['clinical_contrast_lightness']:.2f}",
        f"{frechet:.0f}",
    ]


if __name__ == "__main__":
    main()
