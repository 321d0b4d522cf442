"""What `--help` says: what the command does, examples that lead on, and the groups that it takes; on one screen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import TextWrapper

from omegaconf import OmegaConf

WIDTH = 100
_COLUMN = 48
_HIDDEN = ("hydra", "paths")
_DIR_FLAGS = ("--config-dir", "-cd")


@dataclass(frozen=True)
class Help:
    """What is said of one command."""

    summary: str
    examples: Sequence[tuple[str, str]]
    """Arguments, and what they do."""
    next: str


HELP = {
    "prepare": Help(
        "Check, frame, split and measure a dataset; store its tokens.",
        (
            ("data=ham10000 data.root=PATH image_size=64", "images, masks, measurements; restartable"),
            ("data=images data.name=mine data.root=PATH ~measure", "images of your own, without masks"),
            ("data=ham10000 data.root=PATH figures=true", "and draw what a paper shows of a dataset"),
            ("stage=tokens ckpt=TOKENIZER.ckpt data=ham10000", "token ids, so that transformers train faster"),
        ),
        "python -m lfvar.train experiment=vqvae data=NAME",
    ),
    "train": Help(
        "Train a tokenizer, a transformer, or a judge of images.",
        (
            ("experiment=vqvae", "the tokenizer, on phantom data, in minutes"),
            ("experiment=var condition=skin tokenizer=TOKENIZER.ckpt", "the transformer"),
            ("experiment=vqvae data=ham10000 data.root=PATH", "on real images"),
            ("experiment=vqvae seed=1 optim.lr=3e-4", "change settings (+key=value adds one)"),
            ("experiment=vqvae -m loss=tokenizer,tokenizer_focus", "a sweep: a run each (sweep=NAME: a written one)"),
            ("resume=RUN", "go on there (a .ckpt file: in a new folder)"),
            ("experiment=vqvae debug=overfit", "one batch (limit: two steps; profile: times)"),
        ),
        "python -m lfvar.evaluate target=tokenizer ckpt=RUN/checkpoints/best.ckpt",
    ),
    "generate": Help(
        "Make images of the types and measurements that are asked for.",
        (
            ("mode=matrix ckpt=RUN", "every type painted on an image of every type"),
            ("mode=inter ckpt=RUN ask.types=[mel]", "another type on the same skin (intra: the same)"),
            ("mode=sweep ckpt=RUN sweep.feature=clinical_colour_lightness", "one measurement from low to high"),
            ("mode=prompt ckpt=RUN \"prompt='a large dark melanoma'\"", "what a sentence asks for"),
            ("mode=balance ckpt=RUN balance.target=500", "what rare types lack, to train classifiers with"),
            ("mode=whole ckpt=RUN ask.types=[mel]", "whole images, skin included"),
            ("mode=matrix ckpt=RUN output=FOLDER", "where to; again, and it goes on where it stopped"),
        ),
        "python -m lfvar.evaluate generated=FOLDER",
    ),
    "evaluate": Help(
        "Numbers with their floors.",
        (
            ("target=tokenizer ckpt=TOKENIZER.ckpt", "what a tokenizer keeps of images it has not seen"),
            ("generated=FOLDER tokenizer=TOKENIZER.ckpt", "generated images against real ones"),
            ("generated=FOLDER real=FOLDER", "against other images than the prepared ones"),
            ("target=transformer ckpt=RUN", "whether it is steered"),
            ("target=tokenizer ckpt=TOKENIZER.ckpt limit=200", "on a part of the images"),
        ),
        "open report.html, or report.md, of the run folder",
    ),
    "pipeline": Help(
        "All stages in a row; what is up to date is skipped, what was killed goes on.",
        (
            ("experiment=demo", "phantom data, offline, in about ten minutes"),
            ("experiment=ham10000 data.root=PATH", "HAM10000 at 64 px"),
            ("experiment=demo until=tokenizer", "stop after a step"),
            ("experiment=demo folder=FOLDER", "where results go"),
        ),
        "open report.html of the folder",
    ),
    "export": Help(
        "A trained model as a folder to hand on: safetensors, JSON, a model card.",
        (
            ("ckpt=RUN output=FOLDER", "a tokenizer, or a transformer with its tokenizer"),
            ("ckpt=RUN output=FOLDER license=cc-by-nc-4.0", "say the licence of the weights"),
            ("ckpt=RUN output=FOLDER repo=OWNER/NAME", "upload it to the Hugging Face Hub (private)"),
        ),
        "python -m lfvar.generate mode=matrix ckpt=FOLDER",
    ),
    "studio": Help(
        "A page in the browser: paint a lesion and turn its knobs, explore the data, judge realism blind.",
        (
            ("open=false", "the demo model; opens no browser by itself"),
            ("ckpt=RUN", "a transformer, with the data it learned from"),
            ("ckpt=RUN data=ham10000 data.root=PATH", "with other data"),
            ("ckpt=RUN generated=FOLDER", "judge these images against real ones"),
            ("ckpt=RUN host=0.0.0.0", "for other machines too, with a token"),
        ),
        "open the address that it prints",
    ),
}


FOR_ALL = (
    ("check=true", "check everything, start nothing"),
    ("--cfg job", "print every setting (-p GROUP: of one group)"),
    ("--config-dir=FOLDER", "FOLDER/data/mine.yaml is data=mine"),
)


def wants_help(arguments: Sequence[str]) -> bool:
    """Whether the command line asks for our help (Hydra's own is `--hydra-help`)."""
    return "--help" in arguments or "-h" in arguments


def render_help(command: str, conf: Path, arguments: Sequence[str] = ()) -> str:
    """The page of a command, in at most 100 columns.

    Args:
        command: Its config's name.
        conf: The folder of groups.
        arguments: The command line; `--config-dir` adds a folder of groups.
    """
    page = HELP[command]
    folders = [conf, *_more_folders(arguments)]
    lines = [page.summary, "", f"python -m lfvar.{command} [group=option ...] [key=value ...]", ""]
    lines += [line for example in page.examples for line in _example(*example)]
    lines += ["", *(line for example in FOR_ALL for line in _example(*example))]
    groups = {name: options for name in _groups_of(command, conf) if (options := _options(command, name, folders))}
    if groups:
        lines += ["", "Groups and their options:"]
        for name, options in groups.items():
            start = f"  {name}: "
            wrapper = TextWrapper(WIDTH, initial_indent=start, subsequent_indent="      ", break_on_hyphens=False)
            lines += wrapper.wrap(", ".join(options))
    lines += [
        "",
        f"Then: {page.next}",
        "python -m lfvar.doctor checks this machine; --hydra-help lists Hydra's options.",
    ]
    return "\n".join(lines)


def _example(words: str, what: str) -> list[str]:
    """One line, or two where the words leave no room."""
    if len(words) <= _COLUMN:
        return [f"  {words:<{_COLUMN}}  {what}"]
    return [f"  {words}", f"  {'':<{_COLUMN}}  {what}"]


def _groups_of(command: str, conf: Path) -> list[str]:
    """The groups in a command's defaults list."""
    defaults = OmegaConf.load(conf / f"{command}.yaml").defaults
    names = [next(iter(item)) for item in defaults if not isinstance(item, str)]
    return sorted(str(name) for name in names if name not in _HIDDEN)


def _options(command: str, group: str, folders: Sequence[Path]) -> list[str]:
    names = {path.stem: path for folder in reversed(folders) for path in sorted((folder / group).glob("*.yaml"))}
    if set(names) == {"default"}:
        return []  # nothing to choose
    if group == "experiment":
        names = {name: path for name, path in names.items() if _is_for(command, path)}
    return [name for name in sorted(names) if name != "base"]


def _is_for(command: str, experiment: Path) -> bool:
    """Experiments that are not for `train` say so in their first lines."""
    said = re.search(r"lfvar\.(\w+) experiment=", experiment.read_text(encoding="utf-8")[:400])
    return command == (said[1] if said else "train")


def _more_folders(arguments: Sequence[str]) -> list[Path]:
    found = []
    for index, argument in enumerate(arguments):
        flag, _, value = argument.partition("=")
        if flag in _DIR_FLAGS:
            value = value or (arguments[index + 1] if index + 1 < len(arguments) else "")
            found += [Path(value)] if value else []
    return found
