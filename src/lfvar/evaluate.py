"""Stage 4: `python -m lfvar.evaluate target=tokenizer ckpt=PATH data=ham10000`.

Writes report.json, report.md, tables per image and per measurement, and pictures into a run folder.
"""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from lfvar.config import build, command, finish_card, make_card, print_card, run_folder, start_card
from lfvar.errors import ArtefactError, ConfigError, DataError
from lfvar.prepare import find_prepared, require_prepared

if TYPE_CHECKING:
    import torch

    from lfvar.data.dataset import LesionDataset
    from lfvar.data.manifest import Manifest
    from lfvar.interop.tokenizers import LoadedTokenizer
    from lfvar.measure.standardise import Standardiser
    from lfvar.metrics.tokenizer_report import TokenizerReport


DEFAULT_IMAGE_SIZE = 64  # as in conf/evaluate.yaml


def evaluate(cfg: DictConfig) -> Any:
    """Evaluate what a validated config names; callable from tests and notebooks.

    Args:
        cfg: The composed root config of `conf/evaluate.yaml`.

    Returns:
        The report; None with `check=true`.

    Raises:
        ConfigError: When the target is unknown, or a setting does not fit it.
    """
    if cfg.target not in TARGETS:
        found = "target is not set" if cfg.target is None else f"target={cfg.target} is nothing that can be evaluated"
        raise ConfigError(found, cure=f"set target to one of: {', '.join(TARGETS)}")
    return TARGETS[cfg.target](cfg)


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


TARGETS: Mapping[str, Callable[[DictConfig], Any]] = {"tokenizer": evaluate_tokenizer_run}
"""What can be evaluated; each takes the config and returns its report."""


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


def load_tokenizer(cfg: DictConfig) -> LoadedTokenizer:
    """The tokenizer of `ckpt`."""
    from lfvar.interop.tokenizers import load_tokenizer as load

    patch_nums = tuple(cfg.patch_nums) if cfg.patch_nums is not None else None
    return load(Path(cfg.ckpt), weights=cfg.weights, patch_nums=patch_nums, image_size=asked_image_size(cfg))


def asked_image_size(cfg: DictConfig) -> int | None:
    """The image size someone asked for; None when the config only has its default."""
    if HydraConfig.initialized():
        overrides = HydraConfig.get().overrides.task
        return int(cfg.image_size) if any(item.lstrip("+").startswith("image_size=") for item in overrides) else None
    return None if cfg.image_size == DEFAULT_IMAGE_SIZE else int(cfg.image_size)


def with_image_size(cfg: DictConfig, image_size: int) -> DictConfig:
    """The config at the tokenizer's size: prepared folder and preparation follow it.

    Raises:
        ConfigError: When another size was asked for.
    """
    asked = asked_image_size(cfg)
    if asked not in (None, image_size):
        raise ConfigError(
            f"image_size={asked}, but the tokenizer of {cfg.ckpt} takes {image_size} pixels",
            cure="leave image_size out, or give another checkpoint",
        )
    cfg = copy.deepcopy(cfg)
    cfg.image_size = image_size
    return cfg


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA where there is one.

    Raises:
        ConfigError: There is no such device.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise ConfigError(f"device={name} cannot be used: {first}", cure="use device=auto or device=cpu") from error


def split_dataset(cfg: DictConfig, manifest: Manifest) -> LesionDataset:
    """The images to evaluate on, never augmented.

    Raises:
        DataError: When the split is empty.
    """
    import numpy as np

    from lfvar.data.dataset import LesionDataset

    rows = manifest.select(cfg.split)
    if not rows:
        raise DataError(
            f"'{cfg.data.folder}' has no images in the {cfg.split} split",
            cure=f"choose another split=, or prepare with data.split.{cfg.split}_fraction above 0",
        )
    if cfg.limit:
        picks = np.linspace(0, len(rows) - 1, min(cfg.limit, len(rows))).round().astype(int)
        rows = [rows[index] for index in picks]
    return LesionDataset(Path(cfg.data.folder), rows, manifest.header.classes, manifest.header.image_size)


def training_standardiser(cfg: DictConfig, manifest: Manifest) -> Standardiser:
    """The scales of the real training measurements; what is not measured yet is measured now."""
    from lfvar.measure.run import read_table
    from lfvar.measure.statistics import read_standardiser
    from lfvar.prepare import measure

    folder, settings = Path(cfg.data.folder), build(cfg.measure.settings)
    try:
        read_table(folder, manifest, settings)
        return read_standardiser(folder, manifest)
    except ArtefactError as error:
        print(f"measuring the real images first ({error.message})", flush=True)
    measure(cfg, manifest)
    return read_standardiser(folder, manifest)


def describe_data(cfg: DictConfig, manifest: Manifest) -> dict[str, Any]:
    """What the report says about its data."""
    return {
        "name": manifest.header.name,
        "split": cfg.split,
        "limit": cfg.limit,
        "image_size": manifest.header.image_size,
        "manifest_hash": manifest.hash,
    }


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
    console.print(f"\n{report.counts['images']} images of {where['name']}, {where['split']} split, {seconds:.0f} s:")
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
    for name, path in files.items():
        console.print(f"{name}: {path}", soft_wrap=True)


def _narrow(row: tuple[str, ...]) -> tuple[str, ...]:
    """What of a row of preservation fits a terminal of 80 columns."""
    return (row[0], *row[2:6], row[7])


@command("evaluate")
def main(cfg: DictConfig) -> Any:
    """The command."""
    return evaluate(cfg)


if __name__ == "__main__":
    sys.exit(main())
