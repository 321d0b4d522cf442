"""One page on a whole chain of steps: data, training curves, reconstructions, generated images, numbers, run cards.

Everything is read from the folders that the steps left, so a chain that stopped half way has a page as well.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lfvar
from lfvar.config.card import Card, read_card
from lfvar.config.run import CARD_FILE
from lfvar.data.files import replace_file
from lfvar.data.generated import GENERATED_FILE, SHEETS, read_generated
from lfvar.data.manifest import MANIFEST_FILE, Manifest
from lfvar.data.splits import SPLITS
from lfvar.ending import show_seconds
from lfvar.errors import ArtefactError
from lfvar.evaluation.page import Section, read_markdown, render_html
from lfvar.figures.curves import draw_curves, read_curves
from lfvar.figures.style import save_png
from lfvar.metrics.tokenizer_report import Row, show
from lfvar.prepare import OVERVIEW_FILE

PAGE_FILE = "report.html"
FIGURES = "report"
"""Folder of what is drawn for the page alone."""
CARD_FOLDERS = ("", "run")
"""Where a step's folder has its run card: generated images have theirs one level below."""
_SHOWN = ("Findings", "Fidelity", "Control", "Reconstruction", "Preservation of measurements", "Distance between sets")
"""Parts of other reports that are seen at once; the rest unfolds."""


@dataclass(frozen=True)
class StepResult:
    """What one finished step left."""

    name: str
    """prepare, tokenizer, tokens, transformer, generate-NAME or evaluate-NAME."""
    command: str
    folder: Path
    """Of its result; of the prepared data for prepare."""
    seconds: float | None = None
    """Of the run that made it; None: not known."""

    @property
    def kind(self) -> str:
        """The name without that of the set."""
        return self.name.partition("-")[0]

    @property
    def card(self) -> Card | None:
        """Its run card; None for steps without one."""
        for folder in (self.folder / name for name in CARD_FOLDERS):
            if (folder / CARD_FILE).is_file():
                try:
                    return read_card(folder)
                except ArtefactError:  # of another version: the page goes without
                    return None
        return None

    @property
    def metrics(self) -> Mapping[str, float]:
        """What its run card says came out."""
        metrics: Mapping[str, float] = ((self.card or {}).get("result") or {}).get("metrics", {})
        return metrics


@dataclass
class Page:
    """Sections in the making, and the figures they name."""

    folder: Path
    sections: list[Section] = field(default_factory=list)
    figures: dict[str, Path] = field(default_factory=dict)

    def add(self, section: Section, figures: Mapping[str, Path] | None = None) -> None:
        """Add a section with its figures; those that do not exist are left out."""
        there = {name: path for name, path in (figures or {}).items() if path.is_file()}
        self.figures |= there
        self.sections.append(replace(section, figures=(*section.figures, *there)))


def write_chain_page(folder: Path, title: str, steps: Sequence[StepResult]) -> Path:
    """Write `report.html`; the same results give the same bytes.

    Args:
        folder: Where to; figures of the page go into `report/` below it.
        title: Of the page.
        steps: In the order they ran; whatever kinds there are.

    Returns:
        The file.
    """
    page = Page(folder)
    _add_summary(page, steps)
    _add_data(page, steps)
    for kind, name in (("tokenizer", "Tokenizer"), ("transformer", "Transformer")):
        _add_training(page, kind, name, steps)
    _add_generated(page, steps)
    _add_evaluations(page, steps)
    _add_steps(page, steps)
    path = folder / PAGE_FILE
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(path, render_html(title, page.sections, page.figures).encode())
    return path


def _of_kind(steps: Sequence[StepResult], kind: str) -> list[StepResult]:
    return [step for step in steps if step.kind == kind]


def _add_summary(page: Page, steps: Sequence[StepResult]) -> None:
    text = (
        f"Made by lfvar {lfvar.__version__}. Generated images are synthetic: for research, not for diagnosis. Every "
        "distance stands beside its floor: what two halves of the real images score against each other."
    )
    rows = [row for step in steps for row in _headlines(step)]
    head = ("step", "what", "value", "floor or ceiling")
    page.add(Section("At a glance", text, [(head, rows)] if rows else []))


def _headlines(step: StepResult) -> list[Row]:
    """The numbers that a reader wants first, of one step."""
    metrics = step.metrics
    wanted: list[tuple[str, str, int, str]] = []  # metric, words, digits, floor
    if step.name == "tokenizer":
        wanted = [(f"val/psnr_{region}", f"PSNR {words}, dB", 1, "") for region, words in _REGIONS.items()]
    elif step.name == "transformer":
        wanted = [("val/loss", "loss, nats per token", 3, ""), ("val/accuracy", "tokens right", 3, "")]
    elif step.name == "evaluate-tokenizer":
        wanted = [(f"psnr_{region}", f"PSNR {words}, held out, dB", 1, "") for region, words in _REGIONS.items()]
        for key in metrics:
            group, _, name = key.partition("/")
            if group == "fd":
                wanted.append((key, f"Fréchet distance, {name}", 2, f"fd_floor/{name}"))
            elif group == "spearman":
                wanted.append((key, f"rank correlation, {name}", 2, ""))
    elif step.kind == "evaluate":
        for key in metrics:
            if key.endswith("_matched") and key[:3] in ("fd/", "kid"):
                metric, _, space = key.removesuffix("_matched").partition("/")
                name = {"fd": "Fréchet distance", "kid": "kernel distance"}[metric]
                wanted.append((key, f"{name}, {space}", 3, key.replace("_matched", "_floor")))
            elif key.startswith("control/"):
                wanted.append((key, f"control, {key.removeprefix('control/')}", 2, ""))
    return [
        (step.name, words, show(metrics[key], digits), show(metrics[floor], digits) if floor in metrics else "")
        for key, words, digits, floor in wanted
        if key in metrics
    ]


_REGIONS = {"inside": "inside lesions", "outside": "outside", "all": "whole image"}


def _add_data(page: Page, steps: Sequence[StepResult]) -> None:
    for step in _of_kind(steps, "prepare"):
        if not (step.folder / MANIFEST_FILE).is_file():
            continue
        manifest = Manifest.read(step.folder)
        header = manifest.header
        rows = []
        for split in SPLITS:
            counts = [sum(row.label == label for row in manifest.select(split)) for label in header.classes]
            rows.append((split, *map(str, counts), str(sum(counts))))
        text = f"{header.name}: {len(manifest.rows)} images of {header.image_size} px, manifest `{manifest.hash[:12]}`."
        page.add(
            Section("Data", text, [(("split", *header.classes, "all"), rows)]),
            {"prepared images of every type, lesions outlined": step.folder / OVERVIEW_FILE},
        )


def _add_training(page: Page, kind: str, name: str, steps: Sequence[StepResult]) -> None:
    what = {
        "tokenizer": "Held-out images, and what becomes of them after each scale, the last time it was validated.",
        "transformer": "Held-out images of each type, and samples of that type, the last time it was validated.",
    }
    for step in _of_kind(steps, kind):
        if not step.folder.is_dir():
            continue
        figures: dict[str, Path] = {}
        table = read_curves(step.folder)
        figure = None if table is None else draw_curves(table)
        if figure is not None:
            (page.folder / FIGURES).mkdir(parents=True, exist_ok=True)
            figures[f"curves of the {kind}"] = save_png(figure, page.folder / FIGURES / f"curves-{kind}.png")
        figures[f"pictures of the {kind}"] = step.folder / "pictures" / "latest.png"
        page.add(Section(name, what[kind]), figures)


def _add_generated(page: Page, steps: Sequence[StepResult]) -> None:
    sets = _of_kind(steps, "generate")
    if sets:
        page.add(Section("Generated images", "Outside the mask, edits keep every byte of their source."))
    for step in sets:
        text = ""
        if (step.folder / GENERATED_FILE).is_file():
            table = read_generated(step.folder)
            text = f"{len(table)} images, mode `{table['mode'].iloc[0]}`."
            prompts = [prompt for prompt in dict.fromkeys(table["prompt"]) if isinstance(prompt, str)]
            text += "".join(f"\n\n“{prompt}”" for prompt in prompts)
        sheets = sorted((step.folder / SHEETS).glob("*.png"))
        page.add(
            Section(step.name.removeprefix("generate-"), text, level=3),
            {f"{step.name}: {path.stem}": path for path in sheets},
        )


def _add_evaluations(page: Page, steps: Sequence[StepResult]) -> None:
    done = [step for step in _of_kind(steps, "evaluate") if (step.folder / "report.md").is_file()]
    if done:
        page.add(Section("Numbers", "Parts that are folded up open with a click."))
    for step in done:
        page.add(Section(step.name.removeprefix("evaluate-"), level=3))
        sections, figures = read_markdown(step.folder / "report.md")
        if not figures:  # pages that name their pictures elsewhere
            pictures = [*sorted(step.folder.glob("*.png")), *sorted(step.folder.glob("pictures/*.png"))]
            figures = {f"{step.name}: {path.stem}": path for path in pictures}
            sections.append(Section("Pictures", level=3, figures=tuple(figures)))
        there = {name: path for name, path in figures.items() if path.is_file()}
        page.figures |= there
        for section in _joined(sections):
            shown = tuple(name for name in section.figures if name in there)
            seen = section.title.startswith((*_SHOWN, "In ", "Pictures"))
            page.sections.append(replace(section, figures=shown, level=4, folded=not seen))


def _joined(sections: Sequence[Section]) -> list[Section]:
    """Without headings that have nothing below; what a page says before its first heading is what it is about."""
    full = [section for section in sections if section.text or section.tables or section.figures]
    return [
        replace(section, title="What was evaluated") if index == 0 and not section.title else section
        for index, section in enumerate(full)
    ]


def _add_steps(page: Page, steps: Sequence[StepResult]) -> None:
    rows = [
        (step.name, "–" if step.seconds is None else show_seconds(step.seconds), str(step.folder)) for step in steps
    ]
    known = [step.seconds for step in steps if step.seconds is not None]
    rows.append(("all", show_seconds(sum(known)), ""))
    commands = "\n".join(step.command for step in steps)
    page.add(Section("Steps", "How long each took when it ran.", [(("step", "time", "result"), rows)]))
    page.add(Section("Commands", code=commands, level=3, folded=True))
    cards = [(step, card) for step in steps if (card := step.card) is not None]
    if cards:
        page.add(Section("Run cards", "What made each result."))
    for step, card in cards:
        page.add(Section(step.name, tables=[(("", ""), _card_rows(card))], code=_settings(card), level=3, folded=True))


def _card_rows(card: Card) -> list[Row]:
    git = card.get("git")
    result: Mapping[str, Any] = card.get("result") or {}
    facts = {
        "overrides": shlex.join(card["overrides"]),
        "started": card["started"],
        "status": result.get("status"),
        "seconds": result.get("seconds"),
        "seed": card["seed"],
        "revision": None if git is None else git["revision"][:12] + (" with local changes" if git["dirty"] else ""),
        "versions": ", ".join(f"{name} {version}" for name, version in card["versions"].items() if version),
        "device": ", ".join(card["device"]["accelerators"]) or f"{card['device']['cpu_count']} CPU cores",
        **{f"hash of {name}": value for name, value in card["data"].items()},
        **{name: show(value, 4) for name, value in result.get("metrics", {}).items()},
    }
    return [(name, str(value)) for name, value in facts.items() if value is not None]


def _settings(card: Card) -> str:
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(card["config"]))
