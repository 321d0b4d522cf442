"""Prompts: one English sentence to a type, measurement quantiles and a place, and back (docs/prompts.md).

request = parse("a large, dark, asymmetric melanoma in the upper left")
resolve(request, profiles)   # {'clinical_relative_area': 0.59, …} in natural units
"""

from lfvar.sampling.prompt.explanation import COLUMNS, Row, explain, resolve
from lfvar.sampling.prompt.parser import parse
from lfvar.sampling.prompt.rendering import render
from lfvar.sampling.prompt.request import PromptError, Request

__all__ = ["COLUMNS", "PromptError", "Request", "Row", "explain", "parse", "render", "resolve"]
