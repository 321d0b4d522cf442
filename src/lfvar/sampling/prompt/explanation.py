"""What was understood, in numbers: quantiles of a type's profile in natural units."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from lfvar.data.records import HAM10000_CLASSES
from lfvar.errors import ConfigError
from lfvar.measure.profiles import Profiles
from lfvar.measure.schema import feature
from lfvar.sampling.prompt.rendering import describe, find_levels, name_count, name_label, name_position
from lfvar.sampling.prompt.request import Request
from lfvar.sampling.prompt.vocabulary import ATTRIBUTES

COLUMNS = ("phrase", "means", "quantile", "value")
"""Titles of `Row.cells`."""
CENTROID = ("clinical_centroid_x", "clinical_centroid_y")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    phrase: str
    """In canonical words."""
    means: str
    """Name of a feature, "type" or "images"."""
    quantile: float | None = None
    value: float | str | None = None
    """In the feature's unit; None: the model does not know the feature, so it is left free."""
    unit: str = ""

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """The texts under `COLUMNS`."""
        value = f"{self.value:.4g}" if isinstance(self.value, float) else str(self.value)
        return (
            self.phrase,
            self.means,
            "" if self.quantile is None else f"{self.quantile:.2f}",
            "left free" if self.value is None else f"{value} {self.unit}".strip(),
        )


def resolve(request: Request, profiles: Profiles, known: Collection[str] | None = None) -> dict[str, float]:
    """What a request asks for in natural units.

    A request for any type means quantiles of all types together, each with as many lesions as its profile has.

    Args:
        request: What is asked.
        profiles: Of the training split.
        known: Features the model knows; None: all that have a profile. Others are left out.

    Returns:
        Value by feature, in schema order; the centroid as the position says, when it says one.

    Raises:
        ConfigError: When the type has no profile, or the model knows none of the features of an attribute.
    """
    names = [name for name in profiles.names if known is None or name in known]
    for attribute, features in _group(request).items():
        if not any(name in names for name in features):
            raise ConfigError(
                f"this model does not know the {attribute} of lesions: {', '.join(features)}",
                cure=f"leave the {attribute} out, or use a model trained with measurements",
            )
    values = {
        name: _quantile(profiles, request.label, name, probability)
        for name, probability in request.quantiles.items()
        if name in names
    }
    return values | {name: share for name, share in _centroid(request).items() if name in names}


def explain(
    request: Request,
    profiles: Profiles,
    known: Collection[str] | None = None,
    classes: Sequence[str] = HAM10000_CLASSES,
) -> list[Row]:
    """Say what a request means, for a table to look at before anything is made.

    Args:
        request: What is asked.
        profiles: Of the training split.
        known: Features the model knows; None: all that have a profile.
        classes: Lesion types of the model.

    Raises:
        ConfigError: As `resolve`.
    """
    values = resolve(request, profiles, known)
    rows = [Row(name_count(request.count), "images", value=str(request.count))]
    rows.append(Row(name_label(request.label, classes), "type", value=request.label or "any"))
    levels = find_levels(request)
    for attribute, features in _group(request).items():
        phrase = describe(attribute, levels[attribute])
        rows += [_make_row(phrase, name, values.get(name), request.quantiles[name]) for name in features]
    rows += [_make_row(name_position(request), name, share) for name, share in _centroid(request).items()]
    return rows


def _make_row(phrase: str, name: str, value: float | None, probability: float | None = None) -> Row:
    unit = feature(name).unit
    return Row(phrase, name, probability, value, "" if unit == "1" else unit)


def _group(request: Request) -> dict[str, list[str]]:
    """Features asked for, by attribute; one that belongs to none stands for itself."""
    groups = {
        attribute: [name for name, _ in entry.features if name in request.quantiles]
        for attribute, entry in ATTRIBUTES.items()
    }
    grouped = {name for names in groups.values() for name in names}
    groups |= {name: [name] for name in request.quantiles if name not in grouped}
    return {attribute: names for attribute, names in groups.items() if names}


def _centroid(request: Request) -> dict[str, float]:
    return {} if request.position is None else dict(zip(CENTROID, request.position, strict=True))


def _quantile(profiles: Profiles, label: str | None, name: str, probability: float) -> float:
    if label is not None:
        value = float(profiles.quantile(label, probability)[name])
    else:
        value = _mix(profiles, name, probability)
    if np.isnan(value):
        raise ConfigError(
            f"no lesion of type '{label or 'any'}' has a '{name}' in the profiles",
            cure="leave it out of the prompt, or measure the dataset again (python -m lfvar.prepare)",
        )
    return value


def _mix(profiles: Profiles, name: str, probability: float) -> float:
    """The quantile over the lesions of all types: of the knots, each standing for its share of its type's lesions."""
    index = profiles.names.index(name)
    types = [profile for profile in profiles.types if np.isfinite(profile.knots_KM[:, index]).all()]
    if not types:
        return float("nan")
    values = np.concatenate([profile.knots_KM[:, index] for profile in types])
    weights = np.concatenate([np.full(len(profile.knots_KM), profile.count, dtype=np.float64) for profile in types])
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order]) - weights[order] / 2
    return float(np.interp(probability, (reached - reached[0]) / (reached[-1] - reached[0]), values[order]))
