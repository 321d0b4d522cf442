"""`python -m lfvar.evaluate generated=FOLDER data=…`: are generated images like real ones, and is it really new ones?

Compares the images of one folder with those of another, both as `lfvar.generate` or `lfvar.prepare` writes them. What
is computed per image is kept on disk, so a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from lfvar.config import build, finish_card, make_card, print_card, run_folder, start_card
from lfvar.data.generated import GENERATED_FILE, read_generated
from lfvar.data.manifest import Manifest
from lfvar.devices import pick_device
from lfvar.ending import show_ending
from lfvar.errors import ArtefactError, ConfigError
from lfvar.evaluation.common import training_standardiser, with_image_size
from lfvar.evaluation.set_evaluation import Extras, SetEvaluationConfig, evaluate_sets
from lfvar.evaluation.set_extras import background, load_classify, tokenizer_ceiling, type_agreement
from lfvar.evaluation.set_features import SetFeatures, collect_features
from lfvar.evaluation.set_figures import write_set_figures
from lfvar.evaluation.set_page import fidelity_rows, write_set_report
from lfvar.evaluation.set_report import SetReport
from lfvar.evaluation.sets import ImageSet, open_set, require_comparable
from lfvar.measure.schema import FEATURE_NAMES
from lfvar.measure.settings import MeasureSettings
from lfvar.measure.standardise import Standardiser
from lfvar.metrics.extractors import MEASUREMENTS
from lfvar.metrics.set_extractors import INCEPTION, SetExtractor, find_set_extractors
from lfvar.metrics.set_scores import ScoreSettings
from lfvar.prepare import find_prepared, require_prepared

SPLITS = ("train", "val", "test", "all")


@dataclass(frozen=True)
class Sets:
    """The images of one evaluation."""

    generated: ImageSet
    real: ImageSet
    train: ImageSet | None
    """What the generator may have learned from; None where the real images are those, or there are none."""
    real_manifest: Manifest
    """Of the whole folder: sources of edits may be in any split."""


def evaluate_generated_run(cfg: DictConfig) -> SetReport | None:
    """`target=generated`: open, compute what is missing, compare, write and print.

    Raises:
        ConfigError: A setting is unknown, out of range, or does not fit the images.
        DataError: A folder has too many unusable files, no images of the split, or images of another size.
        ArtefactError: A folder, a cache, a checkpoint or the weights of a network are missing or damaged.
    """
    start = time.monotonic()
    config = read_config(cfg)
    generated = Manifest.read(Path(cfg.generated), command="python -m lfvar.generate")
    cfg = with_image_size(cfg, generated.header.image_size, has=f"the images in '{cfg.generated}' have")
    if cfg.check:
        found = Manifest.read(Path(cfg.real)) if cfg.real else find_prepared(cfg)
        print_card(make_card(cfg, data_hashes=_hashes(generated, found)))
        return None
    device = pick_device(cfg.device)
    extractors, notes = find_set_extractors(cfg.extractors, device, inception_weights=cfg.inception_weights)
    real = Manifest.read(Path(cfg.real)) if cfg.real else require_prepared(cfg)
    sets = open_sets(cfg, generated, real)
    folder = run_folder(cfg)
    start_card(cfg, folder, data_hashes=_hashes(generated, real))
    status, metrics, files = "failed", {}, {}
    try:
        report = _evaluate(cfg, config, sets, extractors, notes, device)
        figures = write_set_figures(folder, report, sets.generated, sets.real, sets.train)
        files = write_set_report(folder, report, figures)
        metrics, status = report.headline, "finished"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        finish_card(folder, metrics=metrics, seconds=time.monotonic() - start, files=files, status=status)
    print_set_report(report, files, time.monotonic() - start)
    return report


def read_config(cfg: DictConfig) -> SetEvaluationConfig:
    """The settings, checked.

    Raises:
        ConfigError: One is missing, unknown or out of range.
    """
    if cfg.generated is None:
        raise ConfigError("generated is not set: there is nothing to evaluate", cure="set generated=FOLDER")
    for key in ("split", "generated_split"):
        if cfg[key] not in (*SPLITS, *([None] if key == "generated_split" else [])):
            raise ConfigError(f"{key}={cfg[key]} is unknown", cure=f"use one of {', '.join(SPLITS)}")
    if cfg.limit < 0:
        raise ConfigError(f"limit={cfg.limit} is out of range", cure="use 0 (all) or more")
    try:
        return SetEvaluationConfig(
            scores=ScoreSettings(
                num_splits=cfg.num_splits, num_bootstrap=cfg.num_bootstrap, neighbours=cfg.neighbours, seed=cfg.seed
            ),
            num_pairs=cfg.num_pairs,
            force=cfg.force,
            matrix=cfg.matrix,
            batch_size=build(cfg.data.loader).val_batch_size,
        )
    except ValueError as error:
        raise ConfigError(str(error), cure="see conf/evaluate.yaml for what each setting does") from error


def open_sets(cfg: DictConfig, generated: Manifest, real: Manifest) -> Sets:
    """The images of the folders that the config names.

    Raises:
        DataError: As `open_set` and `require_comparable`.
    """
    real_folder = Path(cfg.real) if cfg.real else Path(cfg.data.folder)
    made = open_set("generated", Path(cfg.generated), generated, splits=_splits(cfg.generated_split), limit=cfg.limit)
    seen = open_set("real", real_folder, real, splits=_splits(cfg.split), limit=cfg.limit)
    require_comparable(made, seen)
    train = None
    if cfg.split in ("val", "test") and real.select("train"):
        train = open_set("training", real_folder, real, splits=("train",), limit=cfg.limit)
    return Sets(made, seen, train, real)


def _evaluate(
    cfg: DictConfig,
    config: SetEvaluationConfig,
    sets: Sets,
    extractors: Sequence[SetExtractor],
    notes: Sequence[str],
    device: torch.device,
) -> SetReport:
    measures = cfg.measure is not None and (cfg.extractors is None or MEASUREMENTS in cfg.extractors)
    settings = build(cfg.measure.settings) if measures else None
    workers = cfg.measure.workers if measures else 1
    cache = Path(cfg.cache) if cfg.cache else None
    shared: dict[str, Any] = {"cache": cache, "batch_size": config.batch_size, "workers": workers}
    made, seen = (collect_features(s, extractors, measure=settings, **shared) for s in (sets.generated, sets.real))
    train = None
    if sets.train is not None:
        # One network is enough to look for copies, and there may be ten times as many training images.
        eye = [e for e in extractors if e.name == INCEPTION] or list(extractors)
        train = collect_features(sets.train, eye[:1], measure=None, **shared)
    standardiser, more = _standardiser(cfg, sets, seen) if seen.measured_NM is not None else (None, [])
    details = None
    if (sets.generated.folder / GENERATED_FILE).is_file():
        details = read_generated(sets.generated.folder)
    extras = Extras(
        train=train,
        standardiser=standardiser,
        details=details,
        ceiling=_ceiling(cfg, sets.real, seen, settings, device, config.batch_size, workers),
        type_agreement=_agreement(cfg, sets, device, config.batch_size),
        background=None
        if details is None
        else background(sets.generated, details, sets.real_manifest, sets.real.folder),
    )
    about = _about(cfg, sets, details)
    return evaluate_sets(made, seen, config, extras, about=about, notes=[*notes, *more, *_origin_notes(cfg, sets)])


def _standardiser(cfg: DictConfig, sets: Sets, real: SetFeatures) -> tuple[Standardiser, list[str]]:
    import pandas as pd

    from lfvar.measure.statistics import read_standardiser

    if cfg.real is None:
        return training_standardiser(cfg, sets.real_manifest), []
    try:
        return read_standardiser(sets.real.folder, sets.real_manifest), []
    except ArtefactError:
        table = pd.DataFrame(real.measured_NM, columns=list(FEATURE_NAMES))
        note = f"'{sets.real.folder}' has no standardiser: measurements are scaled by these real images themselves"
        return Standardiser.fit(table), [note]


def _ceiling(
    cfg: DictConfig,
    real: ImageSet,
    features: SetFeatures,
    settings: MeasureSettings | None,
    device: torch.device,
    batch_size: int,
    workers: int,
) -> Any:
    if cfg.tokenizer is None or settings is None or features.measured_NM is None:
        return None
    from lfvar.interop.tokenizers import load_tokenizer

    net = load_tokenizer(Path(cfg.tokenizer), weights=cfg.weights, image_size=real.image_size).net
    return tokenizer_ceiling(
        net, real, features.measured_NM, settings, device=device, batch_size=batch_size, workers=workers
    )


def _agreement(cfg: DictConfig, sets: Sets, device: torch.device, batch_size: int) -> Any:
    if cfg.classifier is None:
        return None
    classify, classes, about = load_classify(Path(cfg.classifier), sets.generated, device)
    return type_agreement(classify, classes, sets.generated, sets.real, about=about, batch_size=batch_size)


def _about(cfg: DictConfig, sets: Sets, details: Any) -> dict[str, Any]:
    generated = {
        "name": sets.generated.manifest.header.name,
        "manifest_hash": sets.generated.manifest_hash,
        "split": cfg.generated_split,
        "made_by": dict(sets.generated.manifest.header.settings).get("source"),
    }
    if details is not None:
        generated["command"] = details.attrs["header"].get("command")
    real = {"name": sets.real.manifest.header.name, "split": cfg.split, "manifest_hash": sets.real.manifest_hash}
    return {"generated": generated, "real": real, "limit": cfg.limit, "image_size": sets.real.image_size}


def _origin_notes(cfg: DictConfig, sets: Sets) -> list[str]:
    notes = []
    if cfg.split in ("train", "all"):
        notes.append("the real images include training images: a generator that copies them looks perfect here")
    if cfg.limit:
        notes.append(f"limit={cfg.limit}: only a part of the images")
    if cfg.tokenizer is None and sets.real.manifest.has_lesions:
        notes.append("no tokenizer is given (tokenizer=PATH): control has no ceiling")
    return notes


def _splits(name: str | None) -> tuple[str, ...] | None:
    return None if name in (None, "all") else (str(name),)


def _hashes(generated: Manifest, real: Manifest | None) -> Mapping[str, str]:
    return {"generated": generated.hash} | ({"manifest": real.hash} if real else {})


def print_set_report(report: SetReport, files: Mapping[str, str], seconds: float) -> None:
    """Print the main tables."""
    from rich.console import Console
    from rich.table import Column, Table

    console = Console()
    counts = {name: part["images"] for name, part in report.counts.items()}
    console.print(f"\n{', '.join(f'{count} {name}' for name, count in counts.items())} images:")
    table = Table(Column("equal counts", no_wrap=True), "generated", "two real halves", "m", "warning")
    for entry in report.spaces:
        for row in fidelity_rows(report, entry.space):
            table.add_row(*row[:4], row[-1])
    console.print(table)
    for line in report.findings:
        console.print(f"- {line}", soft_wrap=True, highlight=False)
    for note in report.notes:
        console.print(f"note: {note}", soft_wrap=True, highlight=False)
    show_ending(files, seconds)
