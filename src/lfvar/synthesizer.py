"""A trained pair of tokenizer and transformer, ready to be asked for images.

>>> from lfvar.synthesizer import Synthesizer  # doctest: +SKIP
>>> synthesizer = Synthesizer.from_run("runs/var/phantom/20260101-000000-abcd")  # doctest: +SKIP
>>> images = synthesizer.edit(image, mask, type="mel", seeds=range(8))  # doctest: +SKIP
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from lfvar.config.run import CARD_FILE
from lfvar.devices import pick_device
from lfvar.errors import ArtefactError, ConfigError, DataError
from lfvar.interop.checkpoints import ConditionMeaning
from lfvar.interop.pairs import load_pair
from lfvar.measure.mask_only import measure_mask
from lfvar.measure.profiles import PROFILES_FILE, Profiles
from lfvar.measure.schema import FROM_MASK
from lfvar.measure.standardise import Standardiser
from lfvar.nn.var import VAR
from lfvar.nn.vqvae import VQVAE
from lfvar.sampling.asking import Asking, resolve_words
from lfvar.sampling.editing import EditConfig, Job, Result, Sources, edit_batch
from lfvar.sampling.filters import Filters
from lfvar.sampling.guidance import Guidance, guidance_branches
from lfvar.sampling.lowered import store_lowered
from lfvar.sampling.packed import store_packed
from lfvar.sampling.photograph import Photograph
from lfvar.sampling.vectors import Vectors

Precision = Literal["32", "bf16"]

Rest = Literal["none", "mean", "expected", "sampled"]
"""Measurements that are not stated: left free, the mean of the type, what usually goes with the stated ones and the
mask, or drawn from what goes with them, another draw for each seed."""

Amount = float | str
"""A number in natural units, or "very low", "low", "medium", "high" or "very high" for the type."""

VAR_SAMPLING = Filters(top_k=900, top_p=0.96)
"""How VAR draws the samples it shows."""


@dataclass(frozen=True)
class Synthesizer:
    """Makes images; `Synthesizer.from_run(path)` loads one."""

    net: VAR
    tokenizer: VQVAE
    meaning: ConditionMeaning
    standardiser: Standardiser | None
    """Of the net's measurements; None: a net without them."""
    profiles: Profiles | None
    """What lesions of each type measure: the meaning of words. None: only numbers are understood."""
    hashes: Mapping[str, str]
    """SHA-256 of the files: "transformer", "tokenizer"."""
    precision: Precision = "32"
    """"32": the same ids and bytes whatever else is made beside them; "bf16": faster."""

    @classmethod
    def from_run(
        cls,
        path: str | Path,
        *,
        tokenizer: str | Path | None = None,
        profiles: Profiles | str | Path | None = None,
        weights: Literal["ema", "last"] = "ema",
        device: str | torch.device = "auto",
        precision: Precision = "32",
    ) -> Synthesizer:
        """Load what a training run left.

        Args:
            path: A run folder of `experiment=var…` (its best checkpoint, else its last), a checkpoint of one, or a
                folder that `lfvar.export` wrote.
            tokenizer: File of the tokenizer, where it is no longer where training found it.
            profiles: What types measure, or a prepared folder that has it; None: that of the run's own training data,
                if it is still there.
            weights: The average over training, or the last step's.
            device: "auto": CUDA where there is one.
            precision: See the class.

        Raises:
            ArtefactError: When a file is missing, damaged, or of another kind, or the tokenizer is not the one whose
                tokens the transformer learned.
            ConfigError: When device or precision is unknown.
        """
        if precision not in ("32", "bf16"):
            raise ConfigError(f"precision={precision!r} is unknown", cure="use precision=32 or precision=bf16")
        pair = load_pair(path, tokenizer=tokenizer, weights=weights)
        if not isinstance(profiles, Profiles):
            profiles = find_profiles(pair.checkpoint, profiles)
        place = pick_device(device)
        if precision == "bf16":
            store_lowered(pair.transformer.net, pair.tokenizer.net)
        elif place.type == "cpu":
            store_packed(pair.transformer.net)
        return cls(
            net=pair.transformer.net.to(place).requires_grad_(False),
            tokenizer=pair.tokenizer.net.to(place).requires_grad_(False),
            meaning=pair.transformer.meaning,
            standardiser=pair.standardiser,
            profiles=profiles,
            hashes=pair.hashes,
            precision=precision,
        )

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, revision: str | None = None, token: str | None = None, **options: Any
    ) -> Synthesizer:
        """Load an exported model from a folder, or from the Hugging Face Hub (extra `hub`).

        Args:
            source: A folder that `lfvar.export` wrote; what is no folder is taken for "owner/name" on the Hub, and
                downloaded.
            revision: Of the repository: branch, tag or commit.
            token: For private repositories.
            **options: As of `from_run`.

        Raises:
            ArtefactError: As `from_run`, and when the repository cannot be reached.
            ConfigError: As `from_run`, and when the extra `hub` is not installed.
        """
        from lfvar.interop.pretrained import locate_pretrained

        return cls.from_run(locate_pretrained(source, revision=revision, token=token), **options)

    @property
    def image_size(self) -> int:
        """Side of the images it makes."""
        return self.tokenizer.config.image_size

    @property
    def classes(self) -> tuple[str, ...]:
        """Lesion types it knows."""
        return self.meaning.classes

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Measurements it can be asked for."""
        return self.asking.feature_names

    @cached_property
    def asking(self) -> Asking:
        """How requests become conditions."""
        return Asking(self.net, self.classes, self.image_size, self.standardiser)

    def check(self, jobs: Sequence[Job]) -> list[str]:
        """Make sure that every job can be done; returns warnings (see `lfvar.sampling.asking.Asking.check`).

        Raises:
            ConfigError: When a type or a measurement is unknown.
            DataError: When an image or a mask has another size or kind, or a mask is empty.
        """
        return self.asking.check(jobs)

    def run(
        self,
        jobs: Sequence[Job],
        *,
        guidance: Guidance | None = None,
        filters: Filters = VAR_SAMPLING,
        editing: EditConfig | None = None,
        batch_size: int = 16,
        watch: Callable[[int], None] | None = None,
    ) -> Iterator[Result]:
        """Make every job's image.

        In float32 a job's result does not depend on the other jobs, their order or the batch size. Jobs with one source
        are best given together: the source is then encoded once.

        Args:
            jobs: All are checked before the first is done.
            guidance: Strengths; None: none.
            filters: Temperature, top-k, top-p.
            editing: How the source's skin is kept; None: all measures.
            batch_size: How many at once.
            watch: Called with the number of each scale before a batch draws it; what it raises ends the run.

        Returns:
            Results in the order of the jobs, as they come.

        Raises:
            ConfigError, DataError: As `check`; ConfigError for guidance that the net cannot have.
        """
        guidance = guidance or Guidance()
        guidance_branches(guidance, self.net.conditioning)
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size}", cure="use 1 or more")
        self.asking.check(jobs)
        return self._run(jobs, guidance, filters, editing or EditConfig(), batch_size, watch)

    def edit(
        self,
        image: NDArray[np.uint8],
        mask: NDArray[Any],
        *,
        type: str | None = None,
        measurements: Mapping[str, Amount] | None = None,
        rest: Rest = "none",
        seeds: Sequence[int] = (0,),
        **settings: Any,
    ) -> NDArray[np.uint8]:
        """Paint a new lesion into a photograph, once per seed.

        A photograph of any size will do: a square around the lesion is edited at the model's size, and the edit goes
        back into the photograph, whose bytes outside the mask stay what they are.

        Args:
            image: RGB (H, W, 3) uint8.
            mask: (H, W), True (or above 0) = paint here.
            type: Lesion type; None: any.
            measurements: Numbers in natural units, or words ("high") for quantiles of the type.
            rest: All other measurements ("mean", "expected", "sampled": of the type). Dozens say how dark a lesion is,
                and a small model goes by the majority.
            seeds: One image each.
            **settings: `guidance`, `filters`, `editing`, `batch_size` of `run`.

        Returns:
            uint8 (S, H, W, 3).

        Raises:
            ConfigError: When type, measurement or word is unknown, or a measurement follows from the mask.
            DataError: When image and mask do not fit together, or the mask is empty (also at the model's size).
        """
        image, mask = np.asarray(image), np.asarray(mask) > 0
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or mask.shape != image.shape[:2]:
            raise DataError(
                f"image is {image.dtype} {image.shape} and mask {mask.shape}; they are uint8 (H, W, 3) and (H, W)",
                cure="read them with lfvar.data.imageio.read_image and read_mask",
            )
        photograph = Photograph.frame_lesion(image, mask, self.image_size)
        asked = self._resolve(measurements, type, rest, photograph.mask_HW, seeds)
        jobs = [
            Job(seed, type, values, photograph.square_HWC, photograph.mask_HW)
            for seed, values in zip(seeds, asked, strict=True)
        ]
        self._warn(jobs)
        results = list(self.run(jobs, **settings))
        return np.stack(photograph.put_back(results, settings.get("editing") or EditConfig()))

    def synthesize(
        self,
        type: str | None = None,
        *,
        measurements: Mapping[str, Amount] | None = None,
        rest: Rest = "none",
        mask: NDArray[Any] | None = None,
        seeds: Sequence[int] = (0,),
        **settings: Any,
    ) -> NDArray[np.uint8]:
        """Make whole new images, skin included, one per seed.

        Args:
            type: Lesion type; None: any.
            measurements: As in `edit`.
            rest: As in `edit`.
            mask: (S, S) at the model's size, where the lesion shall lie; None: anywhere.
            seeds: One image each.
            **settings: `guidance`, `filters`, `batch_size` of `run`.

        Returns:
            uint8 (S, H, W, 3) at the model's size.
        """
        mask_HW = None if mask is None else np.asarray(mask) > 0
        asked = self._resolve(measurements, type, rest, mask_HW, seeds)
        jobs = [Job(seed, type, values, mask_HW=mask_HW) for seed, values in zip(seeds, asked, strict=True)]
        self._warn(jobs)
        return np.stack([result.image_HWC for result in self.run(jobs, **settings)])

    def _run(
        self,
        jobs: Sequence[Job],
        guidance: Guidance,
        filters: Filters,
        editing: EditConfig,
        batch_size: int,
        watch: Callable[[int], None] | None,
    ) -> Iterator[Result]:
        sources = Sources(self.tokenizer, editing)
        for first in range(0, len(jobs), batch_size):
            batch = jobs[first : first + batch_size]
            condition = self.asking.condition([job.overpainted(editing.overpaint) for job in batch])
            yield from edit_batch(
                self.net,
                sources,
                batch,
                condition,
                guidance=guidance,
                filters=filters,
                bf16=self.precision == "bf16",
                watch=watch,
            )

    def _resolve(
        self,
        measurements: Mapping[str, Amount] | None,
        label: str | None,
        rest: Rest,
        mask_HW: NDArray[np.bool_] | None,
        seeds: Sequence[int],
    ) -> list[dict[str, float]]:
        """What each seed is asked for."""
        self.asking.require_type(label)
        if rest not in get_args(Rest):
            raise ConfigError(f"rest='{rest}' is unknown", cure=f"use one of {', '.join(get_args(Rest))}")
        stated = resolve_words(measurements or {}, label, self.profiles)
        decided = () if mask_HW is None else FROM_MASK
        for name in stated:
            if name in decided:
                raise ConfigError(
                    f"{name} follows from the mask, and a mask is given",
                    cure="leave it out, or draw a mask that has it (lfvar.sampling.lesion_shapes)",
                )
        given = ({} if mask_HW is None or rest == "none" else measure_mask(mask_HW)) | stated
        if rest != "none" and self.profiles is None:
            raise ConfigError(
                f"rest='{rest}' needs profiles: it is what lesions of a type measure",
                cure="give profiles=<prepared folder>, or rest='none'",
            )
        if len(seeds) == 0:
            raise ConfigError("seeds is empty", cure="give one seed per image")
        vectors = Vectors(self.feature_names, self.profiles)
        drawn = [vectors.base(rest, label, measured={}, seed=seed, given=given) for seed in seeds]
        return [{name: value for name, value in vector.items() if name not in decided} | stated for vector in drawn]

    def _warn(self, jobs: Sequence[Job]) -> None:
        for message in self.check(jobs):
            warnings.warn(message, stacklevel=3)


def find_profiles(checkpoint: Path, given: str | Path | None) -> Profiles | None:
    """What types measure: as given, else of an exported folder, else of a run's own training data if still there."""
    if given is not None:
        path = Path(given)
        return Profiles.read(path / PROFILES_FILE if path.is_dir() else path)
    if (beside := checkpoint.parent / PROFILES_FILE).is_file():
        return Profiles.read(beside)  # of an exported folder
    try:  # a run folder names its data; whatever is missing there, words will say that they need profiles
        card = json.loads((checkpoint.parent.parent / CARD_FILE).read_text())
        path = Path(card["config"]["data"]["folder"]) / PROFILES_FILE
        profiles = Profiles.read(path) if path.is_file() else None
        return profiles if profiles and profiles.made_from["manifest_hash"] == card["data"]["manifest"] else None
    except (OSError, ValueError, KeyError, TypeError, ArtefactError):
        return None
