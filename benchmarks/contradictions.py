"""How far an edit can follow lightness and contrast at once: `python benchmarks/contradictions.py FOLDER`.

FOLDER is prepared data with measurements. Every held-out lesion is asked for lightness and contrast of another one, as
`lfvar.evaluate target=transformer` does. On skin of another tone both cannot be had: the script meets the asked
lightness exactly, the asked contrast exactly, or something between, and prints the Spearman correlations of each.
No model is involved: these are ceilings.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from lfvar.data.manifest import Manifest
from lfvar.evaluation.steering import choose_donors
from lfvar.measure.run import read_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--pairs", type=int, default=200)
    arguments = parser.parse_args()
    manifest = Manifest.read(arguments.folder)
    rows = [row for row in manifest.select(arguments.split) if row.lesion_fraction > 0]
    table = read_table(arguments.folder, manifest).set_index("image_id").loc[[row.image_id for row in rows]]
    lightness, contrast = (table[f"clinical_{name}_lightness"].to_numpy() for name in ("colour", "contrast"))
    skin = lightness + contrast
    pairs = choose_donors([row.lesion_id or row.image_id for row in rows], arguments.pairs, 0)
    image, donor = np.array(pairs).T
    print("| share of the lightness asked | Spearman, lightness | Spearman, contrast |\n| --- | --- | --- |")
    for share in (1.0, 0.75, 0.5, 0.25, 0.0):
        got = share * lightness[donor] + (1 - share) * (skin[image] - contrast[donor])
        cells = (spearmanr(lightness[donor], got)[0], spearmanr(contrast[donor], skin[image] - got)[0])
        print(f"| {share:g} | {cells[0]:.2f} | {cells[1]:.2f} |")


if __name__ == "__main__":
    main()
