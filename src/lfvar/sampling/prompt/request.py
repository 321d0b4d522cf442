"""What a sentence means: plain data, the same for every sentence that says the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lfvar.errors import ConfigError
from lfvar.measure.schema import FEATURE_NAMES


class PromptError(ConfigError):
    """A sentence that cannot be read, or contradicts itself."""


@dataclass(frozen=True)
class Request:
    """What to make.

    Raises:
        ConfigError: When a feature is unknown, or a quantile, position or count is out of range.
    """

    label: str | None = None
    """Lesion type, one of the model's classes; None: any."""
    quantiles: Mapping[str, float] = field(default_factory=dict)
    """Feature of `lfvar.measure.schema` → probability in the type's own profile; other features are left free."""
    position: tuple[float, float] | None = None
    """Wanted centroid of the lesion as x, y from the left and top edge, by side of the image; None: free."""
    count: int = 1
    """Images, one lesion each."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.quantiles if name not in FEATURE_NAMES]
        if unknown:
            raise ConfigError(
                f"request asks for '{unknown[0]}', which is no measurement",
                cure="use names of lfvar.measure.schema.FEATURE_NAMES",
            )
        for name, probability in self.quantiles.items():
            if not 0 <= probability <= 1:
                raise ConfigError(f"quantile of '{name}' is {probability}", cure="give a probability from 0 to 1")
        if self.position is not None and not all(0 <= part <= 1 for part in self.position):
            raise ConfigError(f"position is {self.position}", cure="give x and y from 0 (left, top) to 1")
        if self.count < 1:
            raise ConfigError(f"count is {self.count}", cure="ask for one image or more")
        # One order for all: equal requests print and serialise alike, whatever the order of words.
        ordered = {name: float(self.quantiles[name]) for name in FEATURE_NAMES if name in self.quantiles}
        object.__setattr__(self, "quantiles", ordered)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `from_dict` undoes it."""
        position = None if self.position is None else list(self.position)
        return {"label": self.label, "quantiles": dict(self.quantiles), "position": position, "count": self.count}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Request:
        """Undo `as_dict`."""
        position = data["position"]
        return cls(
            data["label"], data["quantiles"], None if position is None else (position[0], position[1]), data["count"]
        )
