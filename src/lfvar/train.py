"""Train a stage: `python -m lfvar.train experiment=vqvae`."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from lfvar.config import (
    command,
    finish_card,
    finished_metrics,
    is_finished,
    is_rank_zero,
    make_card,
    print_card,
    resume_checkpoint,
    run_folder,
    start_card,
)
from lfvar.ending import show_ending, show_path
from lfvar.errors import ConfigError, Stopped
from lfvar.prepare import data_words, find_prepared, require_prepared
from lfvar.stages import build_stage

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer
    from rich.table import Table

    from lfvar.data.datamodule import LesionDataModule


def train(cfg: DictConfig) -> dict[str, float]:
    """Train what a validated config describes; callable from tests and notebooks.

    A run whose folder holds a checkpoint already goes on from it: one that SLURM, torchrun or submitit started again,
    or that was given the LFVAR_RUN_STAMP of an earlier one.

    Args:
        cfg: The composed root config of `conf/train.yaml`.

    Returns:
        The final metrics on the validation split, with the averaged weights where an average is kept, and the value
        that the best checkpoint was chosen by, as `best/…`; for classifiers also those of the best checkpoint on the
        test split.
    """
    if cfg.check:
        manifest = find_prepared(cfg)
        print_card(make_card(cfg, data_hashes={"manifest": manifest.hash} if manifest else {}))
        return {}

    from lightning.pytorch import seed_everything
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    from lfvar.callbacks.checkpoint import signals_noted, stop_if_asked
    from lfvar.nn.precision import allow_tf32
    from lfvar.trainer import build_trainer

    start = time.monotonic()
    quieten_lightning()
    manifest = require_prepared(cfg)
    folder = run_folder(cfg)
    done = finished_metrics(cfg, folder)
    if done is not None:
        if is_rank_zero(os.environ):
            print(f"{folder} is finished already, with these settings: nothing is left to train")
        return done
    checkpoint = resume_checkpoint(cfg)
    if checkpoint is not None:
        require_work_left(cfg, checkpoint, folder)
    start_card(cfg, folder, data_hashes={"manifest": manifest.hash})
    seed_everything(cfg.seed, workers=True, verbose=False)
    allow_tf32()  # where it is harmless; the quantiser switches it off
    module, datamodule = build_stage(cfg, manifest)
    trainer = build_trainer(cfg, folder)
    status = "failed"
    metrics: dict[str, float] = {}
    try:
        with signals_noted(trainer):
            before = validate_start(trainer, module, datamodule) if starts_from_file(cfg) and checkpoint is None else {}
            trainer.fit(module, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
            if trainer.limit_val_batches:
                trainer.validate(module, datamodule=datamodule, verbose=False)
            stop_if_asked(trainer)
            metrics = {name: float(value) for name, value in trainer.callback_metrics.items()} | before
            metrics |= best_score(trainer) | test_split(trainer, module, datamodule)
        status = "finished"
    except (KeyboardInterrupt, Stopped):
        status = "interrupted"
        raise
    except SIGTERMException:  # Lightning's own, where `callbacks.last` is left out or had not begun to listen
        status = "interrupted"
        raise Stopped(signal.SIGTERM, f"after step {trainer.global_step}, which is not saved") from None
    except SystemExit:
        status = "interrupted"
        if trainer.interrupted:  # Lightning leaves with code 1 after Ctrl-C; the command knows better what to say
            raise KeyboardInterrupt from None
        raise
    finally:
        seconds = time.monotonic() - start
        files = list_files(folder)
        try:
            finish_card(folder, metrics=metrics, seconds=seconds, files=files, status=status)
        except OSError:
            if status != "failed":  # else a full disk is why, and is told already
                raise
    if trainer.is_global_zero:
        print(f"\ntrained {trainer.global_step} steps; validation split:")
        report(metrics)
        show_ending(files, seconds, next_command=next_command(cfg, files))
    return metrics


def next_command(cfg: DictConfig, files: dict[str, str]) -> str | None:
    """What most people do with what was trained."""
    if "best checkpoint" not in files:
        return None
    best, data = shlex.quote(show_path(files["best checkpoint"])), data_words(cfg)
    follow = {
        "vqvae": f"python -m lfvar.evaluate target=tokenizer ckpt={best} {data}",
        "var": f"python -m lfvar.generate mode=matrix ckpt={best} {data}",
        "classifier": f"python -m lfvar.evaluate generated=FOLDER classifier={best} {data}",
        "segmenter": f"python -m lfvar.generate mode=whole ckpt=RUN segmenter={best} {data}",
    }
    return follow.get(cfg.stage)  # the stage of somebody else's experiment is theirs


def starts_from_file(cfg: DictConfig) -> bool:
    """Whether the weights are somebody's work already, so that there is something to compare with."""
    return bool(cfg.model.get("init", "scratch") != "scratch")


def validate_start(trainer: Trainer, module: LightningModule, datamodule: LesionDataModule) -> dict[str, float]:
    """Measure and print what weights from a file are worth on these data, before the first step.

    Returns:
        The metrics, as `start/…`.
    """
    if not trainer.limit_val_batches:
        return {}
    trainer.validate(module, datamodule=datamodule, verbose=False)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    if trainer.is_global_zero:
        print("before the first step; validation split:")
        report(metrics)
    return {f"start/{name}": value for name, value in metrics.items()}


def best_score(trainer: Trainer) -> dict[str, float]:
    """The value that the best checkpoint was chosen by, as `best/…`; nothing where none is chosen."""
    from lightning.pytorch.callbacks import ModelCheckpoint

    return {
        f"best/{callback.monitor.removeprefix('val/')}": float(callback.best_model_score)
        for callback in trainer.checkpoint_callbacks
        if isinstance(callback, ModelCheckpoint) and callback.monitor and callback.best_model_score is not None
    }


def test_split(trainer: Trainer, module: LightningModule, datamodule: LesionDataModule) -> dict[str, float]:
    """Score the test split, in stages whose module knows how; generative stages have `lfvar.evaluate` for that.

    Returns:
        The metrics, as `test/…`.
    """
    from lightning.pytorch.utilities.model_helpers import is_overridden

    if not trainer.limit_test_batches or not is_overridden("test_step", module) or not len(datamodule.test_dataset):
        return {}
    trainer.test(module, datamodule=datamodule, verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("test/")}


def quieten_lightning() -> None:
    """Leave out what Lightning says about itself at every start; warnings and errors stay."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)  # the table that debug=profile is for
    # Lightning 2.6 calls what torch 2.13 deprecates.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    # Lightning says so of every frozen part: encoder and codebook in fine-tuning, the transformer's tokenizer.
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
    # Lightning says so of every manual optimisation; our checkpoints are meant to hold the state after the step.
    warnings.filterwarnings("ignore", message=".*pre-optimization state.*")
    # Our metrics are computed over all processes before they are logged.
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
    # FSDP2 says so of our logits, which nothing changes in place.
    warnings.filterwarnings("ignore", message=".*returned a view tensor.*")


def require_work_left(cfg: DictConfig, checkpoint: Path, folder: Path) -> None:
    """Refuse to go on from a checkpoint that is at the end, unless its run was ended before it was finished.

    Such a run takes no more steps, and is validated and tested.

    Args:
        cfg: The run's config.
        checkpoint: What it goes on from.
        folder: Its run folder, whose card is still that of the run before.

    Raises:
        ConfigError: When nothing is left to do.
    """
    from lfvar.interop.checkpoints import read_checkpoint

    max_steps = int(cfg.trainer.get("max_steps", -1))
    step = read_checkpoint(checkpoint)["global_step"]
    own = checkpoint.resolve().is_relative_to(folder.resolve())
    if 0 < max_steps <= step and not (own and not is_finished(folder)):
        raise ConfigError(
            f"{checkpoint} is at step {step}, and trainer.max_steps={max_steps}: nothing is left to train",
            cure=f"set trainer.max_steps above {step}",
        )


def list_files(folder: Path) -> dict[str, str]:
    """What a run leaves that people look for, by what it is."""
    places = {
        "best checkpoint": "checkpoints/best.ckpt",
        "last checkpoint": "checkpoints/last.ckpt",
        "picture": "pictures/latest.png",
        "curves": "csv/*/metrics.csv",
        "run card": "run_card.json",
    }
    found = {name: sorted(folder.glob(place)) for name, place in places.items()}
    return {name: str(paths[-1]) for name, paths in found.items() if paths}


def report(metrics: dict[str, float]) -> None:
    """Print what came out, whichever stage it was: quality per region, codes or tokens per scale, scores per type."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if any(name.startswith("val/psnr_") for name in metrics):
        quality = Table("", "inside lesion", "outside", "whole image")
        for measure, unit, digits in (("psnr", "dB", 2), ("ssim", "", 4), ("l1", "of range", 4)):
            cells = [metrics.get(f"val/{measure}_{region}") for region in ("inside", "outside", "all")]
            texts = ("none" if cell is None else f"{cell:.{digits}f}" for cell in cells)
            quality.add_row(f"{measure.upper()} {unit}", *texts)
        console.print(quality)
    for title, rows in (
        ("codebook", {"used": ("codebook/usage_", ".0%"), "perplexity": ("codebook/perplexity_", ".0f")}),
        ("tokens", {"loss, nats": ("val/loss_", ".3f"), "accuracy": ("val/accuracy_", ".1%")}),
    ):
        first = next(iter(rows.values()))[0]
        scales = [name.removeprefix(first) for name in metrics if name.startswith(first)]
        if scales:
            table = Table(title, *(scale.replace("_", " ") for scale in scales))
            for row, (prefix, form) in rows.items():
                cells = [metrics.get(prefix + scale) for scale in scales]
                table.add_row(row, *("" if cell is None else format(cell, form) for cell in cells))
            console.print(table)
    if "val/dice" in metrics:
        overlap = Table("lesion masks", "mean", "median")
        for name, title in (("dice", "Dice"), ("iou", "IoU")):
            overlap.add_row(title, f"{metrics[f'val/{name}']:.3f}", f"{metrics[f'val/{name}_median']:.3f}")
        console.print(overlap)
    if "val/balanced_accuracy" in metrics:
        console.print(types_table(metrics))


def types_table(metrics: dict[str, float]) -> Table:
    """How well lesion types are told apart, and the recall of each."""
    from rich.table import Table

    table = Table("types", "validation", "test", "95 % of test", caption="validation: last step; test: best checkpoint")
    recalls = [name.removeprefix("val/") for name in metrics if name.startswith("val/recall_")]
    for name in ("balanced_accuracy", "macro_auc", *recalls):
        val, test, low, high = (
            metrics.get(key) for key in (f"val/{name}", f"test/{name}", f"test/{name}_low", f"test/{name}_high")
        )
        cells = ["" if value is None else f"{value:.3f}" for value in (val, test)]
        table.add_row(name.replace("_", " "), *cells, "" if low is None else f"{low:.3f} to {high:.3f}")
    return table


@command("train")
def main(cfg: DictConfig) -> Any:
    """The command."""
    return objective(cfg, train(cfg))


def objective(cfg: DictConfig, metrics: dict[str, float]) -> float | None:
    """What sweeps that search improve: the score of the best checkpoint; None where none is chosen."""
    best = cfg.callbacks.get("best") if cfg.callbacks else None
    monitor = (best or {}).get("monitor") or ""
    return metrics.get(f"best/{monitor.removeprefix('val/')}")


if __name__ == "__main__":
    sys.exit(main())
