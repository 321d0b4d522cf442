"""What a user asks for, in names and natural units, as the condition of a net."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from lfvar.errors import ConfigError, DataError
from lfvar.measure.profiles import Profiles
from lfvar.measure.schema import FEATURE_NAMES, FROM_MASK, feature
from lfvar.measure.standardise import FittedFeature, Standardiser
from lfvar.nn.conditioning import Condition, Region
from lfvar.nn.mask_pyramid import token_regions
from lfvar.nn.var import VAR
from lfvar.sampling.editing import Job

WORDS: Mapping[str, float] = {"very low": 0.05, "low": 0.2, "medium": 0.5, "high": 0.8, "very high": 0.95}
"""Which quantile of a type's profile a word stands for."""

_ROUNDING = 1e-5
"""Relative difference between a value and what comes back of it that is none."""


@dataclass(frozen=True)
class Asking:
    """What a net can be asked for."""

    net: VAR
    classes: tuple[str, ...]
    """Lesion types in the order of their labels."""
    image_size: int
    standardiser: Standardiser | None
    """Of the net's measurements in their order; None: a net without them."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The measurements that the net takes."""
        return () if self.standardiser is None else self.standardiser.names

    def check(self, jobs: Sequence[Job]) -> list[str]:
        """Make sure that every job can be done.

        Returns:
            Warnings, each once: values beyond what training saw, with the value that counts instead; types that the
            net does not look at.

        Raises:
            ConfigError: When a type or a measurement is unknown, the net does not take it, or it is no finite number.
            DataError: When an image or a mask has another size or kind, or a mask is empty.
        """
        warnings: dict[str, None] = {}  # both in the order of appearance, each thing once
        stated: dict[str, dict[float, None]] = {}
        for number, job in enumerate(jobs):
            where = f"job {number} (seed {job.seed})"
            self._check_pictures(job, where)
            self.require_type(job.label)
            if job.label is not None and self.net.config.num_classes == 0:
                warnings[f"type '{job.label}' has no effect: the net was trained without types"] = None
            for name, value in job.measurements.items():
                if not math.isfinite(value):
                    raise ConfigError(f"{where}: {name}={value} is no number", cure="leave out what shall be free")
                stated.setdefault(name, {})[float(value)] = None
        for name, values in stated.items():
            warnings |= dict.fromkeys(self._check_values(name, list(values)))
        return list(warnings)

    def require_type(self, label: str | None) -> None:
        """Raise a ConfigError for a type that the net does not know."""
        if label is not None and label not in self.classes:
            raise ConfigError(
                f"no lesion type '{label}'{_suggest(label, self.classes)}", cure=f"use one of {', '.join(self.classes)}"
            )

    def condition(self, jobs: Sequence[Job]) -> Condition:
        """What the net is told, a row per job, on the CPU; what it has no input for is left out."""
        labels = [self.net.conditioning.null_class if j.label is None else self.classes.index(j.label) for j in jobs]
        values_BM, present_BM = self._measurements(jobs)
        whole = Condition(torch.tensor(labels), values_BM, present_BM, self._regions(jobs))
        return self.net.conditioning.usable(whole)

    def _measurements(self, jobs: Sequence[Job]) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        if self.standardiser is None:
            return None, None
        rows = [{**self._of_mask(job.mask_HW), **job.measurements} for job in jobs]
        table = pd.DataFrame(rows, columns=list(self.feature_names), dtype=np.float64)
        values_BM, present_BM = self.standardiser.transform(table)
        return torch.from_numpy(values_BM), torch.from_numpy(present_BM)

    def _of_mask(self, mask_HW: NDArray[np.bool_] | None) -> dict[str, float]:
        """What the net takes of those measurements that follow from the mask."""
        if mask_HW is None:
            return {}
        found = _measure_packed(np.packbits(mask_HW).tobytes(), mask_HW.shape)
        return {name: value for name, value in found if name in self.feature_names}

    def _regions(self, jobs: Sequence[Job]) -> torch.Tensor | None:
        if self.net.conditioning.regions is None:
            return None
        schedule = self.net.schedule
        region_BL = torch.full((len(jobs), schedule.num_tokens), int(Region.UNKNOWN))
        for row, job in enumerate(jobs):
            if job.mask_HW is not None:
                mask_11HW = torch.from_numpy(np.ascontiguousarray(job.mask_HW))[None, None].float()
                region_BL[row] = token_regions(mask_11HW, schedule)[0]
        return region_BL

    def _check_pictures(self, job: Job, where: str) -> None:
        side = self.image_size
        cure = (
            f"cut image and mask to {side}×{side} as lfvar.prepare does (lfvar.data.framing), or use Synthesizer.edit"
        )
        image_HWC = job.image_HWC
        if image_HWC is not None and (image_HWC.dtype != np.uint8 or image_HWC.shape != (side, side, 3)):
            raise DataError(
                f"{where}: the image is {image_HWC.dtype} {image_HWC.shape}, the model takes uint8 {(side, side, 3)}",
                cure=cure,
            )
        for name, mask_HW in (("mask", job.mask_HW), ("erase", job.erase_HW)):
            if mask_HW is not None and (mask_HW.dtype != np.bool_ or mask_HW.shape != (side, side)):
                raise DataError(
                    f"{where}: the {name} is {mask_HW.dtype} {mask_HW.shape}, the model takes bool {(side, side)}",
                    cure=cure,
                )
        if job.mask_HW is not None and not job.mask_HW.any():
            raise DataError(f"{where}: the mask is empty", cure="mark at least one pixel as lesion")
        if job.image_HWC is not None and job.mask_HW is None:
            raise DataError(
                f"{where}: an image without a mask", cure="say what to paint with mask_HW, or leave image_HWC out"
            )
        if job.erase_HW is not None and job.image_HWC is None:
            raise DataError(f"{where}: erase_HW without an image", cure="give the image to erase from, or leave it out")

    def _check_values(self, name: str, values: list[float]) -> list[str]:
        """Warnings for values of one measurement."""
        feature = self.require_feature(name)
        if feature.count == 0:
            return [f"{name} has no effect: no training image had it"]
        asked = np.array(values)
        counted = feature.restore(feature.standardise(asked, self._clip))
        off = np.abs(counted - asked) > _ROUNDING * np.maximum(np.abs(asked), np.abs(counted))
        if feature.scale == 0:
            text = "{name}={asked:g} has no effect: it was {counted:g} in all training images"
        else:
            text = "{name}={asked:g} is beyond what training saw: {counted:g} counts"
        pairs = zip(asked[off], counted[off], strict=True)
        return [text.format(name=name, asked=value, counted=instead) for value, instead in pairs]

    @property
    def _clip(self) -> float:
        assert self.standardiser is not None
        return self.standardiser.config.clip

    def require_feature(self, name: str) -> FittedFeature:
        """The scale of a measurement that the net takes.

        Raises:
            ConfigError: When there is no such measurement, or the net was trained without it.
        """
        if self.standardiser is not None and name in self.standardiser.names:
            return self.standardiser.features[self.standardiser.names.index(name)]
        if name in FEATURE_NAMES:
            raise ConfigError(
                f"measurement '{name}' has no effect: this net was trained "
                + (f"on {len(self.feature_names)} others" if self.feature_names else "without measurements"),
                cure="leave it out, or train with it (data.loader.features)",
            )
        raise ConfigError(
            f"no measurement '{name}'{_suggest(name, FEATURE_NAMES)}",
            cure="use names of lfvar.measure.schema.FEATURE_NAMES",
        )


def require_possible(measurements: Mapping[str, float]) -> None:
    """Make sure that a mask can measure what is asked of it.

    Args:
        measurements: In natural units; those that do not follow from the mask are not looked at.

    Raises:
        ConfigError: For a value that no mask has.
    """
    for name, value in measurements.items():
        if name not in FROM_MASK:
            continue
        low, high = feature(name).range
        is_part = name == "clinical_relative_area"  # neither nothing nor everything
        lowest, highest = -math.inf if low is None else low, math.inf if high is None else high
        if not lowest <= value <= highest or (is_part and value in (lowest, highest)):
            limits = f"from {lowest:g} to {highest:g}" if high is not None else f"{lowest:g} or more"
            raise ConfigError(
                f"{name}={value:g}: no lesion measures that",
                cure=f"use a number {limits}" + (", a part of the image" if is_part else ""),
            )


def resolve_words(
    measurements: Mapping[str, float | str], label: str | None, profiles: Profiles | None
) -> dict[str, float]:
    """Numbers as they are, words ("low", "very high") as quantiles of the type's profile.

    Raises:
        ConfigError: When a word is unknown, there is no type or no profile to say what it means, or no lesion can
            measure a number.
    """
    resolved: dict[str, float] = {}
    for name, value in measurements.items():
        if not isinstance(value, str):
            resolved[name] = float(value)
            continue
        if value not in WORDS:
            raise ConfigError(f"{name}='{value}' is no word for an amount", cure=f"use a number or {', '.join(WORDS)}")
        if label is None or profiles is None:
            lacks = "a type" if label is None else "profiles"
            raise ConfigError(
                f"{name}='{value}' needs {lacks}: words are quantiles of what lesions of a type measure",
                cure="name a lesion type, or give a number"
                if label is None
                else "give profiles=<prepared folder>, or a number",
            )
        if name not in profiles.names:
            raise ConfigError(
                f"no measurement '{name}'{_suggest(name, profiles.names)}",
                cure="use names of lfvar.measure.schema.FEATURE_NAMES",
            )
        resolved[name] = float(profiles.quantile(label, WORDS[value])[name])
        if not math.isfinite(resolved[name]):
            raise ConfigError(f"no lesion of type {label} has a '{name}'", cure="leave it out, or give a number")
    require_possible(resolved)
    return resolved


@lru_cache(maxsize=512)
def _measure_packed(packed: bytes, shape: tuple[int, int]) -> tuple[tuple[str, float], ...]:
    """`measure_mask` of a mask as bits: many samples share one."""
    from lfvar.measure.mask_only import measure_mask  # takes half a second: ITK

    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=shape[0] * shape[1])
    return tuple(measure_mask(bits.reshape(shape).astype(bool)).items())


def _suggest(name: str, known: Sequence[str]) -> str:
    near = [other for other in known if name in other][:3] or get_close_matches(name, known, n=3, cutoff=0.5)
    return f" (did you mean {' or '.join(near)}?)" if near else ""
