"""From a config to everything a run needs: the wish, the synthesiser, the real images, and what decides the result."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra.core.hydra_config import HydraConfig
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

import lfvar
from lfvar.config import build
from lfvar.data.files import hash_bytes
from lfvar.data.generated import KIND, NAME
from lfvar.data.manifest import SCHEMA_VERSION, Manifest, ManifestHeader, plain
from lfvar.devices import device_of_process
from lfvar.errors import ArtefactError, ConfigError
from lfvar.generation.maker import Maker, Options, Originals
from lfvar.generation.pool import Pool
from lfvar.generation.settings import MODES, Wish
from lfvar.measure.profiles import PROFILES_FILE, Profiles
from lfvar.prepare import find_prepared, require_prepared
from lfvar.sampling.editing import EditConfig

if TYPE_CHECKING:
    from lfvar.synthesizer import Synthesizer

HOW = ("processes", "shard", "output", "device", "batch_size", "check", "paths.runs", "name")
"""Settings that decide where and how fast, and not what."""


def read_wish(cfg: DictConfig) -> Wish:
    """What is asked for.

    Raises:
        ConfigError: When settings are out of range, or do not fit the mode.
    """
    if cfg.mode is None:
        raise ConfigError("mode is not set: there is nothing to make", cure=f"set mode to one of: {', '.join(MODES)}")
    prompt = OmegaConf.to_container(cfg.prompt) if OmegaConf.is_list(cfg.prompt) else cfg.prompt
    prompts = () if prompt is None else (prompt,) if isinstance(prompt, str) else tuple(map(str, prompt))
    return Wish(
        mode=cfg.mode,
        sources=build(cfg.sources),
        ask=build(cfg.ask),
        mask=build(cfg.mask),
        sweep=build(cfg.sweep),
        balance=build(cfg.balance),
        prompts=prompts,
        seed=cfg.seed,
        edits=cfg.edits,
    )


def require_choices(cfg: DictConfig) -> None:
    """Check what the types of the schema do not.

    Raises:
        ConfigError: A setting is missing or out of range.
    """
    if cfg.ckpt is None:
        raise ConfigError("ckpt is not set: there is no transformer", cure="set ckpt to a run of experiment=var")
    for key, allowed in (("weights", ("ema", "last")), ("precision", ("32", "bf16"))):
        if str(cfg[key]) not in allowed:
            raise ConfigError(f"{key}={cfg[key]} is unknown", cure=f"use {key}={' or '.join(allowed)}")
    for key in ("processes", "batch_size"):
        if key in cfg and cfg[key] < 1:
            raise ConfigError(f"{key}={cfg[key]} is out of range", cure="use 1 or more")


def require_effect(cfg: DictConfig, wish: Wish) -> None:
    """Refuse what is set and would do nothing.

    Raises:
        ConfigError: When edits are asked for what only whole images have, or the other way round.
    """
    if cfg.full and not wish.on_sources:
        raise ConfigError(
            f"full=true pastes edits into photographs, and mode={wish.mode} has none",
            cure="leave full out" + (", or set edits=true" if wish.mode == "prompt" else ""),
        )
    if cfg.segmenter is not None and wish.on_sources:
        raise ConfigError(
            "segmenter is set, but an edit's lesion lies in its mask", cure="leave it out: it is for whole images"
        )


def parse_shard(text: str | None) -> tuple[int, int] | None:
    """Read "3/8" as (3, 8).

    Raises:
        ConfigError: For anything else.
    """
    if text is None:
        return None
    number, _, count = str(text).partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise ConfigError(f"shard={text} is no part of a whole", cure="write it as 3/8, the third of eight")
    return int(number), int(count)


def load_synthesizer(cfg: DictConfig, device: str | None = None) -> Synthesizer:
    """The synthesiser of `ckpt`."""
    from lfvar.synthesizer import Synthesizer

    return Synthesizer.from_run(
        cfg.ckpt,
        tokenizer=cfg.tokenizer,
        profiles=cfg.profiles,
        weights=cfg.weights,
        device=device or cfg.device,
        precision=str(cfg.precision),  # type: ignore[arg-type]  # checked by `require_choices`
    )


def find_manifest(cfg: DictConfig, wish: Wish) -> Manifest | None:
    """Of the real images, prepared now where they are needed; None for a model whose data are not at hand.

    Raises:
        ArtefactError: When the folder was prepared with other settings.
    """
    needed = wish.on_sources or wish.mask.kind == "bank"
    return require_prepared(cfg) if needed else find_prepared(cfg)


def open_pool(cfg: DictConfig, manifest: Manifest | None, synthesizer: Synthesizer) -> Pool:
    """The real images; None: an empty pool at the size of the model."""
    if manifest is None:
        header = ManifestHeader("nothing", synthesizer.classes, synthesizer.image_size, {}, "", None, "", "")
        return Pool(Path(cfg.data.folder), Manifest(header, ()), {})
    return Pool.read(Path(cfg.data.folder), manifest)


def find_profiles(synthesizer: Synthesizer, pool: Pool) -> Profiles | None:
    """What types measure: as given, else of the transformer's training data, else of the real images at hand."""
    if synthesizer.profiles is not None:
        return synthesizer.profiles
    path = pool.folder / PROFILES_FILE
    if not path.is_file() or not pool.manifest.rows:
        return None
    profiles = Profiles.read(path)
    if profiles.made_from.get("manifest_hash") != pool.manifest.hash:
        raise ArtefactError(
            f"'{path}' was fitted on another split than the prepared images have",
            cure=f"measure again: {pool.manifest.header.command}",
        )
    return profiles


def describe(
    cfg: DictConfig, wish: Wish, options: Options, synthesizer: Synthesizer, pool: Pool, profiles: Profiles | None
) -> dict[str, Any]:
    """Everything that decides the images, as plain data; `plan_hash` is added when the plan is made."""
    asked = asdict(wish)
    asked["ask"]["set"] = dict(wish.ask.stated)
    if wish.mask.file is not None:
        content = Path(wish.mask.file)
        asked["mask"]["file"] = {
            "name": content.name,
            "sha256": hash_bytes(content.read_bytes()) if content.is_file() else None,
        }
    settings: dict[str, Any] = plain(
        {
            "schema_version": SCHEMA_VERSION,
            "name": NAME,
            "source": {
                "kind": KIND,
                **asked,
                "guidance": asdict(options.guidance),
                "filters": asdict(options.filters),
                "editing": asdict(options.editing),
                "raw": options.raw,
                "full": options.full,
                "weights": cfg.weights,
                "precision": str(cfg.precision),
                "batch_size": batch_that_counts(cfg),
                "device": device_kind(synthesizer),
                "transformer": synthesizer.hashes["transformer"],
                "tokenizer": synthesizer.hashes["tokenizer"],
                "segmenter": None if cfg.segmenter is None else hash_bytes(_bytes_of(cfg.segmenter)),
                "profiles": None if profiles is None else dict(profiles.made_from),
                "source_manifest": pool.manifest.hash if pool.manifest.rows else None,
            },
            "prepare": {"image_size": synthesizer.image_size},
            "split": {},
        }
    )
    return settings


def device_kind(synthesizer: Synthesizer) -> str:
    """Which kind draws the noise: generators of cpu and cuda give different numbers."""
    return next(synthesizer.net.parameters()).device.type


def batch_that_counts(cfg: DictConfig) -> int | None:
    """The batch size where an image depends on what is made beside it; None where it does not."""
    return int(cfg.batch_size) if str(cfg.precision) == "bf16" else None


def command_of(cfg: DictConfig, device: str) -> str:
    """The command line that makes the same images, wherever and by however many processes.

    Args:
        cfg: Of the run.
        device: The kind that draws the noise (`device_kind`).
    """
    words = [f"mode={cfg.mode}", f"ckpt={cfg.ckpt}"]
    if HydraConfig.initialized():
        given = HydraConfig.get().overrides.task
        words = [word for word in given if word.partition("=")[0].lstrip("+~") not in HOW]
    words.append(f"device={device}")
    batch_size = batch_that_counts(cfg)
    return shlex.join(["python", "-m", "lfvar.generate", *words, *([f"batch_size={batch_size}"] if batch_size else [])])


@dataclass(frozen=True)
class MakerOpener:
    """Loads what a process needs; plain data, so that it travels to spawned processes."""

    cfg: dict[str, Any]
    pool: Pool
    options: Options
    folder: Path
    originals: Originals | None

    def __call__(self, number: int) -> Maker:
        """The maker of the process of that number; GPUs are given out in turn."""
        cfg = OmegaConf.create(self.cfg)
        return self.around(load_synthesizer(cfg, device_of_process(str(cfg.device), number)))

    def around(self, synthesizer: Synthesizer) -> Maker:
        """The maker of a synthesiser that is loaded already."""
        finder = self._finder(synthesizer)
        return Maker(
            synthesizer, self.pool, self.options, self.folder, self.originals, finder, dict(synthesizer.hashes)
        )

    def _finder(self, synthesizer: Synthesizer) -> _Finder | None:
        if self.cfg["segmenter"] is None:
            return None
        from lfvar.interop.segmenters import load_segmenter

        loaded = load_segmenter(self.cfg["segmenter"])
        if loaded.image_size != synthesizer.image_size:
            raise ConfigError(
                f"segmenter={self.cfg['segmenter']} takes {loaded.image_size} pixels, the model makes "
                f"{synthesizer.image_size}",
                cure="train one at that size: python -m lfvar.train experiment=segmenter",
            )
        return _Finder(loaded.net)


@dataclass(frozen=True)
class _Finder:
    """A segmenter over single images of bytes."""

    net: Any

    def __call__(self, image_HWC: NDArray[np.uint8]) -> NDArray[np.bool_]:
        from lfvar.data.dataset import to_model_range
        from lfvar.interop.segmenters import segment_lesions

        return segment_lesions(self.net, to_model_range(image_HWC)[None])[0]


def plain_config(cfg: DictConfig) -> dict[str, Any]:
    """What `MakerOpener` needs of the config."""
    names = ("ckpt", "tokenizer", "profiles", "weights", "device", "precision", "segmenter")
    return {name: cfg[name] for name in names}


def read_options(cfg: DictConfig) -> Options:
    """How planned samples become files."""
    editing: EditConfig = build(cfg.editing)
    return Options(build(cfg.guidance), build(cfg.filters), editing, cfg.raw, cfg.full)


def header_of(settings: Mapping[str, Any], command: str, prompts: list[dict[str, Any]]) -> dict[str, Any]:
    """What `generated.parquet` says of itself."""
    source = settings["source"]
    return {
        "settings": settings,
        "hashes": {name: source[name] for name in ("transformer", "tokenizer", "source_manifest", "plan_hash")},
        "guidance": source["guidance"],
        "filters": source["filters"],
        "editing": source["editing"],
        "prompts": prompts,
        "command": command,
        "lfvar_version": lfvar.__version__,
    }


def _bytes_of(path: str) -> bytes:
    file = Path(path)
    if not file.is_file():
        raise ArtefactError(f"no segmenter at {path}", cure="give a .ckpt file of experiment=segmenter")
    return file.read_bytes()
