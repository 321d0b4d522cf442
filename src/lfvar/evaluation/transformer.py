"""`python -m lfvar.evaluate target=transformer ckpt=PATH segmenter=PATH classifier=PATH`: is it steered, how well?"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from rich.console import Console
from rich.markdown import Markdown

from lfvar.config import build, finish_card, make_card, print_card, run_folder, start_card
from lfvar.data.dataset import LesionDataset
from lfvar.data.manifest import Manifest
from lfvar.data.measurements import MeasurementRows
from lfvar.ending import show_ending
from lfvar.errors import ConfigError, DataError
from lfvar.evaluation.common import split_dataset, training_standardiser, with_image_size
from lfvar.evaluation.shared_run import OpenSynthesizer, SharedRun
from lfvar.evaluation.steering import (
    TASKS,
    Classify,
    Lesions,
    Run,
    Segment,
    Setting,
    choose_donors,
    measure_all,
    steer,
)
from lfvar.evaluation.teacher_forcing import score_tokens
from lfvar.evaluation.transformer_report import TransformerReport, describe, render_page, write_report
from lfvar.measure.run import read_table
from lfvar.measure.schema import FEATURE_NAMES
from lfvar.metrics.control import control_table, type_spreads
from lfvar.prepare import find_prepared, require_prepared
from lfvar.sampling.guidance import Guidance
from lfvar.synthesizer import Synthesizer
from lfvar.types import Batch

if TYPE_CHECKING:
    from lfvar.evaluation.steering import Told


def evaluate_transformer_run(cfg: DictConfig) -> TransformerReport | None:
    """`target=transformer`: load, ask, measure, write and print.

    Raises:
        ConfigError: A setting is out of range.
        ArtefactError: A checkpoint is missing, damaged, or does not belong to the others.
        DataError: The split is empty.
    """
    start = time.monotonic()
    if cfg.ckpt is None:
        raise ConfigError("ckpt is not set: there is no transformer", cure="set ckpt=<run folder of experiment=var>")
    if cfg.measure is None:
        raise ConfigError("~measure leaves nothing to compare with what is asked", cure="leave ~measure out")
    tasks = TASKS if cfg.tasks is None else tuple(cfg.tasks)
    if unknown := sorted(set(tasks) - set(TASKS)):
        raise ConfigError(f"tasks names {', '.join(unknown)}", cure=f"choose among {', '.join(TASKS)}")
    if cfg.samples < 0:
        raise ConfigError(f"samples={cfg.samples} is out of range", cure="use 0 (one per image) or more")
    if cfg.processes < 1:
        raise ConfigError(f"processes={cfg.processes} is out of range", cure="use 1 or more")
    guidances, editing = read_guidances(cfg.guidance), build(cfg.editing)
    synthesizer = Synthesizer.from_run(Path(cfg.ckpt), tokenizer=cfg.tokenizer, weights=cfg.weights, device=cfg.device)
    cfg = with_image_size(cfg, synthesizer.image_size)
    hashes = dict(synthesizer.hashes)
    if cfg.check:
        found = find_prepared(cfg)
        print_card(make_card(cfg, data_hashes=hashes | ({"manifest": found.hash} if found else {})))
        return None
    manifest = require_prepared(cfg)
    standardiser = training_standardiser(cfg, manifest)
    dataset = split_dataset(cfg, manifest)
    segment, classify, notes = load_judges(cfg, synthesizer)
    lesions = read_lesions(dataset, Path(cfg.data.folder), manifest)
    if len(set(lesions.lesion_N)) < 2:
        raise DataError(
            f"the {cfg.split} split of '{cfg.data.folder}' has fewer than two lesions: none can be asked for another's",
            cure="choose another split=, or leave limit= out",
        )
    folder = run_folder(cfg)
    start_card(cfg, folder, data_hashes=hashes | {"manifest": manifest.hash})
    status, metrics, files = "failed", {}, {}
    try:
        batches = batches_of(dataset, synthesizer, read_table(Path(cfg.data.folder), manifest))
        tokens = score_tokens(synthesizer.net, synthesizer.tokenizer, batches)
        pairs = choose_donors(lesions.lesion_N, cfg.samples or len(lesions), cfg.seed)
        spreads = spreads_of(manifest, Path(cfg.data.folder))
        shared: dict[str, Any] = {
            "classes": synthesizer.classes,
            "known": synthesizer.feature_names,
            "spreads": spreads,
            "standardiser": standardiser,
            "measure": build(cfg.measure.settings),
            "filters": build(cfg.filters),
            "segment": segment,
            "classify": classify,
            "workers": cfg.measure.workers or 1,
        }
        steered = []
        with ExitStack() as stack:
            run: Run = synthesizer.run
            if cfg.processes > 1:
                run = stack.enter_context(SharedRun(OpenSynthesizer.of(cfg), cfg.processes))
            for setting in plan_settings(tasks, guidances, synthesizer, has_segmenter=segment is not None):
                steered.append(steer(run, lesions, pairs, replace(setting, editing=editing), **shared))
                print(describe(steered[-1]), flush=True)
        report = TransformerReport(
            tokens=tokens,
            ceilings=ceilings_of(lesions, synthesizer, spreads, shared),
            steered=steered,
            about={
                "transformer": str(cfg.ckpt),
                "hashes": hashes,
                "data": {"name": manifest.header.name, "split": cfg.split, "images": len(lesions)},
                "samples": len(pairs),
                "editing": asdict(editing),
                "classifier": cfg.classifier,
                "segmenter": cfg.segmenter,
            },
            notes=notes,
        )
        files = write_report(folder, report, lesions, pairs)
        metrics, status = dict(report.rows.iloc[0]), "finished"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        finish_card(folder, metrics=_plain(metrics), seconds=time.monotonic() - start, files=files, status=status)
    Console().print(Markdown(render_page(report)))
    show_ending(files, time.monotonic() - start)
    return report


def read_guidances(pairs: Sequence[Sequence[float]]) -> list[Guidance]:
    """Strengths for type and measurements.

    Raises:
        ConfigError: An entry is no pair of numbers.
    """
    wrong = [pair for pair in pairs if len(pair) != 2]
    if wrong or not pairs:
        raise ConfigError(
            f"guidance={list(map(list, pairs))} is no list of pairs",
            cure="write one pair of strengths for type and measurements per row: guidance=[[0,0],[2,2]]",
        )
    return [Guidance(class_strength=float(c), measurement_strength=float(m)) for c, m in pairs]


def plan_settings(
    wanted: Collection[str], guidances: Sequence[Guidance], synthesizer: Synthesizer, *, has_segmenter: bool
) -> list[Setting]:
    """All rows: every guidance with everything told, then less told without guidance, then the type alone with most.

    On given skin, the net is also told what does not contradict that skin, with the first two strengths.
    """
    conditioning = synthesizer.net.conditioning
    tasks = [task for task in TASKS if task in wanted and (task == "edit" or has_segmenter)]
    if conditioning.regions is None:
        tasks = [task for task in tasks if task != "placed"]
    settings = []
    for task in tasks:
        done = set()
        for guidance in guidances:
            if not conditioning.can_drop_measurements:
                guidance = Guidance(class_strength=guidance.class_strength)
            if guidance not in done:
                settings.append(Setting(task, "all", guidance))
                done.add(guidance)
        if not conditioning.can_drop_measurements:
            continue
        if task in ("edit", "transplant"):
            settings += [Setting(task, "relative", guidance) for guidance in dict.fromkeys(guidances[:2])]
        less: tuple[Told, ...] = ("type", "nothing")
        settings += [Setting(task, told, Guidance()) for told in less]
        strongest = max(guidance.class_strength for guidance in guidances)
        if strongest > 0:
            settings.append(Setting(task, "type", Guidance(class_strength=strongest, measurement_strength=0.0)))
    return settings


def read_lesions(dataset: LesionDataset, folder: Path, manifest: Manifest) -> Lesions:
    """Images, masks, types and measurements of a split; images without lesion are left out."""
    values_of = read_table(folder, manifest).set_index("image_id")[list(FEATURE_NAMES)]
    rows = [row for row in dataset.rows if row.lesion_fraction > 0]
    pixels = [dataset.read(row) for row in rows]
    side = manifest.header.image_size
    return Lesions(
        image_NHWC=np.stack([image for image, _ in pixels]) if rows else np.zeros((0, side, side, 3), np.uint8),
        mask_NHW=np.stack([mask > 0 for _, mask in pixels]) if rows else np.zeros((0, side, side), np.bool_),
        label_N=tuple(row.label for row in rows),
        lesion_N=tuple(row.lesion_id or row.image_id for row in rows),
        values_NM=values_of.loc[[row.image_id for row in rows]].to_numpy(np.float64),
    )


def spreads_of(manifest: Manifest, folder: Path) -> dict[str, NDArray[np.float64]]:
    """Spread of each measurement among all real lesions of each type."""
    values = read_table(folder, manifest).set_index("image_id")[list(FEATURE_NAMES)]
    rows = [row for row in manifest.rows if row.lesion_fraction > 0]
    return type_spreads(values.loc[[row.image_id for row in rows]].to_numpy(np.float64), [row.label for row in rows])


def batches_of(dataset: LesionDataset, synthesizer: Synthesizer, measured: pd.DataFrame) -> list[Batch]:
    """The split as the transformer saw its training images: measurements on the scales of its checkpoint."""
    if synthesizer.standardiser is not None:
        dataset.measurements = MeasurementRows.of_table(measured, synthesizer.standardiser, synthesizer.feature_names)
    samples = [dataset[index] for index in range(len(dataset))]
    return [Batch.collate(samples[first : first + 64]) for first in range(0, len(samples), 64)]


def load_judges(cfg: DictConfig, synthesizer: Synthesizer) -> tuple[Segment | None, Classify | None, list[str]]:
    """Segmenter and classifier as functions of byte images, and what is left out without them."""
    from lfvar.interop.classifiers import load_classifier
    from lfvar.interop.segmenters import load_segmenter, segment_lesions

    notes: list[str] = []
    segment: Segment | None = None
    classify: Classify | None = None
    if cfg.segmenter is None:
        notes.append("whole images were not made: they come without a mask; give segmenter=PATH (experiment=segmenter)")
    else:
        segmenter = load_segmenter(Path(cfg.segmenter))
        require_size("segmenter", segmenter.image_size, synthesizer.image_size)

        def segment(image_NHWC: NDArray[np.uint8]) -> NDArray[np.bool_]:
            return segment_lesions(segmenter.net, torch.cat(in_batches(image_NHWC)))

    if cfg.classifier is None:
        notes.append("type agreement was not judged; give classifier=PATH (experiment=classifier)")
    else:
        classifier = load_classifier(Path(cfg.classifier))
        require_size("classifier", classifier.image_size, synthesizer.image_size)
        if tuple(classifier.classes) != tuple(synthesizer.classes):
            raise ConfigError(
                f"the classifier knows the types {', '.join(classifier.classes)}, the transformer "
                f"{', '.join(synthesizer.classes)}",
                cure="give a classifier that was trained on the same dataset",
            )

        @torch.no_grad()
        def classify(image_NHWC: NDArray[np.uint8]) -> NDArray[np.int64]:
            return torch.cat([classifier.net(batch).argmax(dim=1) for batch in in_batches(image_NHWC)]).numpy()

    return segment, classify, notes


def require_size(what: str, found: int, wanted: int) -> None:
    """Refuse a judge of another image size."""
    if found != wanted:
        raise ConfigError(
            f"the {what} takes images of {found} pixels, the transformer makes {wanted}",
            cure=f"train a {what} with image_size={wanted}",
        )


def in_batches(image_NHWC: NDArray[np.uint8], size: int = 64) -> list[torch.Tensor]:
    """Images in [-1, 1], (B, C, H, W)."""
    image_NCHW = torch.from_numpy(image_NHWC).permute(0, 3, 1, 2).float() / 127.5 - 1
    return list(image_NCHW.split(size))


def ceilings_of(
    lesions: Lesions, synthesizer: Synthesizer, spreads: Mapping[str, NDArray[np.float64]], shared: Mapping[str, Any]
) -> dict[str, pd.DataFrame]:
    """Control that the judges would allow: every lesion, asked for itself, comes back as it is or reconstructed.

    Returns:
        Control tables: of reconstructions in their true masks; with a segmenter, of real images and of reconstructions
        in the masks that it finds.
    """
    device = next(synthesizer.tokenizer.parameters()).device
    pieces = []
    for batch in in_batches(lesions.image_NHWC):
        recon_BCHW = synthesizer.tokenizer.decode_ids(synthesizer.tokenizer.encode_ids(batch.to(device)))
        pieces.append(((recon_BCHW + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy())
    recon_NHWC, segment = np.concatenate(pieces), shared["segment"]
    judged = {"tokenizer": (recon_NHWC, lesions.mask_NHW)}
    if segment is not None:
        judged["segmenter"] = (lesions.image_NHWC, segment(lesions.image_NHWC))
        judged["tokenizer, segmenter"] = (recon_NHWC, segment(recon_NHWC))
    tables = {}
    for name, (image_NHWC, mask_NHW) in judged.items():
        got_NM = measure_all(image_NHWC, mask_NHW, shared["measure"], shared["workers"])
        tables[name] = control_table(lesions.values_NM, got_NM, lesions.label_N, spreads)
    return tables


def _plain(metrics: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {key: value for key, value in metrics.items() if isinstance(value, (int, float)) and np.isfinite(value)}
    return {key: float(value) for key, value in numbers.items()}
