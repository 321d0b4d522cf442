"""The measurement space of the dataset, to look around in."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from lfvar.data.manifest import ManifestRow
from lfvar.figures.maps import place_rows
from lfvar.figures.style import colour_types
from lfvar.measure.schema import FEATURE_NAMES, SCHEMA
from lfvar.studio.controls import describe_knob, percentile, profile_table
from lfvar.studio.refusal import Refusal
from lfvar.studio.workbench import Workbench

Method = Literal["pca", "tsne"]

MOST_POINTS = {"pca": 20_000, "tsne": 2_000}
"""Beyond that, rows are taken evenly: a browser, and t-SNE in its time, can do no more."""
PAGE = 24
"""Images that are listed at once."""


class Explorer:
    """Answers about the dataset; what takes time is remembered."""

    def __init__(self, workbench: Workbench) -> None:
        self.workbench = workbench
        self._planes: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def plane(self, method: str) -> dict[str, Any]:
        """All lesions on two axes.

        Raises:
            Refusal: When there is no such method, or nothing is measured.
        """
        if method not in get_args(Method):
            raise Refusal(f"no map “{method[:40]}”", cure=f"use {' or '.join(get_args(Method))}")
        with self._lock:  # whoever asks second waits for the first
            if method not in self._planes:
                self._planes[method] = self._place(method)
            return self._planes[method]

    def browse(self, *, label: str | None, split: str | None, text: str, page: int) -> dict[str, Any]:
        """A page of the list of images, those with a lesion first.

        Args:
            label: Only this type.
            split: Only this one.
            text: Part of the id.
            page: From 0.
        """
        wanted = text.strip().lower()
        rows = [
            row
            for row in self.workbench.pool.manifest.rows
            if (label is None or row.label == label)
            and (split is None or row.split == split)
            and wanted in row.image_id.lower()
        ]
        rows.sort(key=lambda row: (row.lesion_fraction == 0, row.image_id))
        first = max(0, page) * PAGE
        return {
            "total": len(rows),
            "page": max(0, page),
            "pages": -(-len(rows) // PAGE),
            "images": [_brief(row) for row in rows[first : first + PAGE]],
        }

    def image(self, image_id: str) -> dict[str, Any]:
        """What is known of one image.

        Raises:
            Refusal: When there is none of that id.
        """
        workbench = self.workbench
        row = workbench.pool.rows[workbench.require_image(image_id)]
        measured: Mapping[str, float] = workbench.pool.measured.get(image_id, {})
        return {
            **_brief(row),
            "lesion_id": row.lesion_id,
            "measured": dict(measured),
            "rows": [
                {
                    **describe_knob(name),
                    "value": measured[name],
                    "percentile": percentile(workbench.profiles, row.label, name, measured[name]),
                }
                for name in workbench.shown
                if name in measured
            ],
        }

    def profiles(self) -> dict[str, Any]:
        """What lesions of each type measure."""
        names = self.workbench.shown
        return {
            "knobs": [describe_knob(name) for name in names],
            "types": profile_table(self.workbench.profiles, names),
        }

    def _place(self, method: str) -> dict[str, Any]:
        pool = self.workbench.pool
        rows = [row for row in pool.manifest.rows if row.image_id in pool.measured]
        if not rows:
            raise Refusal("the dataset is not measured", cure="measure it: python -m lfvar.prepare without ~measure")
        most = MOST_POINTS[method]
        rows = [rows[i] for i in np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)]
        values_NM = np.array([[pool.measured[r.image_id].get(n, np.nan) for n in FEATURE_NAMES] for r in rows])
        table = pd.DataFrame(values_NM, columns=list(FEATURE_NAMES))
        table["label"], table["image_id"] = [row.label for row in rows], [row.image_id for row in rows]
        plane = place_rows(table, SCHEMA, "pca" if method == "pca" else "tsne")
        if plane is None:
            raise Refusal("too few images are measured for a map", cure="prepare a larger dataset")
        classes = list(pool.classes)
        return {
            "method": method,
            "titles": list(plane.titles),
            "types": [{"label": label, "colour": colour} for label, colour in colour_types(classes).items()],
            "total": len(pool.measured),
            "points": [
                [round(float(x), 3), round(float(y), 3), classes.index(label), image_id]
                for (x, y), label, image_id in zip(
                    plane.points_N2, plane.rows["label"], plane.rows["image_id"], strict=True
                )
            ],
        }


def _brief(row: ManifestRow) -> dict[str, Any]:
    return {
        "id": row.image_id,
        "label": row.label,
        "split": row.split,
        "has_lesion": row.lesion_fraction > 0,
        "area": row.lesion_fraction,
    }
