"""`python -m lfvar.evaluate target=tokenizer ckpt=PATH`: what a tokenizer keeps of images."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from lfvar.config import build, finish_card, make_card, print_card, run_folder, start_card
from lfvar.devices import pick_device
from lfvar.ending import show_ending
from lfvar.errors import ConfigError
from lfvar.evaluation.common import (
    describe_data,
    load_tokenizer,
    split_dataset,
    training_standardiser,
    with_image_size,
)
from lfvar.prepare import find_prepared, require_prepared

if TYPE_CHECKING:
    from lfvar.data.manifest import Manifest
    from lfvar.interop.tokenizers import LoadedTokenizer
    from lfvar.metrics.tokenizer_report import TokenizerReport


def evaluate_tokenizer_run(cfg: DictConfig) -> TokenizerReport | None:
    """`target=tokenizer`: load, walk over the split, write and print.

    Raises:
        ArtefactError: The checkpoint is missing, damaged or another model's; the data are of another size.
        ConfigError: A setting is out of range.
        DataError: The split has fewer than two images.
    """
    from lfvar.figures.tokenizer import write_pictures
    from lfvar.metrics.extractors import MEASUREMENTS, find_distances, find_extractors
    from lfvar.metrics.tokenizer import EvaluationConfig, evaluate_tokenizer
    from lfvar.metrics.tokenizer_page import write_report

    start = time.monotonic()
    require_choices(cfg)
    loaded = load_tokenizer(cfg)
    cfg = with_image_size(cfg, loaded.net.config.image_size)
    if cfg.check:
        print_card(make_card(cfg, data_hashes=hashes_of(loaded, find_prepared(cfg))))
        return None
    device = pick_device(cfg.device)
    distances, notes = find_distances(cfg.distances, device)
    extractors, more_notes = find_extractors(cfg.extractors, device)
    manifest = require_prepared(cfg)
    dataset = split_dataset(cfg, manifest)
    wants_measurements = cfg.extractors is None or MEASUREMENTS in cfg.extractors
    measures = cfg.measure is not None and manifest.has_lesions
    standardiser = training_standardiser(cfg, manifest) if measures and wants_measurements else None
    folder = run_folder(cfg)
    start_card(cfg, folder, data_hashes=hashes_of(loaded, manifest))
    status, metrics, files = "failed", {}, {}
    try:
        report = evaluate_tokenizer(
            loaded.net,
            dataset,
            config=EvaluationConfig(
                measure=build(cfg.measure.settings) if measures else None,
                num_splits=cfg.num_splits,
                seed=cfg.seed,
                batch_size=build(cfg.data.loader).val_batch_size,
                workers=cfg.measure.workers if measures else 1,
            ),
            standardiser=standardiser,
            distances=distances,
            extractors=extractors,
            classes=manifest.header.classes,
            about={"checkpoint": loaded.about, "data": describe_data(cfg, manifest)},
            notes=[*origin_notes(loaded, manifest, cfg.split), *notes, *more_notes],
            device=device,
        )
        files = write_report(folder, report) | write_pictures(folder, loaded.net, dataset, report, cfg.num_pictures)
        metrics, status = report.headline, "finished"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        finish_card(folder, metrics=metrics, seconds=time.monotonic() - start, files=files, status=status)
    print_report(report, files, time.monotonic() - start)
    return report


def require_choices(cfg: DictConfig) -> None:
    """Check what the types of the schema do not.

    Raises:
        ConfigError: A setting is out of range.
    """
    if cfg.ckpt is None:
        raise ConfigError(
            "ckpt is not set: there is no tokenizer to evaluate", cure="set ckpt=<run>/checkpoints/best.ckpt"
        )
    for key, allowed in (("weights", ("ema", "last")), ("split", ("train", "val", "test"))):
        if cfg[key] not in allowed:
            raise ConfigError(f"{key}={cfg[key]} is unknown", cure=f"use {key}={' or '.join(allowed)}")
    for key, low in (("limit", 0), ("num_splits", 1), ("num_pictures", 0), ("seed", 0)):
        if cfg[key] < low:
            raise ConfigError(f"{key}={cfg[key]} is out of range", cure=f"use {low} or more")


def hashes_of(loaded: LoadedTokenizer, manifest: Manifest | None) -> dict[str, str]:
    """Hashes for the run card."""
    return {"checkpoint": loaded.about["sha256"]} | ({"manifest": manifest.hash} if manifest else {})


def origin_notes(loaded: LoadedTokenizer, manifest: Manifest, split: str) -> list[str]:
    """What a sceptical reader must know about the images and the training."""
    notes = []
    trained_on = loaded.about["trained_on_manifest"]
    if split == "train":
        notes.append("these are training images: the numbers say nothing about new ones")
    if trained_on is None:
        notes.append("the checkpoint does not say which images it was trained on")
    elif trained_on != manifest.hash:
        notes.append(
            f"the checkpoint was trained on another manifest ({trained_on[:12]}): if images overlap, some of these may "
            "have been in training"
        )
    return notes


def print_report(report: TokenizerReport, files: Mapping[str, str], seconds: float) -> None:
    """Print the main tables."""
    from rich.console import Console
    from rich.table import Column, Table

    from lfvar.metrics.tokenizer_report import BY_CONSTRUCTION, FRECHET_HEAD, PRESERVATION_HEAD

    console = Console()
    where = report.about["data"]
    console.print(f"\n{report.counts['images']} images of {where['name']}, {where['split']} split:")
    tables = (
        (("mean (median)", "inside lesion", "outside", "whole image"), report.quality_rows()),
        (("decode(f) − f̂", "inside lesion", "outside", "whole image"), report.drop_rows()),
        (("codebook", "used", "perplexity"), report.codebook_rows()),
        (FRECHET_HEAD[:-2], [row[:-2] for row in report.frechet_rows()]),
        (_narrow(PRESERVATION_HEAD), [_narrow(row) for row in report.preservation_rows()]),
    )
    for head, rows in tables:
        if rows:
            table = Table(Column(head[0], no_wrap=True), *head[1:])
            for row in rows:
                table.add_row(*row)
            console.print(table)
    if report.preservation:
        console.print(BY_CONSTRUCTION, highlight=False)
    for note in report.notes:
        console.print(f"note: {note}", soft_wrap=True, highlight=False)
    show_ending(files, seconds)


def _narrow(row: tuple[str, ...]) -> tuple[str, ...]:
    """What of a row of preservation fits a terminal of 80 columns."""
    return (row[0], *row[2:6], row[7])
