"""What each stage of training is made of: a Lightning module and its data, from a checked config."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from lfvar.config import build, is_rank_zero, resume_checkpoint
from lfvar.errors import ConfigError

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule

    from lfvar.data.datamodule import LesionDataModule
    from lfvar.data.manifest import Manifest
    from lfvar.data.token_cache import TokenCache
    from lfvar.interop.tokenizers import LoadedTokenizer
    from lfvar.lit.vqvae_module import VQVAEModule

Stage = tuple["LightningModule", "LesionDataModule"]


def build_stage(cfg: DictConfig, manifest: Manifest) -> Stage:
    """Module and data of `cfg.stage`.

    Raises:
        ConfigError: When there is no such stage, or settings do not fit the data.
        ArtefactError: When a file that the config names is missing, damaged, or belongs to something else.
    """
    stages = {
        "vqvae": build_tokenizer_stage,
        "var": build_transformer_stage,
        "classifier": build_classifier_stage,
        "segmenter": build_segmenter_stage,
    }
    if cfg.stage not in stages:
        raise ConfigError(
            f"stage={cfg.stage} is no stage that can be trained", cure=f"use stage={' or stage='.join(stages)}"
        )
    return stages[cfg.stage](cfg, manifest)


def build_tokenizer_stage(cfg: DictConfig, manifest: Manifest) -> Stage:
    """Stage 1: images."""
    from lfvar.data.datamodule import LesionDataModule

    return build_tokenizer_module(cfg), LesionDataModule(cfg.data.folder, manifest, build(cfg.data.loader))


def build_tokenizer_module(cfg: DictConfig) -> VQVAEModule:
    """The Lightning module of stage 1, which needs no data."""
    from lfvar.lit.vqvae_module import VQVAEModule

    return VQVAEModule(
        build(cfg.model),
        build(cfg.loss),
        build(cfg.optim),
        build(cfg.codebook),
        perceptual=build(cfg.perceptual) if cfg.perceptual else None,
        adversary=build(cfg.adversary) if cfg.adversary else None,
        compile=cfg.compile,
        seed=cfg.seed,
        read_weights=resume_checkpoint(cfg) is None,
    )


def build_transformer_stage(cfg: DictConfig, manifest: Manifest) -> Stage:
    """Stage 2: token maps of a tokenizer, from its cache where there is one."""
    from lfvar.data.token_datamodule import TokenDataModule
    from lfvar.interop.checkpoints import ConditionMeaning
    from lfvar.interop.tokenizers import load_tokenizer
    from lfvar.lit.var_module import VARModule

    if cfg.tokenizer is None:
        raise ConfigError(
            "tokenizer is not set: a transformer learns the tokens of one",
            cure="set tokenizer=PATH to the .ckpt of experiment=vqvae, or to a published .pth",
        )
    tokenizer = load_tokenizer(Path(cfg.tokenizer), image_size=cfg.image_size)
    cache = find_token_cache(cfg, manifest, tokenizer)
    datamodule = TokenDataModule(cfg.data.folder, manifest, build(cfg.data.loader), cache)
    standardiser = datamodule.standardiser
    meaning = ConditionMeaning(
        classes=tuple(datamodule.classes),
        feature_names=tuple(datamodule.feature_names),
        standardiser=None if standardiser is None else standardiser.to_dict(),
    )
    module = VARModule(
        build(cfg.model),
        tokenizer,
        build(cfg.loss),
        build(cfg.optim),
        build(cfg.condition),
        meaning,
        compile=cfg.compile,
        seed=cfg.seed,
        read_weights=resume_checkpoint(cfg) is None,
    )
    return module, datamodule


def build_segmenter_stage(cfg: DictConfig, manifest: Manifest) -> Stage:
    """Beside the stages: finds the lesion in images that come without a mask."""
    from lfvar.data.datamodule import LesionDataModule
    from lfvar.lit.segmenter_module import SegmenterModule

    if not manifest.has_lesions:
        raise ConfigError(
            f"'{cfg.data.folder}' has no masks, and a segmenter learns from masks",
            cure="use data=phantom, or another dataset with lesion masks",
        )
    module = SegmenterModule(build(cfg.model), build(cfg.loss), build(cfg.optim), compile=cfg.compile, seed=cfg.seed)
    return module, LesionDataModule(cfg.data.folder, manifest, build(cfg.data.loader))


def find_token_cache(cfg: DictConfig, manifest: Manifest, tokenizer: LoadedTokenizer) -> TokenCache | None:
    """The token cache of this tokenizer and these data; None where images are to be encoded as training goes.

    Raises:
        ArtefactError: When the cache that was asked for is missing or was made from something else; the message has
            the command that makes it.
    """
    from lfvar.data.token_cache import HEADER_FILE, TokenCache, TokenizerIdentity, cache_folder
    from lfvar.prepare import tokens_command

    if cfg.tokens == "off":
        return None
    identity = TokenizerIdentity.of(tokenizer.net)
    anywhere = cfg.tokens == "auto"
    folder = cache_folder(Path(cfg.data.folder), identity) if anywhere else Path(cfg.tokens)
    make = tokens_command(cfg, cfg.tokenizer, folder=None if anywhere else str(folder))
    if anywhere and not (folder / HEADER_FILE).is_file():
        if is_rank_zero(os.environ):
            print(f"no token cache: images are encoded in every step; faster after\n  {make}", flush=True)
        return None
    return TokenCache.open(folder, manifest, identity, command=make)


def build_classifier_stage(cfg: DictConfig, manifest: Manifest) -> Stage:
    """A judge of lesion types: real images, generated ones, or both; validated and tested on real ones."""
    from lfvar.data.mixing import MixedDataModule, SyntheticImages
    from lfvar.lit.classifier_module import ClassifierModule

    synthetic = None if cfg.synthetic is None else SyntheticImages.read(cfg.synthetic, manifest)
    datamodule = MixedDataModule(cfg.data.folder, manifest, build(cfg.data.loader), synthetic, cfg.train_on)
    module = ClassifierModule(
        build(cfg.model),
        build(cfg.loss),
        build(cfg.optim),
        datamodule.classes,
        datamodule.description,
        compile=cfg.compile,
        seed=cfg.seed,
        read_weights=resume_checkpoint(cfg) is None,
    )
    return module, datamodule
