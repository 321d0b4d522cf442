"""From a wish to a plan: one function per mode, each pure and the same every time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from lfvar.data.manifest import ManifestRow
from lfvar.errors import ConfigError, DataError
from lfvar.generation.mask_search import DRIVES, drive_mask
from lfvar.generation.plan import MaskPlan, PlannedSample
from lfvar.generation.planner import Planner
from lfvar.measure.schema import FROM_MASK, feature
from lfvar.sampling.asking import require_possible

_SHEET_WIDTH = 8  # images beside each other where there is no natural row


def make_plan(planner: Planner, prefix: str) -> list[PlannedSample]:
    """The plan of the wish's mode; raises as `Planner.plan`."""
    return planner.plan(MODE_PLANNERS[planner.wish.mode], prefix)


def plan_intra(planner: Planner) -> Iterator[PlannedSample]:
    """The source's own type and measurements: new samples of the same lesion."""
    types = planner.wish.ask.types
    for source in planner.sources(8):
        for label, (number, seed) in product(types or [source.label], planner.seeds()):
            yield planner.make(source, label, number, seed, sheet="samples", row=_name(source), column=f"seed {seed}")


def plan_inter(planner: Planner) -> Iterator[PlannedSample]:
    """Other types on the same skin."""
    types = planner.wish.ask.types
    for source in planner.sources(8):
        targets = types or [label for label in planner.classes if label != source.label]
        for label, (number, seed) in product(targets, planner.seeds()):
            column = label if planner.wish.num_samples == 1 else f"{label}, seed {seed}"
            yield planner.make(source, label, number, seed, sheet="types", row=_name(source), column=column)


def plan_matrix(planner: Planner) -> Iterator[PlannedSample]:
    """Every type on an image of every type."""
    for number, seed in planner.seeds():
        sheet = "matrix" if planner.wish.num_samples == 1 else f"matrix_seed{seed}"
        for source in planner.sources(len(planner.pool.classes)):
            for label in planner.wish.ask.types or planner.classes:
                yield planner.make(source, label, number, seed, sheet=sheet, row=_name(source), column=label)


def plan_sweep(planner: Planner) -> Iterator[PlannedSample]:
    """One measurement from low to high: a strip per source and seed, the same seed all along."""
    wish, name = planner.wish, planner.wish.sweep.feature
    assert name is not None
    planner.require_feature(name, "sweep.feature")
    if name in FROM_MASK and name not in DRIVES:
        raise ConfigError(f"{name} follows from the mask, and no mask is changed for it", cure=f"sweep {list(DRIVES)}")
    item = feature(name)
    for source in planner.sources(4):
        for label, (number, seed) in product(wish.ask.types or [source.label], planner.seeds()):
            steps = _sweep_steps(planner, label, name)
            values = [value for _, value in steps]
            shape = {other: amount for other, amount in planner.stated(label).items() if other in FROM_MASK}
            masks = _sweep_masks(planner, source, label, seed, name, values, shape)
            for (heading, value), mask in zip(steps, masks, strict=True):
                sample = planner.make(
                    source,
                    label,
                    number,
                    seed,
                    mask=mask,
                    sheet=f"sweep_{name}",
                    row=_name(source, seed),
                    column=heading,
                )
                caption = f"{value:.3g}" if item.unit == "1" else f"{value:.3g} {item.unit}"
                moved = _move(planner, source, sample, label, name, value)
                if name in FROM_MASK:
                    wanted = {**sample.wanted, name: value}
                    yield replace(sample, asked=moved, wanted=wanted, caption=caption)
                else:
                    yield replace(sample, asked={**moved, name: value}, caption=caption)


def plan_balance(planner: Planner) -> Iterator[PlannedSample]:
    """As many images of each type as it lacks, on real images of the split in turn."""
    wish, config = planner.wish, planner.wish.balance
    counts = Counter(row.label for row in planner.pool.manifest.select(wish.split))
    target = config.target or max(counts.values(), default=0)
    everything = planner.sources(0)
    running = 0
    for label in wish.ask.types or planner.classes:
        lacking = max(0, target - counts[label])
        if config.max_factor:
            lacking = min(lacking, int(config.max_factor * counts[label]))
        rows = [row for row in everything if config.sources == "any" or row.label == label]
        if lacking and not rows:
            raise DataError(
                f"type '{label}' lacks {lacking} images, and the {wish.split} split has none of it to paint on",
                cure="set balance.sources=any, or name other types with ask.types",
            )
        order = np.random.default_rng([0x62616C, wish.seed, planner.classes.index(label)]).permutation(len(rows))
        for turn in range(lacking):
            source = rows[int(order[turn % len(rows)])]
            row, column = divmod(turn, _SHEET_WIDTH)
            yield planner.make(
                source,
                label,
                turn // len(rows),
                wish.seed + running,
                sheet=f"balance_{label}",
                row=f"{row * _SHEET_WIDTH + 1} to {(row + 1) * _SHEET_WIDTH}",
                column=str(column + 1),
            )
            running += 1


def plan_whole(planner: Planner) -> Iterator[PlannedSample]:
    """Whole images of each type, skin included."""
    for label in planner.wish.ask.types or planner.classes:
        for number, seed in planner.seeds():
            yield planner.make(None, label, number, seed, sheet="whole", row=label, column=f"seed {seed}")


def plan_prompt(planner: Planner) -> Iterator[PlannedSample]:
    """What sentences ask for."""
    wish = planner.wish
    counts = [
        prompt.count * (wish.ask.num_samples or (1 if prompt.count > 1 else wish.num_samples))
        for prompt in planner.prompts
    ]
    sources = planner.sources(max(counts)) if wish.on_sources else []
    if (wish.sources.count is not None or wish.sources.ids) and len(sources) > min(counts):
        raise ConfigError(
            f"{len(sources)} images to paint on, and a sentence asks for {min(counts)}: some would never be used",
            cure=f"set ask.num_samples={len(sources)}, or name fewer sources",
        )
    for prompt, count in zip(planner.prompts, counts, strict=True):
        for number in range(count):
            seed = wish.seed + number
            stated = {**prompt.values, **planner.stated(prompt.label)}
            source = sources[number % len(sources)] if sources else None
            yield planner.make(
                source,
                prompt.label,
                number,
                seed,
                stated=stated,
                prompt=prompt.text,
                sheet="prompts",
                row=prompt.text,
                column=f"seed {seed}",
            )


MODE_PLANNERS: Mapping[str, Callable[[Planner], Iterator[PlannedSample]]] = {
    "intra": plan_intra,
    "inter": plan_inter,
    "matrix": plan_matrix,
    "sweep": plan_sweep,
    "balance": plan_balance,
    "whole": plan_whole,
    "prompt": plan_prompt,
}


def _sweep_steps(planner: Planner, label: str, name: str) -> list[tuple[str, float]]:
    """Heading and value of each step."""
    config = planner.wish.sweep
    if config.values is not None:
        for value in config.values:
            require_possible({name: value})
        return [(f"step {index + 1}", value) for index, value in enumerate(config.values)]
    probabilities = np.linspace(config.low, config.high, config.steps)
    return [(f"{p:.0%}", planner.vectors.quantile(label, name, float(p))) for p in probabilities]


def _sweep_masks(
    planner: Planner,
    source: ManifestRow,
    label: str,
    seed: int,
    name: str,
    values: Sequence[float],
    shape: Mapping[str, float],
) -> list[MaskPlan]:
    """One mask for all steps, or one for each where the mask is what moves; with the shape that is stated."""
    masks = planner.masks
    if name not in FROM_MASK:
        return [masks.choose(source, label, seed, shape)] * len(values)
    if masks.kind == "bank":
        return [masks.from_bank_like(source, label, seed, name, value, shape) for value in values]
    if DRIVES[name] in ("scaled", "moved"):
        return drive_mask(name, values, masks.choose(source, label, seed, shape), planner.pool)
    if planner.wish.mask.kind in ("source", "file"):
        raise ConfigError(
            f"{name} cannot be moved by scaling a mask, and mask.kind={planner.wish.mask.kind} has one shape",
            cure="leave mask.kind out (drawn), or set mask.kind=bank",
        )
    return drive_mask(name, values, masks.like_source(source, seed, name, shape), planner.pool)


def _move(
    planner: Planner, source: ManifestRow, sample: PlannedSample, label: str, name: str, value: float
) -> dict[str, float]:
    """What is asked of all but the mask and the swept value at one step."""
    others, base, asked = planner.wish.sweep.others, planner.wish.base, dict(sample.asked)
    stated = {other: amount for other, amount in planner.stated(label).items() if other in asked}
    goes_along = name in FROM_MASK and base in ("expected", "sampled")  # with the mask of this step
    if others == "free":
        asked = {}
    elif others == "follow" and asked and not goes_along:
        own = planner.pool.measured.get(source.image_id, {}) if base == "source" else {}
        start = {name: own[name]} if name in FROM_MASK and name in own else {}
        asked = planner.vectors.follow({**asked, **start}, label, name, value)
    return {other: amount for other, amount in {**asked, **stated}.items() if other not in FROM_MASK}


def _name(source: ManifestRow, seed: int | None = None) -> str:
    return f"{source.label}\n{source.image_id}" + ("" if seed is None else f"\nseed {seed}")
