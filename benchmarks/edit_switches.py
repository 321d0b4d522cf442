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

from lfvar.data.dataset import LesionDataset
from lfvar.data.manifest import Manifest
from lfvar.evaluation.steering import Lesions, Setting, Steered, choose_donors, steer
from lfvar.evaluation.transformer import read_lesions, spreads_of
from lfvar.measure.settings import MeasureSettings
from lfvar.measure.statistics import read_standardiser
from lfvar.metrics.editing import background_psnr, seam_ratio
from lfvar.sampling.editing import EditConfig
from lfvar.sampling.guidance import Guidance
from lfvar.synthesizer import VAR_SAMPLING, Synthesizer

SWITCHES: Mapping[str, EditConfig] = {
    "default": EditConfig(),
    "skin not told": EditConfig(tell_skin=False),
    "ring 0": EditConfig(ring=0),
    "ring 2": EditConfig(ring=2),
    "1 scale kept": EditConfig(num_kept_scales=1),
    "2 scales kept": EditConfig(num_kept_scales=2),
    "3 scales kept": EditConfig(num_kept_scales=3),
    "no fill": EditConfig(fill=False),
    "no requantisation": EditConfig(requantise=False),
    "not covered": EditConfig(cover=False),
    "not overpainted": EditConfig(overpaint=0.0),
    "hard edge": EditConfig(feather=0.0),
    "skin matched": EditConfig(match_skin=True),
    "LF-VAR's rule": EditConfig(published_masks=True, fill=False, requantise=False, cover=False, overpaint=0.0),
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
    pairs = choose_donors(lesions.lesion_N, len(lesions), 0)
    chosen = {name: value for name, value in SWITCHES.items() if not arguments.only or name in arguments.only}
    sources = np.mean(
        [seam_ratio(image, mask) for image, mask in zip(lesions.image_NHWC, lesions.mask_NHW, strict=True)]
    )
    print(f"{len(pairs)} edits per row, guidance {arguments.strength:g}; seam of the sources {sources:.2f}\n")
    head = ("setting", "background dB", "seam", "control", "lightness", "contrast", "FD")
    print("| " + " | ".join(head) + " |\n" + "| --- " * len(head) + "|")
    shared = {
        "classes": synthesizer.classes,
        "known": synthesizer.feature_names,
        "spreads": spreads_of(manifest, arguments.folder),
        "standardiser": read_standardiser(arguments.folder, manifest),
        "measure": MeasureSettings(),
        "filters": VAR_SAMPLING,
    }
    for name, editing in chosen.items():
        setting = Setting("edit", "all", Guidance(arguments.strength), editing)
        cells = score(steer(synthesizer.run, lesions, pairs, setting, **shared), lesions, pairs)
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def score(steered: Steered, lesions: Lesions, pairs: Sequence[tuple[int, int]]) -> list[str]:
    sources = lesions.image_NHWC[[image for image, _ in pairs]]
    rows = zip(steered.raw_NHWC, steered.image_NHWC, sources, steered.mask_NHW, strict=True)
    backgrounds, seams = zip(
        *((background_psnr(raw, source, mask), seam_ratio(image, mask)) for raw, image, source, mask in rows),
        strict=True,
    )
    spearman = steered.control.set_index("feature")["spearman"]
    return [
        f"{np.nanmean(backgrounds):.1f}",
        f"{np.nanmean(seams):.2f}",
        f"{steered.summary()['spearman']:.2f}",
        f"{spearman['clinical_colour_lightness']:.2f}",
        f"{spearman['clinical_contrast_lightness']:.2f}",
        f"{steered.frechet:.0f}",
    ]


if __name__ == "__main__":
    main()
