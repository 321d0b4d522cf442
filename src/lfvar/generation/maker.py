"""A loaded synthesiser with the images it works on: turns planned samples into files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lfvar.data.framing import cut_mask
from lfvar.data.generated import FULL, IMAGES, MASKS, RAW
from lfvar.data.imageio import write_png
from lfvar.data.provenance import Provenance
from lfvar.data.records import Pair, PairError, Record, Source
from lfvar.errors import ArtefactError, DataError
from lfvar.generation.masks import render_mask
from lfvar.generation.plan import PlannedSample
from lfvar.generation.pool import Pool
from lfvar.measure.mask_only import measure_mask
from lfvar.sampling.composite import mask_in_original
from lfvar.sampling.editing import EditConfig, Job, Result
from lfvar.sampling.filters import Filters
from lfvar.sampling.guidance import Guidance
from lfvar.sampling.photograph import Ground

if TYPE_CHECKING:
    from collections.abc import Iterator


class Paints(Protocol):
    """What a maker needs of `lfvar.synthesizer.Synthesizer`."""

    def check(self, jobs: Sequence[Job]) -> list[str]:
        """Raise for what cannot be done; return warnings."""

    def run(
        self,
        jobs: Sequence[Job],
        *,
        guidance: Guidance | None,
        filters: Filters,
        editing: EditConfig | None,
        batch_size: int,
    ) -> Iterator[Result]:
        """Make every job's image, in order."""


class Finds(Protocol):
    """Finds lesions in images that came without a mask."""

    def __call__(self, image_HWC: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """The lesion, bool (H, W)."""


@dataclass(frozen=True)
class Options:
    """How planned samples become files."""

    guidance: Guidance
    filters: Filters
    editing: EditConfig
    raw: bool = False
    """Also keep what the decoder made, before compositing."""
    full: bool = False
    """Also paste edits into the original photographs."""


@dataclass(frozen=True)
class Originals:
    """The photographs that prepared images were cut from."""

    source: Source
    records: Mapping[str, Record]

    @classmethod
    def find(cls, source: Source, image_ids: Sequence[str]) -> Originals:
        """List them.

        Raises:
            DataError: When the dataset as downloaded is not there, or lacks one of the images.
        """
        records = {record.image_id: record for record in source.records()}
        lost = sorted(set(image_ids) - set(records))
        if lost:
            raise DataError(
                f"full=true needs the photograph of {lost[0]}, which the dataset does not list",
                cure="set data.root to the dataset that was prepared, or leave full out",
            )
        return cls(source, {image_id: records[image_id] for image_id in image_ids})

    def load(self, image_id: str) -> Pair:
        """Open one.

        Raises:
            DataError: When it is missing or damaged.
        """
        try:
            return self.source.load(self.records[image_id])
        except PairError as error:
            raise DataError(
                f"full=true needs the photograph of {image_id}: {error}",
                cure="set data.root to the dataset that was prepared, or leave full out",
            ) from error


@dataclass(frozen=True)
class Maker:
    """Makes the images of a plan."""

    synthesizer: Paints
    pool: Pool
    options: Options
    folder: Path
    """Where to; has the folders for images."""
    originals: Originals | None = None
    find_lesion: Finds | None = None
    """For whole images; None: the mask that was asked for."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """Of the checkpoints that paint; every image carries them."""

    def make(self, indices: Sequence[int], samples: Sequence[PlannedSample]) -> list[dict[str, Any]]:
        """Make some samples and write their files.

        Nothing is written before all of them were checked.

        Returns:
            A journal item each: index, hashes of files, what was told to the net, warnings.
        """
        jobs = [self.job(sample) for sample in samples]
        warnings = [self.synthesizer.check([job]) for job in jobs]
        options = self.options
        results = self.synthesizer.run(
            jobs,
            guidance=options.guidance,
            filters=options.filters,
            editing=options.editing,
            batch_size=max(1, len(jobs)),
        )
        return [
            {"index": index, **self._write(sample, job, result), "warnings": said}
            for index, sample, job, result, said in zip(indices, samples, jobs, results, warnings, strict=True)
        ]

    def job(self, sample: PlannedSample) -> Job:
        """A planned sample with its pixels."""
        mask_HW = render_mask(sample.mask, self.pool)
        if sample.source_id is None:
            return Job(sample.seed, sample.label, sample.asked, mask_HW=mask_HW)
        erase_HW = None if sample.mask.is_source else self.pool.read_mask(sample.source_id)
        image_HWC = self.pool.read_image(sample.source_id)
        return Job(sample.seed, sample.label, sample.asked, image_HWC, mask_HW, erase_HW)

    def _write(self, sample: PlannedSample, job: Job, result: Result) -> dict[str, Any]:
        """Write the files of one sample."""
        name = f"{sample.image_id}.png"
        mask_HW = result.mask_HW
        if sample.source_id is None and self.find_lesion is not None:
            mask_HW = self.find_lesion(result.image_HWC)
        if mask_HW is None:
            mask_HW = np.zeros(result.image_HWC.shape[:2], np.bool_)
        notes = provenance_of(sample, self.hashes)
        if self.options.raw:
            write_png(self.folder / RAW / name, result.raw_HWC, replace(notes, source=None).to_text())
        if self.options.full and sample.source_id is not None:
            write_png(self.folder / FULL / name, self._paste(sample, job, result), notes.to_text())
        told = {} if job.mask_HW is None else measure_mask(job.mask_HW)
        return {
            "image_id": sample.image_id,
            "mask_hash": write_png(self.folder / MASKS / name, mask_HW),
            "image_hash": write_png(self.folder / IMAGES / name, result.image_HWC, notes.to_text()),
            "lesion_fraction": float(mask_HW.mean()),
            "told": told,
        }

    def _paste(self, sample: PlannedSample, job: Job, result: Result) -> NDArray[np.uint8]:
        """The edit in the original photograph."""
        assert self.originals is not None
        assert sample.source_id is not None
        row = self.pool.rows[sample.source_id]
        pair = self.originals.load(sample.source_id)
        height, width = pair.image_HWC.shape[:2]
        if pair.mask_HW is not None and not np.array_equal(
            cut_mask(pair.mask_HW, row.frame, self.pool.size), self.pool.read_mask(sample.source_id)
        ):
            raise ArtefactError(
                f"the photograph of {sample.source_id} has another mask than the prepared image",
                cure="prepare the data again, or set data.root to the dataset that was prepared",
            )
        assert job.mask_HW is not None
        mask_HW = mask_in_original(job.mask_HW, row.frame, height, width)
        if sample.mask.is_source and pair.mask_HW is not None:
            mask_HW = pair.mask_HW  # the photograph's own outline is finer
        ground = Ground.prepare(pair.image_HWC, mask_HW, row.frame, self.options.editing, erase_HW=pair.mask_HW)
        return ground.paste(result.raw_HWC)


def provenance_of(sample: PlannedSample, hashes: Mapping[str, str]) -> Provenance:
    """What the file of a sample says of itself."""
    return Provenance(
        hashes,
        seed=sample.seed,
        type=sample.label,
        measurements={**sample.wanted, **sample.asked},
        prompt=sample.prompt,
        mask=sample.mask.kind,
        source=sample.source_id,
    )
