"""One table per sweep: what differed between its jobs, how each ended, and what came out.

Every job leaves `job.json` in its folder, whatever launcher ran it and however it ended; metrics are read from its run
card. The table is written when the sweep ends, early or not, and by `python -m lfvar.sweeps FOLDER` at any time.
"""

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from lfvar.config.card import write_atomic
from lfvar.config.run import CARD_FILE
from lfvar.config.stamp import is_rank_zero
from lfvar.errors import DataError

JOB_FILE = "job.json"
TABLE_FILES = ("sweep.csv", "sweep.md")
UNFINISHED = "unfinished"
_OVERRIDES_FILE = Path(".hydra") / "overrides.yaml"


@dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    number: int
    folder: Path
    overrides: tuple[str, ...]
    """As on the command line, those that all jobs share included."""
    status: str
    """finished, failed, interrupted; unfinished: it runs still, or was killed."""
    seconds: float | None = None
    error: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, str]:
        """Key → value of the overrides."""
        return {key: value for key, _, value in (text.partition("=") for text in self.overrides)}

    @property
    def name(self) -> str:
        """Number and overrides."""
        return f"{self.number} ({' '.join(self.overrides)})"


def note_job(folder: Path, *, overrides: Iterable[str], status: str, seconds: float, error: str = "") -> None:
    """Write down how a job ended, in its folder."""
    record = {"overrides": list(overrides), "status": status, "seconds": round(seconds, 1), "error": error}
    write_atomic(folder / JOB_FILE, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def read_jobs(folder: Path) -> list[Job]:
    """The jobs of a sweep, in their order; those without a record are unfinished.

    Raises:
        DataError: When there is none.
    """
    places = [path for path in folder.glob("*") if path.name.isdigit() and path.is_dir()]
    jobs = [_read(path) for path in sorted(places, key=lambda path: int(path.name))]
    if not jobs:
        raise DataError(f"'{folder}' holds no job of a sweep", cure="give the folder of a sweep: runs/sweeps/<time>")
    return jobs


def write_tables(folder: Path) -> list[Job]:
    """Write `sweep.csv` (everything) and `sweep.md` (what matters most) into the folder of a sweep; returns its jobs.

    Raises:
        DataError: When it holds no job.
    """
    jobs = read_jobs(folder)
    write_atomic(folder / TABLE_FILES[0], _csv(jobs))
    write_atomic(folder / TABLE_FILES[1], markdown(jobs))
    return jobs


def markdown(jobs: Sequence[Job], metrics: Sequence[str] = ()) -> str:
    """A Markdown table with one row per job.

    Args:
        jobs: Of one sweep.
        metrics: Columns; none: the values that checkpoints were chosen by.
    """
    varied = _varied(jobs)
    columns = list(metrics) or _main_metrics(jobs)
    rows = [["job", *varied, "status", "time", *columns]]
    for job in jobs:
        cells = [str(job.number), *(job.settings.get(key, "") for key in varied), job.status, _duration(job.seconds)]
        rows.append([*cells, *(_number(job.metrics.get(name)) for name in columns)])
    errors = [f"- job {job.number}: {job.error.splitlines()[0]}" for job in jobs if job.error]
    return "\n".join([_table(rows), *(["", *errors] if errors else [])]) + "\n"


def markdown_over(jobs: Sequence[Job], over: str, metrics: Sequence[str] = ()) -> str:
    """The same with one row per setting: means over the jobs that differ in `over` alone, and half their range."""
    columns = list(metrics) or _main_metrics(jobs)
    varied = [key for key in _varied(jobs) if key != over]
    groups: dict[tuple[str, ...], list[Job]] = {}
    for job in jobs:
        if job.status == "finished":
            groups.setdefault(tuple(job.settings.get(key, "") for key in varied), []).append(job)
    rows = [[*varied, f"values of {over}", *columns]]
    for setting, members in groups.items():
        cells = []
        for name in columns:
            values = [job.metrics[name] for job in members if name in job.metrics]
            spread = (max(values) - min(values)) / 2 if values else 0.0
            cells.append(f"{_number(fmean(values))} ± {_number(spread)}" if values else "")
        rows.append([*setting, str(len(members)), *cells])
    left_out = sum(job.status != "finished" for job in jobs)
    return (
        _table(rows)
        + (f"\n\n{left_out} of {len(jobs)} jobs did not finish and are left out" if left_out else "")
        + "\n"
    )


@dataclass
class _Current:
    """The sweep that this process runs."""

    folder: Path | None = None
    searches: bool = False


_current = _Current()


class SweepTable(Callback):
    """Tells this process which sweep it runs; Hydra builds it from `hydra.callbacks`."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Called by Hydra before the first job."""
        if not config.get("check"):
            _current.folder = Path(config.hydra.sweep.dir)
            _current.searches = not str(config.hydra.sweeper._target_).endswith("BasicSweeper")


def finish_sweep() -> list[Job]:
    """Write and print the table of the sweep that this process ran, if it ran one.

    Returns:
        The jobs that failed; none where a search goes on without them.
    """
    folder, searches = _current.folder, _current.searches
    _current.folder = None
    # Other ranks of torchrun or srun run the same jobs; only the first one knows when the last record is written.
    if folder is None or not folder.is_dir() or not is_rank_zero(os.environ):
        return []
    try:
        jobs = write_tables(folder)
    except (DataError, OSError):  # it ended before its first job, or the disk is full
        return []
    print(f"\n{markdown(jobs)}\n{folder / TABLE_FILES[1]}, every metric in {TABLE_FILES[0]}", flush=True)
    return [] if searches else [job for job in jobs if job.status in ("failed", UNFINISHED)]


def _read(folder: Path) -> Job:
    record = _read_json(folder / JOB_FILE)
    result = _read_json(folder / CARD_FILE).get("result", {})
    overrides = record.get("overrides")
    if overrides is None:
        saved = folder / _OVERRIDES_FILE
        overrides = list(OmegaConf.load(saved)) if saved.is_file() else []
    return Job(
        number=int(folder.name),
        folder=folder,
        overrides=tuple(map(str, overrides)),
        status=record.get("status", UNFINISHED),
        seconds=result.get("seconds", record.get("seconds")),
        error=record.get("error", ""),
        metrics=result.get("metrics", {}),
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}
    return content if isinstance(content, dict) else {}


def _varied(jobs: Sequence[Job]) -> list[str]:
    """Keys that jobs differ in, in the order of the command line."""
    keys = dict.fromkeys(key for job in jobs for key in job.settings)
    return [key for key in keys if len({job.settings.get(key) for job in jobs}) > 1]


def _main_metrics(jobs: Sequence[Job]) -> list[str]:
    names = list(dict.fromkeys(name for job in jobs for name in job.metrics))
    best = [name for name in names if name.startswith("best/")]
    return best or [name for name in names if name.startswith("val/")][:4]


def _csv(jobs: Sequence[Job]) -> str:
    keys = list(dict.fromkeys(key for job in jobs for key in job.settings))
    names = sorted({name for job in jobs for name in job.metrics})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["job", "folder", *keys, "status", "seconds", "error", *names])
    for job in jobs:
        settings = [job.settings.get(key, "") for key in keys]
        values = [job.metrics.get(name, "") for name in names]
        writer.writerow([job.number, job.folder, *settings, job.status, job.seconds, job.error, *values])
    return text.getvalue()


def _table(rows: Sequence[Sequence[str]]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(len(row[index]) for row in escaped) for index in range(len(escaped[0]))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in escaped]
    return "\n".join([lines[0], "| " + " | ".join("-" * max(width, 3) for width in widths) + " |", *lines[1:]])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
