"""What all targets of the evaluation share: the device, the images of a split, the scales of measurements."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from lfvar.config import build
from lfvar.errors import ArtefactError, ConfigError, DataError

if TYPE_CHECKING:
    from lfvar.data.dataset import LesionDataset
    from lfvar.data.manifest import Manifest
    from lfvar.interop.tokenizers import LoadedTokenizer
    from lfvar.measure.standardise import Standardiser

DEFAULT_IMAGE_SIZE = 64  # as in conf/evaluate.yaml


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


def with_image_size(cfg: DictConfig, image_size: int, *, has: str | None = None) -> DictConfig:
    """The config at the size of what is worked on: prepared folder and preparation follow it.

    Args:
        cfg: Of the command.
        image_size: Side in pixels.
        has: What has that size, as in "the images in 'x' have"; None: the tokenizer of `ckpt`.

    Raises:
        ConfigError: When another size was asked for.
    """
    asked = asked_image_size(cfg)
    if asked not in (None, image_size):
        raise ConfigError(
            f"image_size={asked}, but {has or f'the tokenizer of {cfg.ckpt} takes'} {image_size} pixels",
            cure="leave image_size out, or give another checkpoint" if has is None else "leave image_size out",
        )
    cfg = copy.deepcopy(cfg)
    cfg.image_size = image_size
    return cfg


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
