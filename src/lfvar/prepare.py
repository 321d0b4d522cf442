"""Stage 0: `python -m lfvar.prepare data=ham10000 data.root=PATH image_size=256`.

Checks and frames every pair, measures what came out, fits what later stages need of the measurements, and draws figures
with `figures=true`. `stage=tokens ckpt=PATH` turns the prepared images into token ids instead.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from lfvar.config import build, command, is_rank_zero, make_card, print_card
from lfvar.ending import show_ending
from lfvar.errors import ConfigError

OVERVIEW_FILE = "overview.png"
"""Lies beside the manifest: what came out, at a glance."""
OVERVIEW_COLUMNS, OVERVIEW_ROWS = 8, 12

if TYPE_CHECKING:
    from lfvar.data.manifest import Manifest


def prepare(cfg: DictConfig) -> Manifest:
    """Prepare the dataset of a config, or go on where a killed run stopped, and print what came out."""
    from rich.console import Console

    from lfvar.data.manifest import Manifest
    from lfvar.data.prepare import prepare as run

    arguments = _arguments(cfg)
    report = run(**arguments)
    Console().print(report)
    manifest = Manifest.read(arguments["folder"])
    if report.num_new or not (arguments["folder"] / OVERVIEW_FILE).is_file():
        write_overview(arguments["folder"], manifest)
    return manifest


def require_prepared(cfg: DictConfig) -> Manifest:
    """The manifest of the prepared data of a config, prepared now if nothing has been yet.

    The first process prepares; the others wait for its manifest.

    Raises:
        DataError: As `lfvar.data.prepare.prepare`.
        ArtefactError: When the folder was prepared with other settings.
    """
    manifest = find_prepared(cfg)
    while manifest is None:
        if is_rank_zero(os.environ):
            print(f"nothing is prepared at {cfg.data.folder} yet: preparing {cfg.data.name} now", flush=True)
            prepare(cfg)
        else:
            time.sleep(2.0)
        manifest = find_prepared(cfg)
    return manifest


def find_prepared(cfg: DictConfig) -> Manifest | None:
    """The manifest of the prepared data of a config; None when nothing is prepared.

    Raises:
        ArtefactError: When the folder was prepared with other settings.
    """
    from lfvar.data.prepare import check_prepared

    return check_prepared(**_arguments(cfg))


def measure(cfg: DictConfig, manifest: Manifest) -> list[Path]:
    """Measure the prepared images of a config, and write table and statistics once all of them are in the cache.

    Returns:
        The files; none while other shards are missing, or where no image has a lesion.

    Raises:
        ConfigError: When the shard does not exist.
        ArtefactError: When the cache or a prepared file is damaged.
    """
    from lfvar.measure.cache import MeasurementCache
    from lfvar.measure.run import cache_key, measure_manifest, merge_caches, read_table, write_table
    from lfvar.measure.statistics import write_statistics

    if not manifest.has_lesions:
        print("nothing is measured: the images have no masks, so there is no lesion to describe", flush=True)
        return []
    folder, cache = Path(cfg.data.folder), Path(cfg.measure.cache)
    settings = build(cfg.measure.settings)
    if cfg.measure.merge:
        added = merge_caches(cache, [Path(path) for path in cfg.measure.merge])
        print(f"{added} measurements taken over from {len(cfg.measure.merge)} caches", flush=True)
    shard = parse_shard(cfg.measure.shard)
    report = measure_manifest(folder, manifest, settings, cache, workers=cfg.measure.workers, shard=shard)
    print(report, flush=True)
    with MeasurementCache(cache) as opened:
        left = opened.missing([cache_key(row, settings) for row in manifest.rows])
        if left:
            print(
                f"{len(left)} images belong to other shards; when those are done, take their caches in with"
                " measure.merge='[CACHE,…]' and without measure.shard",
                flush=True,
            )
            return []
        table = write_table(folder, manifest, opened, settings, command=_command(cfg))
    return [table, *write_statistics(folder, manifest, read_table(folder, manifest))]


def parse_shard(text: str | None) -> tuple[int, int] | None:
    """Read "3/8" as (3, 8).

    Raises:
        ConfigError: For anything else.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)/(\d+)", str(text))
    if found is None:
        raise ConfigError(f"measure.shard={text} is no part of a whole", cure="write it as 3/8, the third of eight")
    return int(found[1]), int(found[2])


def write_overview(folder: Path, manifest: Manifest) -> Path:
    """Draw some prepared images of every type with their lesions outlined, beside the manifest."""
    from lfvar.data.imageio import read_image, read_mask, write_png
    from lfvar.figures.overview import choose_evenly, draw_overview

    rows = []
    for label in manifest.header.classes[:OVERVIEW_ROWS]:
        there = [row for row in manifest.rows if row.label == label]
        picked = [there[place] for place in choose_evenly(len(there), OVERVIEW_COLUMNS)]
        tiles = [(read_image(folder / row.image), read_mask(folder / row.mask)) for row in picked]
        rows.append((f"{label}\n{len(there)} images", tiles))
    path = folder / OVERVIEW_FILE
    write_png(path, draw_overview(rows, OVERVIEW_COLUMNS))
    return path


def draw_figures(cfg: DictConfig, manifest: Manifest) -> list[Path]:
    """Draw what a paper shows of a dataset, from the table of measurements."""
    from lfvar.figures.measurements import write_figures
    from lfvar.measure.run import read_table

    return write_figures(Path(cfg.data.folder), manifest, read_table(Path(cfg.data.folder), manifest))


def write_tokens(cfg: DictConfig) -> Path:
    """`stage=tokens`: store the token ids of all prepared images, preparing them first where nothing is yet.

    Returns:
        The folder of the cache.

    Raises:
        ConfigError: When a setting does not fit the tokenizer.
        ArtefactError: When the tokenizer or a prepared file is missing or damaged.
        DataError: As `require_prepared`, and when another process makes the same cache.
    """
    from lfvar.data.token_cache import TokenizerIdentity, cache_folder
    from lfvar.data.token_writer import write_token_cache
    from lfvar.devices import pick_device
    from lfvar.evaluation.common import load_tokenizer, with_image_size
    from lfvar.sampling.filling import without_lesion

    device = pick_device(cfg.device)
    loaded = load_tokenizer(cfg)
    cfg = with_image_size(cfg, loaded.net.config.image_size)
    identity = TokenizerIdentity.of(loaded.net)
    manifest = require_prepared(cfg)
    prepared = Path(cfg.data.folder)
    report = write_token_cache(
        Path(cfg.tokens) if cfg.tokens else cache_folder(prepared, identity),
        prepared,
        manifest,
        identity,
        loaded.net.to(device).encode_ids,
        without_lesion,
        command=tokens_command(cfg, cfg.ckpt, weights=cfg.weights, patch_nums=cfg.patch_nums, folder=cfg.tokens),
        batch_size=cfg.batch_size,
        device=device,
        about=loaded.about,
    )
    print(report, flush=True)
    return report.folder


def tokens_command(
    cfg: DictConfig,
    ckpt: str,
    *,
    weights: str = "ema",
    patch_nums: Sequence[int] | None = None,
    folder: str | None = None,
) -> str:
    """The command line that stores the tokens of a tokenizer for the data of this config.

    Args:
        cfg: Of any command with data; its image size is the tokenizer's.
        ckpt: The tokenizer.
        weights: Of our checkpoints: ema or last.
        patch_nums: Schedule of published weights; None: the published one.
        folder: Of the cache; None: the default one.
    """
    words = ["stage=tokens", f"ckpt={ckpt}"]
    words += [f"weights={weights}"] if weights != "ema" else []
    words += [f"patch_nums=[{','.join(map(str, patch_nums))}]"] if patch_nums is not None else []
    words += [f"tokens={folder}"] if folder else []
    return f"{_command(cfg)} {shlex.join(words)}"


def check_stage(cfg: DictConfig) -> None:
    """Check what the types of the schema do not.

    Raises:
        ConfigError: The stage is unknown, or a setting belongs to the other one or is out of range.
    """
    if cfg.stage not in ("prepare", "tokens"):
        raise ConfigError(
            f"stage={cfg.stage} is nothing that can be prepared", cure="use stage=prepare or stage=tokens"
        )
    if cfg.stage == "prepare":
        if cfg.ckpt is not None:
            raise ConfigError(
                "ckpt is given, but stage=prepare needs no tokenizer", cure="add stage=tokens, or leave it out"
            )
        if cfg.figures and cfg.measure is None:
            raise ConfigError(
                "figures=true draws measurements, but ~measure leaves them out", cure="leave ~measure out"
            )
        return
    if cfg.ckpt is None:
        raise ConfigError("ckpt is not set: there is no tokenizer", cure="set ckpt=<run>/checkpoints/best.ckpt")
    if cfg.weights not in ("ema", "last"):
        raise ConfigError(f"weights={cfg.weights} is unknown", cure="use weights=ema or weights=last")
    if cfg.figures:
        raise ConfigError("figures=true belongs to stage=prepare", cure="leave it out, or leave stage=tokens out")
    if cfg.batch_size < 1:
        raise ConfigError(f"batch_size={cfg.batch_size} views at once", cure="use 1 or more")


def _arguments(cfg: DictConfig) -> dict[str, Any]:
    data = cfg.data
    return {
        "source": build(data.source),
        "name": str(data.name),
        "config": build(data.prepare),
        "split": build(data.split),
        "folder": Path(data.folder),
        "command": _command(cfg),
    }


def _command(cfg: DictConfig) -> str:
    """The command line that prepares the data of this config, whichever command is running."""
    return f"python -m lfvar.prepare {data_words(cfg)} image_size={cfg.image_size}"


def data_words(cfg: DictConfig) -> str:
    """The part of a command line that names the data of this config."""
    words = [f"data={cfg.data.name}", *([f"data.root={cfg.data.root}"] if cfg.data.root else [])]
    if HydraConfig.initialized():
        hydra = HydraConfig.get()
        ours = [override for override in hydra.overrides.task if override.lstrip("+~").startswith(("data.", "paths."))]
        words = [f"data={hydra.runtime.choices['data']}", *ours]
    return shlex.join(words)


@command("prepare")
def main(cfg: DictConfig) -> None:
    """The command."""
    from lfvar.data.manifest import MANIFEST_FILE

    start = time.monotonic()
    check_stage(cfg)
    if cfg.check:
        print_card(make_card(cfg))
        return
    if cfg.stage == "tokens":
        made = write_tokens(cfg)
        follow = f"python -m lfvar.train experiment=var tokenizer={cfg.ckpt} {data_words(cfg)}"
        show_ending({"tokens": made}, time.monotonic() - start, next_command=follow)
        return
    manifest = prepare(cfg)
    folder = Path(cfg.data.folder)
    files = {"prepared": folder, "manifest": folder / MANIFEST_FILE, "picture": folder / OVERVIEW_FILE}
    if cfg.measure is not None:
        paths = measure(cfg, manifest)
        if paths and cfg.figures:
            paths += draw_figures(cfg, manifest)
        files |= {path.stem.replace("_", " "): path for path in paths}
    follow = f"python -m lfvar.train experiment=vqvae {data_words(cfg)} image_size={cfg.image_size}"
    show_ending(files, time.monotonic() - start, next_command=follow)


if __name__ == "__main__":
    sys.exit(main())
