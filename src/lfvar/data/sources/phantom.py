"""Procedural dermoscopy as a dataset: nothing to download, and the true factors come with each image."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from lfvar.data.phantom.factors import PhantomFactors
from lfvar.data.phantom.noise import Streams
from lfvar.data.phantom.profiles import rephotograph, sample_factors
from lfvar.data.phantom.render import MAX_SIZE, MIN_SIZE, VERSION, render
from lfvar.data.records import HAM10000_CLASSES, Pair, PairError, Record
from lfvar.errors import ConfigError


class Phantom:
    """Phantom images of the seven HAM10000 types.

    Image `index` depends on the settings below except `num_images`, so a longer set begins with the shorter one.

    Args:
        num_images: How many images to list.
        size: Side of the square images in pixels, 32 to 512.
        seed: Another seed gives another set; 0 or more.
        class_weights: Relative frequency of each type, drawn at random; types left out do not occur. None: all seven
            in turn.
        repeat_fraction: Share of images that show the lesion of the image before again, turned and in other light,
            0 to 0.5. A quarter of HAM10000 does, and splits must keep such images together.

    Raises:
        ConfigError: When a setting is out of range.
    """

    def __init__(
        self,
        num_images: int = 1000,
        size: int = 256,
        seed: int = 0,
        class_weights: Mapping[str, float] | None = None,
        repeat_fraction: float = 0.25,
    ) -> None:
        if num_images < 1:
            raise ConfigError(f"phantom num_images={num_images} lists nothing", cure="choose 1 or more")
        if not MIN_SIZE <= size <= MAX_SIZE:
            raise ConfigError(f"phantom size={size} is out of range", cure=f"choose {MIN_SIZE} to {MAX_SIZE} pixels")
        if seed < 0:
            raise ConfigError(f"phantom seed={seed} is negative", cure="choose 0 or more")
        if not 0 <= repeat_fraction <= 0.5:
            raise ConfigError(f"phantom repeat_fraction={repeat_fraction} is out of range", cure="choose 0 to 0.5")
        self.num_images = num_images
        self.size = size
        self.seed = seed
        self.class_weights = None if class_weights is None else _check_weights(class_weights)
        self.repeat_fraction = repeat_fraction

    @property
    def classes(self) -> Sequence[str]:
        """The seven lesion types, also when `class_weights` leaves some out."""
        return HAM10000_CLASSES

    def describe(self) -> Mapping[str, object]:
        """All settings, and the version of the generator."""
        return {
            "num_images": self.num_images,
            "size": self.size,
            "seed": self.seed,
            "class_weights": self.class_weights,
            "repeat_fraction": self.repeat_fraction,
            "generator_version": VERSION,
        }

    def records(self) -> Sequence[Record]:
        """List all images; nothing is drawn yet."""
        return [
            Record(
                image_id=f"phantom_{index:06d}",
                label=self._label(self._lesion(index)),
                lesion_id=f"phantom_lesion_{self._lesion(index):06d}",
            )
            for index in range(self.num_images)
        ]

    def load(self, record: Record) -> Pair:
        """Render one image with its mask and true factors.

        Raises:
            PairError: When the record is not one of this source's.
        """
        match = re.fullmatch(r"phantom_(\d{6,})", record.image_id)
        if match is None or int(match[1]) >= self.num_images:
            raise PairError(f"{record.image_id!r} is none of phantom_000000 to phantom_{self.num_images - 1:06d}")
        index = int(match[1])
        return render(self.factors(index), self.size, (self.seed, self._lesion(index)), photo=self._photo(index))

    def factors(self, index: int) -> PhantomFactors:
        """The factors of image `index` as drawn; `Pair.factors` has them as rendered (moved into the frame)."""
        lesion, photo = self._lesion(index), self._photo(index)
        streams = Streams((self.seed, lesion))
        factors = sample_factors(self._label(lesion), streams("factors"))
        return rephotograph(factors, streams("second photo")) if photo else factors

    def _lesion(self, index: int) -> int:
        return math.floor(index * (1 - self.repeat_fraction))

    def _photo(self, index: int) -> int:
        """0 for the first image of a lesion, 1 for the second."""
        return int(index > 0 and self._lesion(index) == self._lesion(index - 1))

    def _label(self, lesion: int) -> str:
        if self.class_weights is None:
            return HAM10000_CLASSES[lesion % len(HAM10000_CLASSES)]
        share = np.array([self.class_weights.get(name, 0.0) for name in HAM10000_CLASSES])
        return str(Streams((self.seed, lesion))("label").choice(HAM10000_CLASSES, p=share / share.sum()))


def _check_weights(weights: Mapping[str, float]) -> dict[str, float]:
    unknown = sorted(set(weights) - set(HAM10000_CLASSES))
    if unknown:
        raise ConfigError(
            f"phantom class_weights names unknown types: {', '.join(unknown)}",
            cure=f"use {', '.join(HAM10000_CLASSES)}",
        )
    checked = {name: float(weight) for name, weight in weights.items()}
    if not all(math.isfinite(weight) and weight >= 0 for weight in checked.values()) or sum(checked.values()) <= 0:
        raise ConfigError(
            f"phantom class_weights={checked} are not frequencies",
            cure="give finite numbers of 0 or more, at least one above 0",
        )
    return checked
