"""Procedural dermoscopy: images whose true factors are known, for demos, tests and exact measurements of control."""

from lfvar.data.phantom.factors import FACTOR_RANGES, PhantomFactors
from lfvar.data.phantom.profiles import PROFILES, rephotograph, sample_factors
from lfvar.data.phantom.render import render

__all__ = ["FACTOR_RANGES", "PROFILES", "PhantomFactors", "render", "rephotograph", "sample_factors"]
