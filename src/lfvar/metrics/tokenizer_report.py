"""The report on a tokenizer: numbers for machines (JSON) and tables for people (Markdown)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from lfvar.metrics.frechet import FrechetComparison, Spread
from lfvar.metrics.quality import MEASURES, Summary, drop
from lfvar.metrics.regions import REGIONS

REPORT_VERSION = 1
"""Raised with every change of what the JSON holds or means."""
RECONSTRUCTION = "reconstruction"
UNQUANTISED = "unquantised"

Row = tuple[str, ...]


@dataclass(frozen=True)
class FrechetEntry:
    """Distances in the features of one extractor."""

    extractor: str
    weights_hash: str
    comparison: FrechetComparison


@dataclass(frozen=True)
class TokenizerReport:
    """All numbers of one evaluation."""

    about: Mapping[str, Any]
    """What made checkpoint and data, with their hashes."""
    settings: Mapping[str, Any]
    counts: Mapping[str, Any]
    quality: Mapping[str, Summary]
    """"reconstruction" (decode f̂) and "unquantised" (decode f) → `lfvar.metrics.quality.summarise_quality`."""
    codebook: Mapping[str, float]
    """`usage_8x8`, `perplexity_8x8`, …"""
    frechet: Sequence[FrechetEntry]
    preservation: Mapping[str, Mapping[str, Mapping[str, Any]]]
    """As `quality`, → `lfvar.metrics.preservation.summarise_preservation`; empty when nothing was measured."""
    notes: Sequence[str]
    images: pd.DataFrame
    """One row per image: `image_id`, `label` and each number of the reconstruction; `inf` where a region is absent."""
    preservation_table: pd.DataFrame | None
    """One row per measurement; see `lfvar.metrics.preservation.preservation_table`."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: what is not a finite number is null. Tables of rows per image or feature stay out."""
        plain = {
            "schema_version": REPORT_VERSION,
            "target": "tokenizer",
            "about": dict(self.about),
            "settings": dict(self.settings),
            "counts": dict(self.counts),
            "quality": {**self.quality, "drop_from_quantisation": self.drop},
            "quality_by_type": self.by_type,
            "codebook": dict(self.codebook),
            "frechet": [
                {"extractor": entry.extractor, "weights_hash": entry.weights_hash, **asdict(entry.comparison)}
                for entry in self.frechet
            ],
            "preservation": dict(self.preservation),
            "notes": list(self.notes),
        }
        finite: dict[str, Any] = _finite(plain)
        return finite

    @property
    def drop(self) -> Summary:
        """What quantisation costs: numbers of decode(f) minus those of decode(f̂)."""
        return drop(self.quality[UNQUANTISED], self.quality[RECONSTRUCTION])

    @property
    def by_type(self) -> dict[str, dict[str, float]]:
        """Label → median PSNR and ΔE of its reconstructions, inside and outside the lesion."""
        names = [f"{measure}_{region}" for measure in ("psnr", "delta_e") for region in ("inside", "outside")]
        present = self.images.replace([np.inf, -np.inf], np.nan)
        return {
            str(label): {"count": len(rows), **{name: float(rows[name].median()) for name in names}}
            for label, rows in present.groupby("label")
        }

    @property
    def headline(self) -> dict[str, float]:
        """The numbers of the main table by name ("psnr_inside"), medians too, and codebook usage; finite ones only."""
        flat = {}
        for measure, regions in self.quality[RECONSTRUCTION].items():
            for region, cell in regions.items():
                flat[f"{measure}_{region}"] = cell["mean"]
                flat[f"{measure}_{region}_median"] = cell["median"]
        for part, row in self.preservation.get(RECONSTRUCTION, {}).items():
            flat[f"spearman/{part}"] = row["spearman_median"]
        for entry in self.frechet:
            flat[f"fd/{entry.extractor}"] = entry.comparison.variants[RECONSTRUCTION].across_halves.mean
            flat[f"fd_floor/{entry.extractor}"] = entry.comparison.floor.mean
        flat |= {f"codebook/{name}": value for name, value in self.codebook.items()}
        return {name: float(value) for name, value in flat.items() if math.isfinite(value)}

    def quality_rows(self, name: str = RECONSTRUCTION) -> list[Row]:
        """Rows of the main table: measure, then "mean (median)" per region."""
        return [
            (measure.title, *(_pair(self.quality[name][measure.name][region], measure.digits) for region in REGIONS))
            for measure in MEASURES
            if measure.name in self.quality[name]
        ]

    def drop_rows(self) -> list[Row]:
        """Rows of what quantisation costs: measure, then "mean (median)" of decode(f) minus decode(f̂) per region."""
        return [
            (measure.title, *(_pair(self.drop[measure.name][region], measure.digits, sign="+") for region in REGIONS))
            for measure in MEASURES
            if measure.name in self.drop
        ]

    def codebook_rows(self) -> list[Row]:
        """Rows of usage and perplexity: scale, share of attainable codes, perplexity."""
        scales = [name.removeprefix("usage_") for name in self.codebook if name.startswith("usage_")]
        return [
            (scale, f"{self.codebook[f'usage_{scale}']:.1%}", f"{self.codebook[f'perplexity_{scale}']:.1f}")
            for scale in scales
        ]

    def frechet_rows(self) -> list[Row]:
        """Rows of distances: extractor, variant, to the other half, floor, to the same images."""
        return [
            (
                f"FD({entry.extractor})",
                name,
                _spread(variant.across_halves),
                _spread(entry.comparison.floor),
                _significant(variant.same_images),
                f"{entry.comparison.half_count} / {entry.comparison.count}",
                f"{entry.weights_hash}, {entry.comparison.dimensions} dimensions",
            )
            for entry in self.frechet
            for name, variant in entry.comparison.variants.items()
        ]

    def preservation_rows(self, name: str = RECONSTRUCTION) -> list[Row]:
        """Rows of preservation by group; a star marks what follows from the mask."""
        return [
            (
                part + (" *" if row["follows_from_mask"] else ""),
                str(row["features"]),
                show(row["spearman_median"], 3),
                show(row["spearman_lowest_decile"], 3),
                f"{row['share_good']:.0%}" if math.isfinite(row["share_good"]) else "–",
                show(row["error_median"], 3),
                show(row["abs_bias_median"], 3),
                str(row["without_correlation"]),
            )
            for part, row in self.preservation.get(name, {}).items()
        ]


FRECHET_HEAD: Row = ("distance", "images", "other half", "floor", "same", "half / all", "extractor")
PRESERVATION_HEAD: Row = ("group", "number", "Spearman", "low 10 %", "≥ 0.8", "error, sd", "|bias|, sd", "undef.")
BY_CONSTRUCTION = "* follows from the mask, which both share: 1 by construction"


def _significant(value: float, digits: int = 4) -> str:
    return f"{value:#.{digits}g}".rstrip(".") if math.isfinite(value) else "–"


def _pair(cell: Mapping[str, float], digits: int, sign: str = "") -> str:
    return f"{show(cell['mean'], digits, sign)} ({show(cell['median'], digits, sign)})"


def show(value: float, digits: int, sign: str = "") -> str:
    """A number for a table; a dash for what is no finite number."""
    return f"{value:{sign}.{digits}f}" if math.isfinite(value) else "–"


def _spread(spread: Spread) -> str:
    return f"{_significant(spread.mean)} ± {_significant(spread.std, 2)}"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
