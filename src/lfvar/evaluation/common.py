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
    import torch

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
