"""From finished images to a dataset: manifest, table and contact sheets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lfvar
from lfvar.data.generated import IMAGES, MASKS, NAME, SHEETS, GeneratedRow, write_generated
from lfvar.data.imageio import read_image, write_png
from lfvar.data.manifest import Manifest, ManifestHeader, ManifestRow, hash_inputs
from lfvar.data.provenance import Provenance
from lfvar.figures.sheets import Sheet, SheetRow, Tile, draw_sheet
from lfvar.generation.plan import PlannedSample
from lfvar.generation.pool import Pool

ANY = "any"
"""Label of images for which no type was asked."""
ROWS_PER_SHEET = 12
MAX_COLUMNS = 32
MAX_SHEETS = 4
"""Of one kind. Images beyond these are in the folder, but on no sheet."""


def assemble(
    folder: Path,
    plan: Sequence[PlannedSample],
    items: Mapping[int, Mapping[str, Any]],
    pool: Pool,
    classes: Sequence[str],
    *,
    settings: Mapping[str, Any],
    header: Mapping[str, Any],
    command: str,
) -> Manifest:
    """Write what makes a folder of images a dataset.

    Args:
        folder: Of the generated images, all of them there.
        plan: What they were to be.
        items: Of the journal, by index.
        pool: The real images.
        classes: Types that the net knows.
        settings: Everything that decided the images.
        header: What `generated.parquet` says of itself.
        command: That makes them again.
    """
    rows = [_manifest_row(sample, items[index], pool) for index, sample in enumerate(plan)]
    labels = (*classes, *([ANY] if any(row.label == ANY for row in rows) else []))
    manifest = Manifest(
        ManifestHeader(
            name=NAME,
            classes=labels,
            image_size=pool.size,
            settings=settings,
            inputs_hash=hash_inputs([(row.image_id, row.label, row.lesion_id, row.patient_id) for row in rows]),
            fold=None,
            command=command,
            lfvar_version=lfvar.__version__,
        ),
        tuple(sorted(rows, key=lambda row: row.image_id)),
    )
    write_generated(folder, [_generated_row(sample, items[i], pool) for i, sample in enumerate(plan)], header)
    manifest.write(folder)
    return manifest


def _manifest_row(sample: PlannedSample, item: Mapping[str, Any], pool: Pool) -> ManifestRow:
    source = None if sample.source_id is None else pool.rows[sample.source_id]
    made = ManifestRow(
        image_id=sample.image_id,
        label=sample.label or ANY,
        lesion_id=f"lesion_{sample.image_id}",
        patient_id=None,
        split="train",
        fold=None,
        image=f"{IMAGES}/{sample.image_id}.png",
        mask=f"{MASKS}/{sample.image_id}.png",
        original_width=pool.size,
        original_height=pool.size,
        frame_x0=0,
        frame_y0=0,
        frame_width=pool.size,
        frame_height=pool.size,
        lesion_fraction=item["lesion_fraction"],
        lesion_in_view=1.0,
        source_image_hash=item["image_hash"],
        source_mask_hash=item["mask_hash"],
        image_hash=item["image_hash"],
        mask_hash=item["mask_hash"],
    )
    if source is None:
        return made
    return replace(
        made,
        lesion_id=source.lesion_id or source.image_id,  # the two must never part at a split
        patient_id=source.patient_id,
        original_width=source.original_width,
        original_height=source.original_height,
        frame_x0=source.frame_x0,
        frame_y0=source.frame_y0,
        frame_width=source.frame_width,
        frame_height=source.frame_height,
    )


def _generated_row(sample: PlannedSample, item: Mapping[str, Any], pool: Pool) -> GeneratedRow:
    source = None if sample.source_id is None else pool.rows[sample.source_id]
    return GeneratedRow(
        image_id=sample.image_id,
        mode=sample.mode,
        source_id=sample.source_id,
        source_label=None if source is None else source.label,
        source_split=None if source is None else source.split,
        label=sample.label,
        seed=sample.seed,
        sample=sample.sample,
        prompt=sample.prompt,
        mask_kind=sample.mask.kind,
        mask_from=sample.mask.image_id or (Path(sample.mask.file).name if sample.mask.file else None),
        asked={**item["told"], **sample.wanted, **sample.asked},
    )


def write_sheets(folder: Path, plan: Sequence[PlannedSample], pool: Pool, hashes: Mapping[str, str]) -> dict[str, Path]:
    """Draw the contact sheets of a plan from the files of its folder.

    Args:
        folder: Of the generated images, all of them there.
        plan: What they were to be.
        pool: The real images.
        hashes: Of the checkpoints that painted them, for the sheets to carry.

    Returns:
        The files by name.
    """
    pages: dict[str, Path] = {}
    for name in dict.fromkeys(sample.sheet for sample in plan):
        samples = [sample for sample in plan if sample.sheet == name]
        names = list(dict.fromkeys(sample.row for sample in samples))
        for number in range(min(MAX_SHEETS, -(-len(names) // ROWS_PER_SHEET))):
            part = names[number * ROWS_PER_SHEET : (number + 1) * ROWS_PER_SHEET]
            sheet = _make_sheet(folder, [sample for sample in samples if sample.row in part], pool)
            title = name if number == 0 else f"{name}_{number + 1}"
            path = folder / SHEETS / f"{title}.png"
            sources = ", ".join(
                {sample.source_id: None for sample in samples if sample.row in part and sample.source_id}
            )
            notes = Provenance(hashes, title=f"Synthetic skin lesions: {title}", source=sources or None)
            write_png(path, draw_sheet(sheet), notes.to_text())
            pages[title] = path
    return pages


def _make_sheet(folder: Path, samples: Sequence[PlannedSample], pool: Pool) -> Sheet:
    columns = tuple(dict.fromkeys(sample.column for sample in samples))[:MAX_COLUMNS]
    one_source = samples[0].mode not in ("balance", "prompt")  # per row
    with_source = one_source and all(sample.source_id is not None for sample in samples)
    rows = []
    for name in dict.fromkeys(sample.row for sample in samples):
        mine = {sample.column: sample for sample in samples if sample.row == name}
        first = next(iter(mine.values()))
        lead: list[Tile | None] = []
        if with_source:
            assert first.source_id is not None
            lead.append(Tile(pool.read_image(first.source_id)))
            lead.append(Tile(_black_and_white(pool.read_mask(first.source_id))))
        tiles = [_tile(folder, mine[column]) if column in mine else None for column in columns]
        rows.append(SheetRow(name, (*lead, *tiles)))
    return Sheet((*(("source", "mask") if with_source else ()), *columns), tuple(rows))


def _tile(folder: Path, sample: PlannedSample) -> Tile:
    return Tile(read_image(folder / IMAGES / f"{sample.image_id}.png"), sample.caption)


def _black_and_white(mask_HW: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.repeat(mask_HW[..., None].astype(np.uint8) * np.uint8(255), 3, axis=-1)
