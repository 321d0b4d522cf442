"""The settings of measuring, and the hash that names them in caches and tables."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

from lfvar.data.manifest import hash_settings
from lfvar.errors import ConfigError
from lfvar.measure.schema import SCHEMA_VERSION

MEASURE_VERSION = 1
"""Raised when the same settings give other numbers."""


class MeasurementError(Exception):
    """A group of measurements cannot be taken; the message is the reason that the table shows."""


@dataclass(frozen=True)
class MeasureSettings:
    """How to measure.

    Raises:
        ConfigError: When a setting is out of range.
    """

    bin_width: float = 25.0
    """Grey levels per bin of texture and entropy; 25 is pyradiomics' default, which LF-VAR uses."""
    min_pixels: int = 16
    """Lesions of fewer pixels are not measured at all."""
    border_sigma: float = 1.0
    """Smoothing of the mask, in pixels, before its border is followed: removes the stairs, keeps notches."""
    ring_width: float = 0.1
    """Width of the ring of skin around the lesion, by equivalent diameter; never less than 2 pixels."""
    colour_share: float = 0.05
    """Share of the lesion from which on a dermoscopic colour counts as present."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("bin_width", 1.0, 128.0),
            ("min_pixels", 4, 10_000),
            ("border_sigma", 0.5, 8.0),
            ("ring_width", 0.01, 1.0),
            ("colour_share", 0.001, 0.5),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} is {value}", cure=f"choose {name} between {low:g} and {high:g}")

    def describe(self) -> dict[str, Any]:
        """Everything that decides the numbers, as plain data."""
        return {
            **{name: float(value) for name, value in asdict(self).items()},
            "schema_version": SCHEMA_VERSION,
            "measure_version": MEASURE_VERSION,
            "pyradiomics": version("pyradiomics-bhklab"),
        }

    @cached_property
    def hash(self) -> str:
        """Of `describe`."""
        return hash_settings(self.describe())
