"""How the seven HAM10000 types differ: distributions of factors, distinct but overlapping.

Colour means follow CIELAB differences between lesion and skin measured on HAM10000 (for example nv: -19 L*, +10 a*,
+12 b*; bcc: -7, +7, +1); structures follow the textbook dermoscopy of each type.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from lfvar.data.phantom.factors import FACTOR_RANGES, PhantomFactors
from lfvar.data.records import HAM10000_CLASSES
from lfvar.errors import ConfigError


class Spread(NamedTuple):
    """Normal distribution truncated to the factor's range; present with `chance`, otherwise the factor is 0."""

    mean: float
    std: float
    chance: float = 1.0

    def draw(self, name: str, rng: np.random.Generator) -> float:
        """Draw one value of factor `name`; takes a fixed number of draws, so factors do not disturb each other."""
        low, high = FACTOR_RANGES[name]
        present = rng.random() < self.chance
        values = self.mean + self.std * rng.standard_normal(16)
        inside = values[(values >= low) & (values <= high)]
        value = inside[0] if inside.size else np.clip(self.mean, low, high)
        return float(value) if present else 0.0


SKIN: Mapping[str, Spread] = {
    "skin_tone": Spread(0.18, 0.15),
    "skin_redness": Spread(16.5, 5.0),
    "skin_warmth": Spread(5.0, 6.0),
    "skin_texture": Spread(0.5, 0.22),
    "hairs": Spread(0.2, 0.22, chance=0.5),
    "shading": Spread(0.3, 0.2),
    "vignette": Spread(0.2, 0.2, chance=0.6),
}
"""The photograph, alike for all types."""

PROFILES: Mapping[str, Mapping[str, Spread]] = {
    # akiec: ill-defined pink-red plaque; strawberry pattern of red pseudo-network and pale follicles; surface scale.
    "akiec": {
        "diameter": Spread(0.55, 0.12),
        "elongation": Spread(1.3, 0.2),
        "asymmetry": Spread(0.45, 0.2),
        "irregularity": Spread(0.4, 0.18),
        "edge_softness": Spread(0.4, 0.12),
        "darkness": Spread(9.0, 3.5),
        "redness": Spread(7.5, 3.5),
        "warmth": Spread(4.0, 3.0),
        "variegation": Spread(0.3, 0.15),
        "follicles": Spread(0.55, 0.22, chance=0.7),
        "scale": Spread(0.5, 0.22, chance=0.6),
        "vessels": Spread(0.25, 0.15, chance=0.4),
        "globules": Spread(0.2, 0.15, chance=0.2),
    },
    # bcc: pink translucent nodule; arborising vessels; blue-grey ovoid nests; no network.
    "bcc": {
        "diameter": Spread(0.44, 0.11),
        "elongation": Spread(1.25, 0.2),
        "asymmetry": Spread(0.45, 0.2),
        "irregularity": Spread(0.3, 0.15),
        "edge_softness": Spread(0.4, 0.14),
        "darkness": Spread(8.0, 4.5),
        "redness": Spread(8.0, 3.5),
        "warmth": Spread(0.5, 3.0),
        "variegation": Spread(0.3, 0.17),
        "vessels": Spread(0.6, 0.22, chance=0.75),
        "veil": Spread(0.5, 0.22, chance=0.4),
        "globules": Spread(0.3, 0.2, chance=0.3),
        "scale": Spread(0.3, 0.15, chance=0.25),
    },
    # bkl: waxy, stuck-on, sharply cut border; milia-like cysts and clods; light to mid brown.
    "bkl": {
        "diameter": Spread(0.48, 0.13),
        "elongation": Spread(1.35, 0.2),
        "asymmetry": Spread(0.35, 0.18),
        "irregularity": Spread(0.4, 0.18),
        "edge_softness": Spread(0.2, 0.1),
        "darkness": Spread(12.0, 5.0),
        "redness": Spread(5.0, 3.0),
        "warmth": Spread(8.0, 3.5),
        "variegation": Spread(0.3, 0.16),
        "milia": Spread(0.55, 0.22, chance=0.65),
        "globules": Spread(0.5, 0.2, chance=0.6),
        "network": Spread(0.3, 0.15, chance=0.3),
        "scale": Spread(0.3, 0.15, chance=0.25),
    },
    # df: small firm papule; white scar-like centre; faint network fading out around it.
    "df": {
        "diameter": Spread(0.4, 0.1),
        "elongation": Spread(1.15, 0.12),
        "asymmetry": Spread(0.2, 0.12),
        "irregularity": Spread(0.17, 0.1),
        "edge_softness": Spread(0.42, 0.12),
        "darkness": Spread(10.0, 3.5),
        "redness": Spread(7.5, 3.0),
        "warmth": Spread(5.0, 3.5),
        "variegation": Spread(0.12, 0.1),
        "pallor": Spread(0.65, 0.2, chance=0.8),
        "network": Spread(0.4, 0.15, chance=0.75),
        "vessels": Spread(0.2, 0.1, chance=0.2),
    },
    # mel: large, asymmetric, notched; dark, many colours, blue-white veil; coarse broken network and clods.
    "mel": {
        "diameter": Spread(0.53, 0.14),
        "elongation": Spread(1.35, 0.25),
        "asymmetry": Spread(0.55, 0.22),
        "irregularity": Spread(0.5, 0.22),
        "edge_softness": Spread(0.3, 0.12),
        "darkness": Spread(22.0, 6.0),
        "redness": Spread(7.0, 3.5),
        "warmth": Spread(8.0, 4.5),
        "variegation": Spread(0.55, 0.22),
        "veil": Spread(0.5, 0.2, chance=0.55),
        "network": Spread(0.5, 0.2, chance=0.65),
        "globules": Spread(0.5, 0.2, chance=0.6),
        "pallor": Spread(0.3, 0.15, chance=0.2),
        "vessels": Spread(0.25, 0.12, chance=0.3),
    },
    # nv: small, round or oval, regular; one or two browns; even network or globules.
    "nv": {
        "diameter": Spread(0.4, 0.11),
        "elongation": Spread(1.25, 0.18),
        "asymmetry": Spread(0.25, 0.16),
        "irregularity": Spread(0.24, 0.14),
        "edge_softness": Spread(0.38, 0.14),
        "darkness": Spread(18.0, 5.5),
        "redness": Spread(9.0, 3.5),
        "warmth": Spread(11.0, 4.0),
        "variegation": Spread(0.24, 0.16),
        "network": Spread(0.6, 0.18, chance=0.85),
        "globules": Spread(0.45, 0.2, chance=0.45),
        "milia": Spread(0.2, 0.1, chance=0.1),
    },
    # vasc: small, sharp, red to purple or black; lacunae between pale septa; no brown.
    "vasc": {
        "diameter": Spread(0.33, 0.1),
        "elongation": Spread(1.15, 0.14),
        "asymmetry": Spread(0.22, 0.14),
        "irregularity": Spread(0.22, 0.13),
        "edge_softness": Spread(0.17, 0.08),
        "darkness": Spread(22.0, 7.0),
        "redness": Spread(17.0, 6.0),
        "warmth": Spread(-4.0, 4.5),
        "variegation": Spread(0.25, 0.15),
        "lacunae": Spread(0.7, 0.2, chance=0.8),
        "veil": Spread(0.3, 0.15, chance=0.15),
        "vessels": Spread(0.3, 0.15, chance=0.2),
    },
}
"""Per type, the factors it draws; structures left out are absent."""


def sample_factors(label: str, rng: np.random.Generator) -> PhantomFactors:
    """Draw the factors of one lesion of type `label` and of its photograph.

    Raises:
        ConfigError: When `label` is none of `HAM10000_CLASSES`.
    """
    if label not in PROFILES:
        raise ConfigError(
            f"phantom knows no lesion type {label!r}", cure=f"choose one of {', '.join(HAM10000_CLASSES)}"
        )
    spreads = {**SKIN, **PROFILES[label]}
    absent = Spread(0.0, 0.0)
    drawn = {
        name: spreads.get(name, absent).draw(name, rng)
        for name in FACTOR_RANGES
        if name not in ("centre_x", "centre_y", "orientation")
    }
    return PhantomFactors(**drawn, **_draw_pose(rng, drawn["diameter"]))


def rephotograph(factors: PhantomFactors, rng: np.random.Generator) -> PhantomFactors:
    """Photograph the same lesion again: turned, shifted, in other light, with other hairs."""
    photo = {name: SKIN[name].draw(name, rng) for name in ("hairs", "shading", "vignette")}
    return replace(factors, **photo, **_draw_pose(rng, factors.diameter))


def _draw_pose(rng: np.random.Generator, diameter: float) -> dict[str, float]:
    """Near the middle, as dermatologists frame; large lesions have less room."""
    spread = 0.22 * (1 - diameter)
    x, y = np.clip(0.5 + spread * rng.standard_normal(2), 0.2, 0.8)
    return {"centre_x": float(x), "centre_y": float(y), "orientation": float(rng.uniform(-math.pi, math.pi))}
