"""What is downloaded: images, masks and manifest, a folder like that of `lfvar.generate` in one ZIP file.

Unpacked, it is a dataset: `python -m lfvar.evaluate generated=FOLDER` and `data=generated data.root=FOLDER` read it.
The same request gives the same bytes.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import lfvar
from lfvar.data.files import hash_bytes
from lfvar.data.generated import FULL, IMAGES, KIND, MASKS, NAME, GeneratedRow, write_generated
from lfvar.data.imageio import encode_png
from lfvar.data.manifest import SCHEMA_VERSION, Manifest, ManifestHeader, ManifestRow, hash_inputs, hash_settings, plain
from lfvar.data.provenance import Provenance
from lfvar.generation.assembly import ANY
from lfvar.measure.schema import FEATURE_NAMES
from lfvar.studio.edit import Edit, render
from lfvar.studio.refusal import Refusal
from lfvar.studio.request import PaintedMask, UploadedPicture
from lfvar.studio.sessions import Session
from lfvar.studio.workbench import Workbench

PROVENANCE = "provenance.json"
_TIME = (1980, 1, 1, 0, 0, 0)
"""Of every file in the archive: when it was made does not belong to what it is."""


def write_bundle(workbench: Workbench, session: Session, edit: Edit) -> Path:
    """Write the ZIP file of a finished request into the page's folder.

    Raises:
        Refusal: When it is not finished.
    """
    if edit.comparison is None:
        raise Refusal("these images are not finished", cure="wait for them, or generate again", status=409)
    folder = Path(tempfile.mkdtemp(dir=session.folder))
    try:
        settings = describe(workbench, session, edit)
        name = f"studio_{hash_settings(settings)[:8]}"
        ids = [f"{name}_{number:02d}" for number in range(len(edit.results))]
        for part in (IMAGES, MASKS, *([FULL] if edit.frame is not None else [])):
            (folder / part).mkdir()
        rows = [_write_sample(workbench, session, edit, folder, number, ids[number]) for number in range(len(ids))]
        classes = (*workbench.synthesizer.classes, *([ANY] if edit.request.label is None else []))
        header = ManifestHeader(
            name=NAME,
            classes=classes,
            image_size=workbench.size,
            settings=settings,
            inputs_hash=hash_inputs([(row.image_id, row.label, row.lesion_id, row.patient_id) for row in rows]),
            fold=None,
            command=workbench.command,
            lfvar_version=lfvar.__version__,
        )
        Manifest(header, tuple(rows)).write(folder)
        provenance = {
            "settings": settings,
            "hashes": {key: settings["source"][key] for key in ("transformer", "tokenizer", "source_manifest")},
            "command": workbench.command,
            "lfvar_version": lfvar.__version__,
        }
        write_generated(
            folder, [_generated_row(workbench, session, edit, n, ids[n]) for n in range(len(ids))], provenance
        )
        (folder / PROVENANCE).write_text(json.dumps(provenance, indent=2, ensure_ascii=False, sort_keys=True) + "\n")
        (folder / "measured.csv").write_text(measured_table(edit, ids))
        path = session.new_file()
        _zip(folder, path, name)
        return path
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def describe(workbench: Workbench, session: Session, edit: Edit) -> dict[str, Any]:
    """Everything that decided the images, as plain data."""
    request = edit.request
    asked = request.model_dump()
    if isinstance(request.mask, PaintedMask):
        asked["mask"] = {"kind": "painted", "sha256": hash_bytes(edit.packed_mask)}
    elif request.mask.kind == "file":
        asked["mask"] = {"kind": "file", "sha256": session.upload(request.mask.id).sha256}
    if isinstance(request.picture, UploadedPicture):
        upload = session.upload(request.picture.id)
        asked["picture"] = {"kind": "upload", "name": upload.name, "sha256": upload.sha256}
    manifest = workbench.pool.manifest
    source = {
        "kind": KIND,
        "mode": "studio",
        **asked,
        "filters": asdict(workbench.filters),
        "editing": asdict(workbench.editing),
        "guidance_ramp": workbench.guidance.ramp,
        "precision": workbench.synthesizer.precision,
        "batch_size": workbench.batch_size if workbench.synthesizer.precision == "bf16" else None,
        "transformer": workbench.synthesizer.hashes["transformer"],
        "tokenizer": workbench.synthesizer.hashes["tokenizer"],
        "source_manifest": manifest.hash if manifest.rows else None,
    }
    settings: dict[str, Any] = plain(
        {
            "schema_version": SCHEMA_VERSION,
            "name": NAME,
            "source": source,
            "prepare": {"image_size": workbench.size},
            "split": {},
        }
    )
    return settings


def measured_table(edit: Edit, ids: list[str]) -> str:
    """Asked and measured, a line per sample and measurement; empty where it was left free or is missing."""
    assert edit.comparison is not None
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["image_id", "measurement", "asked", "measured"])
    for image_id, asked, measured in zip(ids, edit.asked, edit.comparison.measured, strict=True):
        wanted: Mapping[str, float] = {**edit.told, **asked}
        for name in FEATURE_NAMES:
            if name in wanted or name in measured:
                writer.writerow([image_id, name, wanted.get(name, ""), measured.get(name, "")])
    return buffer.getvalue()


def _write_sample(
    workbench: Workbench, session: Session, edit: Edit, folder: Path, number: int, image_id: str
) -> ManifestRow:
    name, result = f"{image_id}.png", edit.results[number]
    source = None if edit.source_id is None else workbench.pool.rows[edit.source_id]
    height, width = edit.shape
    frame, lesion_id = edit.frame, f"upload_{hash_bytes(edit.square_HWC.tobytes())[:12]}"
    notes = Provenance(
        workbench.synthesizer.hashes,
        seed=edit.request.seed + number,
        type=edit.request.label,
        measurements=edit.asked[number],
        prompt=edit.request.prompt,
        mask=_mask_kind(edit),
        source=edit.source_id or lesion_id,
    ).to_text()
    image, mask = encode_png(result.image_HWC, notes), encode_png(edit.mask_HW)
    (folder / IMAGES / name).write_bytes(image)
    (folder / MASKS / name).write_bytes(mask)
    if edit.frame is not None:
        (folder / FULL / name).write_bytes(encode_png(render(workbench, session, edit, number), notes))
    image_hash, mask_hash = hash_bytes(image), hash_bytes(mask)
    if source is not None:
        height, width = source.original_height, source.original_width
        frame, lesion_id = source.frame, source.lesion_id or source.image_id
    return ManifestRow(
        image_id=image_id,
        label=edit.request.label or ANY,
        lesion_id=lesion_id,  # all samples on one photograph, and the photograph, must never part at a split
        patient_id=None if source is None else source.patient_id,
        split="train",
        fold=None,
        image=f"{IMAGES}/{name}",
        mask=f"{MASKS}/{name}",
        original_width=width,
        original_height=height,
        frame_x0=0 if frame is None else frame.x0,
        frame_y0=0 if frame is None else frame.y0,
        frame_width=width if frame is None else frame.width,
        frame_height=height if frame is None else frame.height,
        lesion_fraction=float(np.mean(edit.mask_HW)),
        lesion_in_view=1.0,
        source_image_hash=image_hash,
        source_mask_hash=mask_hash,
        image_hash=image_hash,
        mask_hash=mask_hash,
    )


def _generated_row(workbench: Workbench, session: Session, edit: Edit, number: int, image_id: str) -> GeneratedRow:
    request = edit.request
    source = None if edit.source_id is None else workbench.pool.rows[edit.source_id]
    mask_from = edit.source_id if request.mask.kind == "own" else None
    if request.mask.kind == "file":
        mask_from = session.upload(request.mask.id).name
    return GeneratedRow(
        image_id=image_id,
        mode="studio",
        source_id=edit.source_id,
        source_label=None if source is None else source.label,
        source_split=None if source is None else source.split,
        label=request.label,
        seed=request.seed + number,
        sample=number,
        prompt=request.prompt,
        mask_kind=_mask_kind(edit),
        mask_from=mask_from,
        asked={**edit.told, **edit.asked[number]},
    )


def _mask_kind(edit: Edit) -> str:
    kind = edit.request.mask.kind
    return "source" if kind == "own" else kind


def _zip(folder: Path, path: Path, name: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(item for item in folder.rglob("*") if item.is_file()):
            entry = zipfile.ZipInfo(f"{name}/{file.relative_to(folder).as_posix()}", _TIME)
            entry.compress_type = zipfile.ZIP_STORED if file.suffix == ".png" else zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            with archive.open(entry, "w") as target, file.open("rb") as source:
                shutil.copyfileobj(source, target)
