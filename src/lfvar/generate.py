"""Stage 3: `python -m lfvar.generate mode=inter ckpt=RUN data=ham10000`.

Plans every image first, then makes them, and leaves a folder that is itself a dataset (`lfvar.data.generated`).
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from lfvar.config import build, command, finish_card, make_card, print_card, run_folder, start_card
from lfvar.ending import show_ending, show_path

if TYPE_CHECKING:
    from lfvar.data.manifest import Manifest
    from lfvar.generation.plan import PlannedSample
    from lfvar.generation.planner import Planner
    from lfvar.generation.prompts import ReadPrompt
    from lfvar.generation.session import MakerOpener
    from lfvar.synthesizer import Synthesizer


@dataclass(frozen=True)
class Session:
    """All that a run needs, checked, with nothing written yet."""

    cfg: DictConfig
    folder: Path
    synthesizer: Synthesizer
    planner: Planner
    plan: list[PlannedSample]
    settings: Mapping[str, Any]
    opener: MakerOpener

    @property
    def hashes(self) -> dict[str, str]:
        """Of what the images are made from, for the run card."""
        real = self.settings["source"]["source_manifest"]
        return dict(self.synthesizer.hashes) | ({"manifest": real} if real else {})


def generate(cfg: DictConfig) -> Path | None:
    """Make what a validated config asks for, or go on where a killed run stopped; callable from tests and notebooks.

    Args:
        cfg: The composed root config of `conf/generate.yaml`.

    Returns:
        The folder of the images; None with `check=true`, or while other shards are missing.

    Raises:
        ConfigError: When a type, a measurement, a word or a setting is unknown, or settings do not fit each other.
        ArtefactError: When a checkpoint is missing, damaged or does not belong, or the folder holds other images.
        DataError: When a mask or an image cannot be used.
    """
    start = time.monotonic()
    session = open_session(cfg)
    explain_plan(session)
    if cfg.check:
        print_card(make_card(session.cfg, data_hashes=session.hashes))
        return None
    card_folder = run_folder(cfg)
    start_card(session.cfg, card_folder, data_hashes=session.hashes)
    status, metrics, files = "failed", {}, {}
    try:
        made, finished = make_images(session)
        if finished is not None:
            files = {"manifest": str(session.folder / "manifest.parquet"), **finished}
        metrics = {"images": float(len(session.plan)), "made_now": float(made)}
        status = "finished" if finished is not None else "waiting"
    except KeyboardInterrupt:
        status = "interrupted"
        print(f"finished images are kept: the same command with output={session.folder} goes on", flush=True)
        raise
    finally:
        finish_card(card_folder, metrics=metrics, seconds=time.monotonic() - start, files=files, status=status)
    if not files:
        return None
    show_ending(
        files, time.monotonic() - start, next_command=f"python -m lfvar.evaluate generated={show_path(session.folder)}"
    )
    return session.folder


def open_session(cfg: DictConfig) -> Session:
    """Load, check and plan."""
    from lfvar.data.manifest import hash_settings
    from lfvar.evaluation.common import with_image_size
    from lfvar.generation import session as parts
    from lfvar.generation.maker import Originals
    from lfvar.generation.modes import make_plan
    from lfvar.generation.plan import hash_plan
    from lfvar.generation.planner import Planner
    from lfvar.generation.prompts import read_prompts
    from lfvar.sampling.guidance import guidance_branches
    from lfvar.sampling.vectors import Vectors

    parts.require_choices(cfg)
    parts.parse_shard(cfg.shard)
    wish, options = parts.read_wish(cfg), parts.read_options(cfg)
    parts.require_effect(cfg, wish)
    synthesizer = parts.load_synthesizer(cfg)
    guidance_branches(options.guidance, synthesizer.net.conditioning)  # an error now rather than in the first batch
    cfg = with_image_size(cfg, synthesizer.image_size)
    pool = parts.open_pool(cfg, parts.find_manifest(cfg, wish), synthesizer)
    profiles = parts.find_profiles(synthesizer, pool)
    settings = parts.describe(cfg, wish, options, synthesizer, pool, profiles)
    planner = Planner(wish, pool, Vectors(synthesizer.feature_names, profiles), synthesizer.classes)
    planner = replace(planner, prompts=read_prompts(wish.prompts, synthesizer.classes, profiles, planner.known))
    plan = make_plan(planner, f"{wish.mode}_{hash_settings(settings)[:8]}")
    settings["source"]["plan_hash"] = hash_plan(plan)
    originals = None
    if options.full and wish.on_sources:
        originals = Originals.find(build(cfg.data.source), [s.source_id for s in plan if s.source_id is not None])
    folder = Path(cfg.output) if cfg.output else run_folder(cfg)
    opener = parts.MakerOpener(parts.plain_config(cfg), pool, options, folder, originals)
    return Session(cfg, folder, synthesizer, planner, plan, settings, opener)


def make_images(session: Session) -> tuple[int, dict[str, str] | None]:
    """Carry the plan out.

    Returns:
        How many images were made now, and the files; None while other shards are missing.
    """
    from lfvar.data.files import is_full_disk
    from lfvar.data.generated import GENERATED_FILE
    from lfvar.data.pairs import full_disk_error
    from lfvar.generation import session as parts
    from lfvar.generation.assembly import assemble, write_sheets
    from lfvar.generation.execution import carry_out, claim_folder, read_items, remove_half_written

    cfg, folder, plan = session.cfg, session.folder, session.plan
    try:
        claim_folder(folder, session.settings, raw=cfg.raw, full=cfg.full)
        made = carry_out(
            plan,
            folder,
            session.settings,
            session.opener if cfg.processes > 1 else lambda number: session.opener.around(session.synthesizer),
            batch_size=cfg.batch_size,
            unit=parts.batch_that_counts(cfg) or 1,
            processes=cfg.processes,
            shard=parts.parse_shard(cfg.shard),
            title=f"generating ({cfg.mode})",
        )
        items = read_items(folder, session.settings, plan)
        print(f"{made} images made now, {len(items)} of {len(plan)} are there", flush=True)
        if len(items) < len(plan):
            print(
                f"{len(plan) - len(items)} images belong to other shards; the last one writes the manifest", flush=True
            )
            return made, None
        remove_half_written(folder)  # of killed shards: nobody has an image left to make
        line = parts.command_of(cfg, parts.device_kind(session.synthesizer))
        manifest = assemble(
            folder,
            plan,
            items,
            session.planner.pool,
            session.synthesizer.classes,
            settings=session.settings,
            header=parts.header_of(session.settings, line, [prompt.request for prompt in session.planner.prompts]),
            command=line,
        )
        sheets = write_sheets(folder, plan, session.planner.pool, session.synthesizer.hashes)
    except OSError as error:
        if is_full_disk(error):
            raise full_disk_error(folder) from error
        raise
    print_summary(manifest, [warning for item in items.values() for warning in item["warnings"]])
    files = {"table": str(folder / GENERATED_FILE), "images": str(folder / "images")}
    return made, files | {f"sheet {name}": str(path) for name, path in sheets.items()}


def explain_plan(session: Session) -> None:
    """Say what was understood, before anything is made."""
    from rich.console import Console

    for prompt in session.planner.prompts:
        explain_prompt(prompt)
    plan = session.plan
    sources = {sample.source_id for sample in plan} - {None}
    counts = Counter(sample.label or "any type" for sample in plan)
    masks = Counter(sample.mask.kind for sample in plan)
    Console().print(
        f"{len(plan)} images, mode={session.cfg.mode}: {_list(counts)}; masks: {_list(masks)}"
        + (f"; painted on {len(sources)} real images" if sources else "; no source images"),
        soft_wrap=True,
        highlight=False,
    )


def explain_prompt(prompt: ReadPrompt) -> None:
    """Print what a sentence was understood as."""
    from rich.console import Console
    from rich.table import Table

    from lfvar.sampling.prompt import COLUMNS

    console = Console()
    console.print(f"“{prompt.text}”", highlight=False)
    if prompt.rows:
        table = Table(*COLUMNS)
        for row in prompt.rows:
            table.add_row(*row)
        console.print(table)


def print_summary(manifest: Manifest, warnings: Sequence[str]) -> None:
    """Say what came out."""
    counts = Counter(row.label for row in manifest.rows)
    print(f"{len(manifest.rows)} images: {_list(counts)}", flush=True)
    for warning, count in Counter(warnings).most_common(8):
        print(f"warning ({count} images): {warning}", flush=True)


def _list(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


@command("generate")
def main(cfg: DictConfig) -> Any:
    """The command."""
    return generate(cfg)


if __name__ == "__main__":
    sys.exit(main())
