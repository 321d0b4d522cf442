"""A blind test: real or synthetic? Seeded and balanced, answers kept in a CSV file, accuracy with its interval."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lfvar.data.files import replace_file
from lfvar.data.imageio import encode_png
from lfvar.data.manifest import ManifestRow
from lfvar.generation.pool import Pool, share_out
from lfvar.metrics.intervals import share_interval
from lfvar.sampling.editing import Job
from lfvar.studio.desk import Ticket
from lfvar.studio.refusal import Refusal
from lfvar.studio.request import JudgeAnswer, JudgeRequest
from lfvar.studio.sessions import Session
from lfvar.studio.workbench import Workbench, require_inside

_STREAM = 0x6A756467
"""Keeps draws apart from other uses of the same seed."""
COLUMNS = ("rater", "seed", "trial", "image", "type", "source", "truth", "answer", "correct", "seconds")


@dataclass(frozen=True)
class Trial:
    """One image to judge."""

    image_id: str
    label: str
    truth: str
    """real or synthetic."""
    source: str
    """Of a synthetic one: the real image it was painted on, or the folder it is from."""
    seed: int = 0
    """Of a synthetic one that is made now."""


@dataclass
class BlindTest:
    """A test on its way."""

    request: JudgeRequest
    trials: list[Trial]
    path: Path
    """Of the CSV file."""
    images: list[NDArray[np.uint8]] = field(default_factory=list)
    answers: dict[int, JudgeAnswer] = field(default_factory=dict)

    def answer(self, answer: JudgeAnswer) -> None:
        """Take an answer, and write the file.

        Raises:
            Refusal: When there is no such image, or it has an answer already: a blind test has no second thoughts.
        """
        if answer.trial >= len(self.images):
            raise Refusal(f"the test has no image {answer.trial + 1}", cure="start it again", status=404)
        if answer.trial in self.answers:
            raise Refusal(f"image {answer.trial + 1} has been judged", cure="go on with the next one", status=409)
        self.answers[answer.trial] = answer
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self.path, self.as_csv().encode())

    def as_csv(self) -> str:
        """The answers so far."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(COLUMNS)
        for number, answer in self.answers.items():
            trial = self.trials[number]
            writer.writerow(
                [
                    plain_cell(self.request.rater),
                    self.request.seed,
                    number + 1,
                    plain_cell(trial.image_id),
                    plain_cell(trial.label),
                    plain_cell(trial.source),
                    trial.truth,
                    answer.answer,
                    int(answer.answer == trial.truth),
                    f"{answer.seconds:.1f}",
                ]
            )
        return buffer.getvalue()

    def summary(self) -> dict[str, Any]:
        """How often the rater was right, over all and by truth.

        Raises:
            Refusal: While images are left: a score on the way would unblind the rest.
        """
        left = len(self.trials) - len(self.answers)
        if left:
            raise Refusal(f"{left} images are not judged yet", cure="go on", status=409)
        right = {n: self.answers[n].answer == trial.truth for n, trial in enumerate(self.trials)}
        parts = {
            "all": list(right),
            **{t: [n for n in right if self.trials[n].truth == t] for t in ("real", "synthetic")},
        }
        found = {}
        for name, numbers in parts.items():
            hits = sum(right[n] for n in numbers)
            low, high = share_interval(hits, len(numbers))
            found[name] = {"right": hits, "count": len(numbers), "share": hits / len(numbers), "low": low, "high": high}
        return {
            "shares": found,
            "told_apart": not found["all"]["low"] <= 0.5 <= found["all"]["high"],
            "file": str(self.path),
            "seconds": float(np.median([answer.seconds for answer in self.answers.values()])),
            "trials": [
                {"truth": trial.truth, "answer": self.answers[n].answer, "label": trial.label, "image": trial.image_id}
                for n, trial in enumerate(self.trials)
            ],
        }


def check_request(workbench: Workbench, request: JudgeRequest) -> None:
    """What can be said at once.

    Raises:
        Refusal: When there are no real images, or the number cannot be halved.
    """
    if not workbench.pool.manifest.rows:
        raise Refusal("there are no real images to compare with", cure="start the studio with data=…")
    limit = workbench.limits.trials
    if request.trials % 2 or request.trials > limit:
        raise Refusal(f"a test of {request.trials} images", cure=f"use an even number up to {limit}: half are real")


def draw_trials(workbench: Workbench, request: JudgeRequest) -> list[Trial]:
    """Half real, half synthetic, types evenly, in random order; the same for the same seed.

    Real images are those that training did not see, as far as there are enough. No skin is shown twice: neither what a
    synthetic one is painted on as real, nor two synthetic ones on the same.

    Raises:
        Refusal: When there are too few images.
    """
    rng = np.random.default_rng([_STREAM, request.seed])
    half, pool = request.trials // 2, workbench.pool
    if workbench.generated is None:
        rows = _unseen(pool, 2 * half, request.label)
        chosen = _draw_evenly(rng, rows, 2 * half, "real images")
        # In turn, so that both halves have the same types.
        real, sources = chosen[::2], chosen[1::2]
        synthetic = [
            Trial(f"from {row.image_id}", row.label, "synthetic", row.image_id, int(rng.integers(2**31)))
            for row in sources
        ]
    else:
        there = [r for r in workbench.generated.manifest.rows if request.label in (None, r.label)]
        there = _one_per_skin(rng, there, workbench.painted_on)
        picked = _draw_evenly(rng, there, half, "generated images on different skin")
        synthetic = [Trial(row.image_id, row.label, "synthetic", workbench.generated.folder.name) for row in picked]
        shown = {workbench.painted_on[row.image_id] for row in picked if row.image_id in workbench.painted_on}
        real = _draw_evenly(rng, _unseen(pool, half, request.label, without=shown), half, "real images")
    trials = [*(Trial(row.image_id, row.label, "real", "") for row in real), *synthetic]
    return [trials[index] for index in rng.permutation(len(trials))]


def start(workbench: Workbench, session: Session, request: JudgeRequest, ticket: Ticket) -> None:
    """Draw a test and make its images; the page keeps it under the ticket."""
    trials = draw_trials(workbench, request)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    path = workbench.output / f"judge-{stamp}-seed{request.seed}-{ticket.id[:6]}.csv"
    test = BlindTest(request, trials, path)
    for number, trial in enumerate(trials):
        ticket.report(number / len(trials), f"image {number + 1}/{len(trials)}")
        test.images.append(_picture(workbench, trial, ticket))
    session.add_result(ticket.id, test)


def encode_trial(image_HWC: NDArray[np.uint8]) -> bytes:
    """An image as PNG; real or not, nothing but its pixels decides the bytes."""
    return encode_png(image_HWC)


def plain_cell(text: str) -> str:
    """Text that a spreadsheet takes for text: no formula, no line breaks."""
    text = " ".join(text.split())
    return f"'{text}" if text[:1] in tuple("=+-@") else text


def _picture(workbench: Workbench, trial: Trial, ticket: Ticket) -> NDArray[np.uint8]:
    if trial.truth == "real":
        return workbench.read_image(trial.image_id)
    if workbench.generated is not None:
        require_inside(workbench.generated, trial.image_id)
        return workbench.generated.read_image(trial.image_id)
    known = workbench.synthesizer.classes
    label = trial.label if trial.label in known else None
    mask_HW = workbench.read_mask(trial.source)
    job = Job(trial.seed, label, {}, workbench.read_image(trial.source), mask_HW)
    (result,) = workbench.synthesizer.run(
        [job],
        guidance=workbench.guidance,
        filters=workbench.filters,
        editing=workbench.editing,
        watch=lambda k: ticket.report(ticket.progress, ticket.note),
    )
    return result.image_HWC


def _one_per_skin(
    rng: np.random.Generator, rows: Sequence[ManifestRow], painted_on: Mapping[str, str]
) -> list[ManifestRow]:
    """One of all images that show the same skin; in the order of their ids."""
    chosen = {painted_on.get(rows[i].image_id, rows[i].image_id): rows[i] for i in rng.permutation(len(rows)).tolist()}
    return sorted(chosen.values(), key=lambda row: row.image_id)


def _unseen(pool: Pool, count: int, label: str | None, without: Collection[str] = ()) -> list[ManifestRow]:
    """Images with a lesion that training did not see; all, where those are too few."""
    rows: list[ManifestRow] = []
    for split in ("test", "val", "train"):
        found = pool.with_lesion(split, None if label is None else [label])
        rows += [row for row in found if row.image_id not in without]
        if len(rows) >= count:
            break
    return rows


def _draw_evenly(rng: np.random.Generator, rows: Sequence[ManifestRow], count: int, what: str) -> list[ManifestRow]:
    """That many rows, types in turn as long as they have some left."""
    if len(rows) < count:
        raise Refusal(f"the test needs {count} {what} and there are {len(rows)}", cure="ask for fewer")
    labels = sorted({row.label for row in rows})
    by_type = [[row for row in rows if row.label == label] for label in labels]
    shares = share_out(count, [len(group) for group in by_type])
    picked = [
        [group[i] for i in rng.permutation(len(group))[:share]] for group, share in zip(by_type, shares, strict=True)
    ]
    return [row for group in picked for row in group]
