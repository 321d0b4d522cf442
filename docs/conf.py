"""How the documentation site is built: `make docs`. It needs no network, neither to build nor to read.

Pages are the Markdown files of this folder, which also read well on a repository's web view; the notebooks are those of
`notebooks/`, with the outputs they were committed with; the reference comes from docstrings.
"""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "extensions"))

project = "lfvar"
author = "The lfvar developers"
copyright = author
release = installed_version("lfvar")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "docstrings", "formulas", "notebooks"]
exclude_patterns = ["extensions"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
myst_dmath_double_inline = True

html_theme = "furo"  # maintained, readable on phones and in the dark, and loads nothing from elsewhere
html_math_renderer = "mathml"  # extensions/formulas.py
html_title = "lfvar"
html_copy_source = False
html_show_sourcelink = False

default_role = "code"  # `x` in a docstring is code, as it is in Markdown
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100


OPTIONAL = ("clusters", "studio", "sharing_models", "performance", "changelog")
"""Pages that docs/index.md has room for: listed where they exist."""


def leave_out_missing(app: Sphinx, page: str, source: list[str]) -> None:
    """Take optional pages that are not there out of the table of contents, where they would be a warning."""
    if page == "index":
        missing = {name for name in OPTIONAL if not (HERE / f"{name}.md").is_file()}
        source[0] = "\n".join(line for line in source[0].split("\n") if line not in missing)


def setup(app: Sphinx) -> None:
    """What Sphinx calls first."""
    app.connect("source-read", leave_out_missing)
    for name in ("prompt", "prompt-error"):  # sentences in docs/prompts.md
        app.add_lexer(name, TextLexer)
