"""The report on generated images as files: JSON, Markdown, tables of single rows, one HTML page with its figures."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lfvar.data.files import replace_file
from lfvar.evaluation.page import Section, render_html, render_markdown
from lfvar.evaluation.set_report import ALL, SetReport
from lfvar.metrics.inception import MIN_COUNT_2048
from lfvar.metrics.memorisation import NEAR_QUANTILE, PIXEL_SIDE
from lfvar.metrics.tokenizer_report import Row, show

TITLE = "Generated images: report"
FIDELITY_HEAD: Row = ("metric", "generated", "two real halves", "m", "all images", "95 % interval", "counts", "warning")


def write_set_report(folder: Path, report: SetReport, figures: Mapping[str, Path]) -> dict[str, str]:
    """Write report.json, report.md, report.html and tables; the same report and figures give the same bytes.

    Args:
        folder: Where to.
        report: The numbers.
        figures: PNG files by name, inside `folder`.

    Returns:
        Paths by what they are.
    """
    sections = make_sections(report, list(figures))
    plain = json.dumps(report.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    texts = {
        "report": ("report.json", plain),
        "report to read": ("report.md", render_markdown(TITLE, sections, figures, folder)),
        "page": ("report.html", render_html(TITLE, sections, figures)),
        "fidelity": ("fidelity.csv", report.fidelity.to_csv(index=False)),
        "images": ("images.csv", report.images.to_csv(index=False)),
    }
    if report.control is not None:
        texts["control"] = ("control.csv", report.control.to_csv(index=False))
    if report.matrix is not None:
        texts["matrix"] = ("matrix.csv", report.matrix.to_csv())
    for name, text in texts.values():
        replace_file(folder / name, text.encode())
    return {what: str(folder / name) for what, (name, _) in texts.items()}


def make_sections(report: SetReport, figures: Sequence[str]) -> list[Section]:
    """What the page says, part by part; parts without numbers are left out."""
    about = [(key, str(value)) for key, value in _flat({**report.about, "settings": report.settings}).items()]
    counts = [
        (name, str(part["images"]), *(str(count) for count in part["types"].values()))
        for name, part in report.counts.items()
    ]
    types = tuple(next(iter(report.counts.values()))["types"])
    sections = [
        Section("Findings", "\n".join(f"- {line}" for line in report.findings), figures=_pick(figures, "examples")),
        Section("Images", tables=[(("set", "images", *types), counts)]),
        *_fidelity_sections(report, figures),
        _diversity_section(report),
        *_control_sections(report, figures),
        *_type_sections(report),
        *_background_sections(report),
        *_memory_sections(report, figures),
    ]
    if report.matrix is not None:
        head = ("source ↓ generated →", *map(str, report.matrix.columns))
        rows = [(str(name), *(show(value, 4) for value in row)) for name, row in report.matrix.iterrows()]
        sections.append(
            Section("Source type × generated type", report.matrix_title + ".", [(head, rows)], _pick(figures, "matrix"))
        )
    if report.notes:
        sections.append(Section("Notes", "\n".join(f"- {note}" for note in report.notes)))
    return [*sections, Section("What made this", tables=[(("", ""), about)])]


def fidelity_rows(report: SetReport, space: str, group: str = ALL) -> list[Row]:
    """Rows of the main table for one space and group."""
    rows = report.fidelity
    rows = rows[(rows["space"] == space) & (rows["group"] == group)]
    return [
        (
            str(row["title"]),
            f"{_short(row['matched'])} ± {_short(row['matched_std'], 2)}",
            f"{_short(row['floor'])} ± {_short(row['floor_std'], 2)}",
            str(row["num_matched"]),
            _short(row["value"]),
            f"{_short(row['low'])} to {_short(row['high'])}" if math.isfinite(row["low"]) else "–",
            f"{row['num_generated']} / {row['num_real']}",
            str(row["warning"]),
        )
        for _, row in rows.iterrows()
    ]


def _fidelity_sections(report: SetReport, figures: Sequence[str]) -> list[Section]:
    if not report.spaces:
        return []
    intro = (
        "*Generated*: m generated images against one half of the real ones, m images; *two real halves*: m real images "
        "against m others, the floor that nothing can beat on average (mean ± standard deviation over "
        f"{report.settings['num_splits']} random draws). These two compare. *All images* uses every image and so has "
        "another floor; its interval is a bootstrap over images. Only distances in Inception features are called FID "
        f"and KID; FID at 2048 features is refused below {MIN_COUNT_2048} images."
    )
    sections = [Section("Fidelity", intro.replace("*", ""))]
    for entry in report.spaces:
        tables = [(FIDELITY_HEAD, fidelity_rows(report, entry.space))]
        title = f"In {entry.space} ({entry.dimensions} dimensions, {entry.weights_hash})"
        per_type: list[Row] = []
        for group in entry.groups:
            if group != ALL:
                per_type += [(group, *row) for row in fidelity_rows(report, entry.space, group)]
        if per_type:
            tables.append((("type", *FIDELITY_HEAD), per_type))
        sections.append(Section(title, tables=tables, figures=_pick(figures, f"scores_{file_name(entry.space)}")))
    return sections


def _diversity_section(report: SetReport) -> Section:
    rows = [
        (
            name,
            show(value.mean, 3),
            f"{show(value.interval.low, 3)} to {show(value.interval.high, 3)}",
            f"{value.num_pairs}, {value.num_scales} scales",
            _spread(report, name),
        )
        for name, value in report.alikeness.items()
    ]
    text = (
        "MS-SSIM of random pairs of one type: the higher, the more alike; above the real images' it means less variety."
        " Inception Score: needs the extra inception."
    )
    return Section("Variety", text, [(("images", "MS-SSIM", "95 % interval", "pairs", "Inception Score"), rows)])


def _spread(report: SetReport, name: str) -> str:
    found = report.inception_score.get(name)
    return "–" if found is None else f"{show(found.mean, 2)} ± {show(found.std, 2)}"


def _control_sections(report: SetReport, figures: Sequence[str]) -> list[Section]:
    if report.control is None:
        return []
    head = ("measurements", "number", "Spearman", "within type", "≥ 0.5", "error, sd of the type", "ceiling")
    rows = [
        (
            part,
            str(row["features"]),
            show(row["spearman_median"], 3),
            show(row["within_type_median"], 3),
            f"{row['share_controlled']:.0%}" if math.isfinite(row["share_controlled"]) else "–",
            show(row["error_median"], 2),
            show(_ceiling(report.control, part), 3),
        )
        for part, row in report.control_summary.items()
        if row["features"]
    ]
    text = (
        "Every generated image is measured again and compared with what was asked: medians over measurements. Ceiling: "
        "rank correlation of real images with their reconstructions by the tokenizer. One row per measurement: "
        "control.csv."
    )
    return [Section("Control", text, [(head, rows)], _pick(figures, "control"))]


def _ceiling(control: pd.DataFrame, part: str) -> float:
    if "ceiling_spearman" not in control:
        return float("nan")
    rows = control[control["follows_from_mask"] == (part == "from the mask")]
    rows = rows[rows["group"] == part] if part in set(rows["group"]) else rows
    return float(rows["ceiling_spearman"].median())


def _type_sections(report: SetReport) -> list[Section]:
    agreement = report.type_agreement
    if agreement is None:
        return []
    rows = [
        (
            str(label),
            str(row["count"]),
            _percent(row["share"]),
            f"{_percent(row['low'])} to {_percent(row['high'])}",
            str(row["real_count"]),
            _percent(row["real_share"]),
        )
        for label, row in agreement.rows.iterrows()
    ]
    text = (
        f"A classifier trained on real images ({agreement.about.get('file', 'unnamed')}) takes "
        f"{agreement.agreement:.1%} of the generated images for the type that was asked. On the real images here it is "
        f"right in {agreement.accuracy:.1%}, balanced accuracy {agreement.balanced_accuracy:.1%}."
    )
    head = ("type", "generated", "taken for it", "95 % interval", "real", "recognised")
    counts = agreement.predicted
    confusion = [(str(name), *map(str, row)) for name, row in counts.iterrows()]
    return [Section("Types", text, [(head, rows), (("asked ↓ predicted →", *map(str, counts.columns)), confusion)])]


def _background_sections(report: SetReport) -> list[Section]:
    background = report.background
    if background is None:
        return []
    text = (
        f"Outside the mask {background.num_identical} of {background.num_edits} edits are their source, byte for byte."
    )
    raw = np.asarray(background.raw_psnr_N)
    if len(raw):
        text += f" Before compositing: median PSNR {np.median(raw):.1f} dB, lowest {raw.min():.1f} dB."
    else:
        text += " Images before compositing were not kept (raw=true keeps them)."
    text += (
        f" Step across the border of the mask by the step near it: median {show(background.seam, 2)}, in the sources "
        f"{show(background.source_seam, 2)}."
    )
    return [Section("Background", text)]


def _memory_sections(report: SetReport, figures: Sequence[str]) -> list[Section]:
    if not report.memorisation:
        return []
    head = (
        "seen by",
        "median, generated",
        "median, unseen real",
        "near",
        "95 % interval",
        "expected",
        "p",
        "P(nearer)",
    )
    rows = [
        (
            found.space,
            _short(float(np.median(found.generated.distance_N))),
            _short(float(np.median(found.held_out.distance_N))),
            f"{found.num_near} ({found.share_near:.1%})",
            f"{found.share_interval.low:.1%} to {found.share_interval.high:.1%}",
            f"{found.expected:.1%}",
            _short(found.p_value, 2),
            show(found.nearer, 3),
        )
        for found in report.memorisation
    ]
    text = (
        f"Distance to the nearest training image. Pixels are compared at {PIXEL_SIDE} px inside the mask (root mean "
        "square, grey levels), over all 8 flips and rotations of every training image. Unseen real images give the "
        f"scale: near is what is nearer than {NEAR_QUANTILE:.0%} of them, or than the nearest one; p is the chance "
        "of as many near ones if generated images were unseen ones. P(nearer) is 0.5 where both are alike."
    )
    return [Section("Memorisation", text, [(head, rows)], _pick(figures, "memorisation", "near"))]


def file_name(space: str) -> str:
    """A space as a part of file names."""
    return re.sub(r"\W+", "-", space)


def _pick(figures: Sequence[str], *starts: str) -> list[str]:
    return [name for name in figures if name.startswith(starts)]


def _percent(value: float) -> str:
    return f"{value:.0%}" if math.isfinite(value) else "–"


def _short(value: float, digits: int = 3) -> str:
    return f"{value:#.{digits}g}".rstrip(".") if math.isfinite(value) else "–"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
