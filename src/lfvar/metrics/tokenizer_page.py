"""The report on a tokenizer as files: JSON for machines, a Markdown page for people, tables of single rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lfvar.data.files import replace_file
from lfvar.metrics.tokenizer_report import (
    BY_CONSTRUCTION,
    FRECHET_HEAD,
    PRESERVATION_HEAD,
    UNQUANTISED,
    Row,
    TokenizerReport,
    show,
)


def write_report(folder: Path, report: TokenizerReport) -> dict[str, str]:
    """Write report.json, report.md, images.csv and preservation.csv; the same report gives the same bytes.

    Returns:
        Paths by what they are.
    """
    plain = json.dumps(report.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # An empty cell says that the image lacks the region, "nan" that its reconstruction is no image.
    cells = report.images.astype(object).where(~report.images.isin([np.inf]), "")
    texts = {
        "report": ("report.json", plain),
        "report to read": ("report.md", render_markdown(report)),
        "images": ("images.csv", cells.to_csv(index=False, na_rep="nan")),
    }
    if report.preservation_table is not None:
        texts["preservation"] = ("preservation.csv", report.preservation_table.to_csv(index=False, na_rep="nan"))
    for name, text in texts.values():
        replace_file(folder / name, text.encode())
    return {what: str(folder / name) for what, (name, _) in texts.items()}


def render_markdown(report: TokenizerReport) -> str:
    """The report as a page for people."""
    regions = ("inside lesion", "outside", "whole image")
    facts = [(key, str(value)) for key, value in {**_flat(report.about), **_flat(report.counts)}.items()]
    parts = [
        "# Tokenizer report",
        table(("", ""), facts),
        "## Reconstruction\n\nMean over images (median). Regions are those of the lesion mask.",
        table(("", *regions), report.quality_rows()),
        "## What quantisation costs\n\ndecode(f) minus decode(f̂), mean (median). The decoder was trained on f̂, so "
        "decode(f) is an estimate of what encoder and decoder could do alone, not a bound.",
        table(("", *regions), report.drop_rows()),
        "## Median per type",
        table(
            ("type", "images", "PSNR inside", "PSNR outside", "ΔE inside", "ΔE outside"),
            [
                (label, str(row["count"]), *(show(row[name], 2) for name in list(row)[1:]))
                for label, row in report.by_type.items()
            ],
        ),
        "## Codebook\n\nUsed at least once, of what could have been: min(codes, look-ups of that scale).",
        table(("scale", "used", "perplexity"), report.codebook_rows()),
        "## Distance between sets\n\nFréchet distance in the features named, not FID. *Other half*: images made "
        "from one random half against the other real half. *Floor*: one real half against the other, the same counts "
        "and so the number to compare with (mean ± standard deviation over "
        f"{report.settings['num_splits']} splits). *Same*: against the very images they were made from.",
        table(FRECHET_HEAD, report.frechet_rows()) if report.frechet else "Not computed; see the notes.",
        "## Preservation of measurements\n\nOriginal and reconstruction, rounded to bytes, measured with one mask. "
        "Error: median absolute difference by the standard deviation of the originals. This is the ceiling of control "
        "by measurements. One row per measurement: `preservation.csv`.",
        table(PRESERVATION_HEAD, report.preservation_rows()) if report.preservation else "Not measured.",
    ]
    if report.preservation:
        parts += [
            BY_CONSTRUCTION.replace("*", "\\*", 1) + ". Spearman: median over the group's measurements; low 10 %: its "
            "lowest decile; undef.: measurements without rank correlation.",
            "The same without quantisation, decode(f):",
            table(PRESERVATION_HEAD, report.preservation_rows(UNQUANTISED)),
        ]
    if report.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in report.notes)]
    return "\n\n".join(parts) + "\n"


def table(head: Row, rows: Sequence[Row]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
