"""All stages in a row: `python -m lfvar.pipeline experiment=demo`, or `experiment=ham10000 data.root=PATH`.

Prepare and measure, train the tokenizer, store its tokens, train the transformer, generate, evaluate. Every step is one
of the other commands in a process of its own, printed as a user would type it. A step whose settings and inputs have
not changed since it finished is skipped; one that was killed goes on where it stopped. At the end, `report.html` shows
all of it on one page, however far the steps went.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from lfvar.config import command, make_card, print_card
from lfvar.config.card import write_atomic
from lfvar.config.command import EXIT_INTERRUPTED
from lfvar.config.stamp import STAMP_VARIABLE
from lfvar.ending import IN_PIPELINE, show_ending, show_path, show_seconds
from lfvar.errors import ArtefactError, ConfigError, LfvarError

if TYPE_CHECKING:
    from lfvar.data.manifest import Manifest

RUN = "run"
"""Folder of the run card of generated images, which themselves do not depend on when they were made."""
DONE_FILE = "step.json"
"""Lies in the folder of a step that finished: what made it."""
STEPS = ("prepare", "tokenizer", "tokens", "transformer", "generate", "evaluate")
NETS = ("tokenizer", "transformer")
"""What `evaluate` may name beside the sets of `generate`."""


class StepError(LfvarError):
    """A step failed; its own message stands above."""


@dataclass(frozen=True)
class Step:
    """One command and what its result depends on."""

    name: str
    words: tuple[str, ...]
    """Command and overrides: ("train", "experiment=vqvae", …)."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Hashes of what it reads."""

    @property
    def fingerprint(self) -> str:
        """Of settings and inputs: names the folder, so that other settings never touch this one's result."""
        from lfvar.data.manifest import hash_settings

        return hash_settings({"words": list(self.words), "inputs": dict(self.inputs)})[:10]

    def show(self) -> str:
        """As it is typed."""
        return shlex.join(["python", "-m", f"lfvar.{self.words[0]}", *self.words[1:]])


@dataclass(frozen=True)
class Done:
    """What a step took."""

    name: str
    seconds: float | None
    """Of the run that made it; None: not known."""
    skipped: bool
    result: Path
    command: str


class Pipeline:
    """Runs steps, and remembers below one folder what finished.

    Args:
        folder: Where results go.
        shared: Overrides that every step gets: data, paths, image size, seed.
    """

    def __init__(self, folder: Path, shared: Sequence[str]) -> None:
        self.folder = folder
        self.shared = tuple(shared)
        self.done: list[Done] = []

    def train(self, name: str, overrides: Sequence[str], inputs: Mapping[str, str]) -> Path:
        """Train a stage in a folder of its own, or go on there; returns its best checkpoint."""
        step = Step(name, ("train", *overrides, *self.shared), inputs)
        folder = self.place_of(step)
        best, started = folder / "checkpoints" / "best.ckpt", (folder / "checkpoints" / "last.ckpt").is_file()
        done = (folder / DONE_FILE).is_file() and best.is_file()
        self.run(step, [f"resume={folder}" if started else f"hydra.run.dir={folder}"], done=done)
        return best

    def write(self, name: str, words: Sequence[str], inputs: Mapping[str, str]) -> Path:
        """Run a command, told its folder, that goes on by itself where it was killed; returns the folder."""
        step = Step(name, (*words, *self.shared), inputs)
        place = self.place_of(step)
        self.run(step, [f"output={place}", f"hydra.run.dir={place / RUN}"])
        return place

    def evaluate(self, name: str, overrides: Sequence[str], inputs: Mapping[str, str]) -> Path:
        """Evaluate something in a folder of its own; returns the folder."""
        step = Step(name, ("evaluate", *overrides, *self.shared), inputs)
        self.run(step, [f"hydra.run.dir={self.place_of(step)}"])
        return self.place_of(step)

    def place_of(self, step: Step) -> Path:
        """Folder of a step's result, or of the note that it finished."""
        return self.folder / f"{step.name}-{step.fingerprint}"

    def run(self, step: Step, place: Sequence[str] = (), *, done: bool | None = None) -> None:
        """Run a step unless it is done.

        Args:
            step: What to run.
            place: Overrides that say where to; they decide nothing else.
            done: Whether there is nothing to do, where another sign than the note of an earlier run tells.
        """
        folder = self.place_of(step)
        if (folder / DONE_FILE).is_file() if done is None else done:
            print(f"\n== {step.name}: up to date", flush=True)
            self.done.append(Done(step.name, _seconds_of(folder), True, folder, step.show()))
            return
        print(f"\n== {step.name}\n{step.show()}", flush=True)
        start = time.monotonic()
        environment = {key: value for key, value in os.environ.items() if key != STAMP_VARIABLE} | {IN_PIPELINE: "1"}
        arguments = [sys.executable, "-m", f"lfvar.{step.words[0]}", *step.words[1:], *place]
        code = subprocess.run(arguments, env=environment, check=False).returncode
        if code == EXIT_INTERRUPTED:
            raise KeyboardInterrupt
        if code:
            raise StepError(
                f"the step '{step.name}' ended with exit code {code}",
                cure="mend what it says above, then start the pipeline again: finished steps are skipped",
            )
        seconds = time.monotonic() - start
        note = {"command": step.show(), "inputs": dict(step.inputs), "seconds": round(seconds, 1)}
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / DONE_FILE, json.dumps(note, indent=2) + "\n")
        self.done.append(Done(step.name, seconds, False, folder, step.show()))


def _seconds_of(folder: Path) -> float | None:
    try:
        return float(json.loads((folder / DONE_FILE).read_text())["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def run_pipeline(cfg: DictConfig) -> list[Done]:
    """Run what a config names, in order, and write the page on it.

    Returns:
        What was done.

    Raises:
        StepError: A step failed; the others stay as they are.
        ConfigError: `until` names no step, or `evaluate` nothing that is made.
    """
    start = time.monotonic()
    require_choices(cfg)
    pipeline = Pipeline(Path(cfg.folder), shared_overrides(cfg))
    manifest = prepare_data(cfg, pipeline)
    run_steps(cfg, pipeline, manifest, last=STEPS.index(cfg.until))
    page = write_page(cfg, pipeline)
    report(pipeline, page, time.monotonic() - start)
    return pipeline.done


def require_choices(cfg: DictConfig) -> None:
    """Check what the types of the schema do not.

    Raises:
        ConfigError: `until` names no step, or `evaluate` nothing that is made.
    """
    if cfg.until not in STEPS:
        raise ConfigError(f"until={cfg.until} is no step", cure=f"use one of {', '.join(STEPS)}")
    known = (*NETS, *cfg.generate)
    unknown = [name for name in cfg.evaluate if name not in known]
    if unknown:
        raise ConfigError(f"evaluate.{unknown[0]} names nothing that is made", cure=f"use one of {', '.join(known)}")


def run_steps(cfg: DictConfig, pipeline: Pipeline, manifest: Manifest, last: int) -> None:
    """Run what comes after preparing, up to the step of that number."""
    from lfvar.interop.tokenizers import hash_file

    inputs = {"manifest": manifest.hash}
    if last < STEPS.index("tokenizer"):
        return
    tokenizer = pipeline.train("tokenizer", cfg.tokenizer, inputs)
    inputs |= {"tokenizer": hash_file(tokenizer)}
    if last >= STEPS.index("tokens"):
        pipeline.run(Step("tokens", ("prepare", "stage=tokens", f"ckpt={tokenizer}", *pipeline.shared), inputs))
    nets = {"tokenizer": [f"ckpt={tokenizer}"]}
    sets: dict[str, Path] = {}
    if last >= STEPS.index("transformer"):
        transformer = pipeline.train("transformer", [*cfg.transformer, f"tokenizer={tokenizer}"], inputs)
        inputs |= {"transformer": hash_file(transformer)}
        nets["transformer"] = [f"ckpt={transformer}", f"tokenizer={tokenizer}"]
    if last >= STEPS.index("generate"):
        for name, overrides in cfg.generate.items():
            words = ("generate", *nets["transformer"], *overrides)
            sets[name] = pipeline.write(f"generate-{name}", words, inputs)
    if last >= STEPS.index("evaluate"):
        for name, overrides in cfg.evaluate.items():
            what = [f"target={name}", *nets[name]] if name in nets else [f"generated={sets[name]}"]
            what += [f"tokenizer={tokenizer}"] if name in sets else []
            pipeline.evaluate(f"evaluate-{name}", [*what, *overrides], inputs)


def write_page(cfg: DictConfig, pipeline: Pipeline) -> Path:
    """Write the page on all that is there."""
    from lfvar.evaluation.chain_page import StepResult, write_chain_page

    steps = [
        StepResult(
            done.name, done.command, Path(cfg.data.folder) if done.name == "prepare" else done.result, done.seconds
        )
        for done in pipeline.done
    ]
    return write_chain_page(pipeline.folder, f"lfvar: {cfg.name}", steps)


def prepare_data(cfg: DictConfig, pipeline: Pipeline) -> Manifest:
    """Prepare and measure, unless images and their measurements are there."""
    from lfvar.measure.run import read_table
    from lfvar.prepare import find_prepared

    manifest, measured = find_prepared(cfg), False
    if manifest is not None:
        with suppress(ArtefactError):
            read_table(Path(cfg.data.folder), manifest)
            measured = True
    pipeline.run(Step("prepare", ("prepare", *pipeline.shared)), done=measured)
    if manifest is None:
        manifest = find_prepared(cfg)
    assert manifest is not None, "the command that prepares ended well and left nothing"
    return manifest


def shared_overrides(cfg: DictConfig) -> list[str]:
    """What was said of data and places, for every step alike: data by their name, and what a user typed.

    An experiment that wants other data than those that have a name gives them one, in conf/data.
    """
    words = [f"image_size={cfg.image_size}", f"seed={cfg.seed}"]
    if HydraConfig.initialized():
        hydra = HydraConfig.get()
        ours = ("data.", "paths.", "measure.")
        words += [f"data={hydra.runtime.choices['data']}"]
        words += [word for word in hydra.overrides.task if word.lstrip("+~").startswith(ours)]
    return words


def report(pipeline: Pipeline, page: Path, seconds: float) -> None:
    """Print what was done, how long it took, and where it lies."""
    from rich.console import Console
    from rich.table import Column, Table

    table = Table("step", Column("time", justify="right"), Column("result", overflow="fold"))
    for item in pipeline.done:
        took = "–" if item.seconds is None else show_seconds(item.seconds)
        table.add_row(item.name, "up to date" if item.skipped else took, show_path(item.result))
    Console().print("", table)
    pictures = {
        f"{item.name}: {path.stem}": path for item in pipeline.done for path in sorted(item.result.glob("sheets/*.png"))
    }
    show_ending({**pictures, "report": page}, seconds)


@command("pipeline")
def main(cfg: DictConfig) -> Any:
    """The command."""
    if cfg.check:
        print_card(make_card(cfg))
        return None
    return run_pipeline(cfg)


if __name__ == "__main__":
    sys.exit(main())
