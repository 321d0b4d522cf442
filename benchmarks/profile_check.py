"""Do drawn measurement vectors pass for real ones? Marginals, correlations and a two-sample test on held-out lesions.

    python benchmarks/profile_check.py --folder PREPARED_AND_MEASURED

Profiles are fitted on the training lesions; held-out are the validation and test lesions; one image per lesion on both
sides. Beside each number stands the floor: real training rows instead of draws, at the same counts. The last column
group is a sampler with the right marginals and independent features, which the check has to catch.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from pathlib import Path

import numpy as np

from lfvar.data.manifest import Manifest
from lfvar.measure.labelled import label_table
from lfvar.measure.profile_check import MEASURES, ProfileCheckConfig, check_profiles
from lfvar.measure.profiles import Profiles
from lfvar.measure.schema import FEATURE_NAMES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="prepared and measured folder")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    from lfvar.measure.run import read_table

    manifest = Manifest.read(arguments.folder)
    rows = label_table(manifest, read_table(arguments.folder, manifest)).drop_duplicates("lesion")
    train, held_out = rows[rows["split"] == "train"], rows[rows["split"] != "train"]
    names, classes = list(FEATURE_NAMES), manifest.header.classes
    profiles = Profiles.fit(train, train["label"].tolist(), names, classes=classes)
    independent = dataclasses.replace(
        profiles,
        types=tuple(dataclasses.replace(one, correlation_MM=np.eye(len(names))) for one in profiles.types),
    )
    config = ProfileCheckConfig(seed=arguments.seed, repeats=arguments.repeats)
    labels, held_out_labels = train["label"].tolist(), held_out["label"].tolist()
    drawn = check_profiles(profiles, train, labels, held_out, held_out_labels, config)
    once = dataclasses.replace(config, repeats=1)
    broken = check_profiles(independent, train, labels, held_out, held_out_labels, once)
    print(f"`python {shlex.join(sys.argv)}`\n")
    print(f"{len(train)} lesions to fit on, {len(held_out)} held out, {len(names)} features.\n")
    titles = {"ks": "KS", "correlation_error": "correlation error", "auc": "two-sample AUC"}
    heads = [f"{title} | floor (highest) | independent" for title in titles.values()]
    print(f"| type | lesions | fitted on | shrinkage | {' | '.join(heads)} |")
    print("| --- |" + " ---: |" * (3 + 3 * len(MEASURES)))
    for row, other in zip(drawn.to_dict("records"), broken.to_dict("records"), strict=True):
        known = row["type"] in profiles.labels
        cells = [str(row["type"]), str(row["count"])]
        cells += (
            [str(profiles.of(row["type"]).count), f"{profiles.of(row['type']).shrinkage:.2f}"] if known else ["", ""]
        )
        for measure in MEASURES:
            floor, highest = row[f"{measure}_floor"], row[f"{measure}_floor_highest"]
            cells += [f"**{row[measure]:.3f}**", f"{floor:.3f} ({highest:.3f})", f"{other[measure]:.3f}"]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
