"""The report on a steered transformer: JSON for machines, Markdown for people, tables of single rows, pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lfvar.data.files import replace_file
from lfvar.data.imageio import write_png
from lfvar.evaluation.steering import Lesions, Steered, Task
from lfvar.figures.panels import RGB
from lfvar.figures.steering import draw_steered
from lfvar.metrics.control import summarise_control
from lfvar.metrics.tokenizer_page import table

FEATURES = (
    "clinical_relative_area",
    "clinical_border_compactness",
    "clinical_border_radial_variation",
    "clinical_asymmetry_shape_max",
    "clinical_colour_lightness",
    "clinical_colour_redness",
    "clinical_colour_variegation",
    "clinical_contrast_lightness",
    "histogram_mean",
    "histogram_variance",
    "texture_glcm_joint_entropy",
    "texture_glrlm_run_length_non_uniformity",
)
"""Single measurements that the page shows; all are in the tables beside it."""


@dataclass(frozen=True)
class TransformerReport:
    """What was found."""

    tokens: dict[str, dict[str, float]]
    """From `score_tokens`."""
    ceilings: dict[str, pd.DataFrame]
    """Control tables of real lesions asked for themselves: what tokenizer and segmenter would allow."""
    steered: list[Steered]
    about: dict[str, Any]
    notes: list[str]

    @property
    def rows(self) -> pd.DataFrame:
        """One row per setting."""
        return pd.DataFrame([item.summary() for item in self.steered])

    @property
    def features(self) -> pd.DataFrame:
        """One row per setting and feature."""
        keys = ("task", "told", "class_strength", "measurement_strength")
        return pd.concat([item.control.assign(**{key: item.summary()[key] for key in keys}) for item in self.steered])

    def to_dict(self) -> dict[str, Any]:
        """Plain data; NaN is null."""
        return {
            "about": self.about,
            "tokens": self.tokens,
            "ceilings": {name: summarise_control(table) for name, table in self.ceilings.items()},
            "settings": self.rows.astype(object).where(self.rows.notna(), None).to_dict("records"),
            "notes": self.notes,
        }


def describe(steered: Steered) -> str:
    """One line while the work goes on."""
    row = steered.summary()
    agreement = "" if row["type_agreement"] is None else f", type agreement {row['type_agreement']:.2f}"
    return (
        f"{row['task']}, told {row['told']}, guidance {row['class_strength']:g} / {row['measurement_strength']:g}: "
        f"Spearman {row['spearman']:.2f} (within types {row['within_type']:.2f}){agreement}"
    )


def render_page(report: TransformerReport) -> str:
    """The report as Markdown."""
    parts = [
        "# Transformer report",
        table(("", ""), [(key, str(value)) for key, value in report.about.items()]),
        "## Next-scale prediction\n\nNats per token / accuracy on images not trained on, coarser scales given.",
        _token_table(report),
        "## Control\n\nSpearman between asked and measured, median over measurements; donors are other lesions of the "
        "split. Within types: after each type's mean is taken away. Error in units of the type's spread. FD: Fréchet "
        "distance of measurements to the donors'. Told relative: without lightness and colour in themselves, which "
        "contradict a donor's contrast on other skin. Rows that are told less are the floor. The last rows are "
        "ceilings: real lesions, reconstructed by the tokenizer, measured in their own masks or in those that the "
        "segmenter finds.",
        _control_table(report),
        "## Single measurements\n\nSpearman between asked and measured.",
        _feature_table(report),
    ]
    if report.notes:
        parts.append("\n".join(f"- {note}" for note in report.notes))
    return "\n\n".join(parts) + "\n"


def write_report(
    folder: Path, report: TransformerReport, lesions: Lesions, pairs: Sequence[tuple[int, int]]
) -> dict[str, str]:
    """Write report.json, report.md, settings.csv, features.csv and pictures.

    Returns:
        Paths by what they are.
    """
    texts = {
        "report": ("report.json", json.dumps(report.to_dict(), indent=2, default=str) + "\n"),
        "report to read": ("report.md", render_page(report)),
        "settings": ("settings.csv", report.rows.to_csv(index=False)),
        "features": ("features.csv", report.features.to_csv(index=False)),
    }
    for name, text in texts.values():
        replace_file(folder / name, text.encode())
    files = {what: str(folder / name) for what, (name, _) in texts.items()}
    for task in dict.fromkeys(item.setting.task for item in report.steered):
        path = folder / f"{task}.png"
        write_png(path, draw_task(task, report.steered, lesions, pairs))
        files[f"picture of {task}"] = str(path)
    return files


def draw_task(
    task: Task, steered: Sequence[Steered], lesions: Lesions, pairs: Sequence[tuple[int, int]], num_rows: int = 8
) -> RGB:
    """The first pair of each type that was asked for, then further pairs."""
    asked = [lesions.label_N[donor] for _, donor in pairs]
    first = list({label: row for row, label in reversed(list(enumerate(asked)))}.values())[::-1]
    rows = (sorted(first) + [row for row in range(len(pairs)) if row not in first])[:num_rows]
    images, donors = ([pair[place] for pair in pairs] for place in (0, 1))
    given = {"asked for": (lesions.image_NHWC[donors], lesions.mask_NHW[donors])}
    if task in ("edit", "transplant"):
        given = {"source": (lesions.image_NHWC[images], lesions.mask_NHW[images])} | given
    made = {
        ", ".join(_names(item)[1:]): (item.image_NHWC, item.mask_NHW) for item in steered if item.setting.task == task
    }
    return draw_steered(rows, given, made, outlined=task != "edit")


def _token_table(report: TransformerReport) -> str:
    first = next(iter(report.tokens.values()))
    sides = [name.removeprefix("loss") for name in first if name.startswith("loss_") and "x" in name]
    rows = []
    for told, score in report.tokens.items():
        cells = [f"{score[f'loss{tail}']:.3f} / {score[f'accuracy{tail}']:.3f}" for tail in ("", *sides)]
        rows.append((told, *cells))
    return table(("told", "all scales", *(side.removeprefix("_") for side in sides)), rows)


def _control_table(report: TransformerReport) -> str:
    columns = {
        "histogram": "spearman_histogram",
        "texture": "spearman_texture",
        "clinical": "spearman_clinical",
        "all three": "spearman",
        "within types": "within_type",
        "error": "error",
        "shape": "spearman_mask",
        "type agreement": "type_agreement",
    }
    rows = []
    for item in report.steered:
        row = item.summary()
        numbers = (_show(row[name]) for name in columns.values())
        rows.append((*_names(item), *numbers, _show(row["frechet_measurements"], 1)))
    groups = ("histogram", "texture", "clinical", "depends on the image")
    for name, control in report.ceilings.items():
        parts = summarise_control(control)
        whole = parts["depends on the image"]
        ceiling = [*(parts[group]["spearman_median"] for group in groups)]
        ceiling += [whole["within_type_median"], whole["error_median"]]
        ceiling.append(parts["from the mask"]["spearman_median"] if "segmenter" in name else math.nan)
        rows.append((f"ceiling: {name}", "–", "–", *(_show(value) for value in ceiling), "–", "–"))
    return table(("task", "told", "guidance", *columns, "FD"), rows)


def _feature_table(report: TransformerReport) -> str:
    controls = {", ".join(_names(item)): item.control for item in report.steered}
    controls |= {f"ceiling: {name}": control for name, control in report.ceilings.items()}
    rows = []
    for name, control in controls.items():
        spearman = control.set_index("feature")["spearman"]
        rows.append((name, *(_show(spearman[feature]) for feature in FEATURES)))
    return table(("", *(name.split("_", 1)[1].replace("_", " ") for name in FEATURES)), rows)


def _names(item: Steered) -> tuple[str, str, str]:
    strength = item.measurement_strength
    return item.setting.task, item.setting.told, f"{item.setting.guidance.class_strength:g} / {strength:g}"


def _show(value: float | None, digits: int = 2) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"
