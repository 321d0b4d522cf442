"""Notebooks as pages: converted to Markdown below `docs/notebooks`, with the outputs they were committed with.

Pages link to a notebook as `../notebooks/NAME.ipynb`, notebooks to a page as `../docs/NAME.md`, as the web view of a
repository understands. Both are pointed to where the site has them.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from nbconvert import MarkdownExporter
from sphinx.application import Sphinx

DOCS = Path(__file__).parents[1]
SOURCE = DOCS.parent / "notebooks"
TARGET = DOCS / "notebooks"
"""Made anew by each build; git ignores it."""


def convert_notebooks(app: Sphinx, config: object) -> None:
    """Write a page and the pictures of each notebook."""
    shutil.rmtree(TARGET, ignore_errors=True)
    TARGET.mkdir()
    for path in sorted(SOURCE.glob("*.ipynb")):
        text, resources = MarkdownExporter().from_filename(str(path), {"unique_key": path.stem})
        for name, content in resources["outputs"].items():
            (TARGET / name).write_bytes(content)
        note = f"*[The notebook itself](../../notebooks/{path.name}), to run it.*"
        text = re.sub(r"\]\((\d\d_\w+)\.ipynb\)", r"](\1.md)", text.replace("](../docs/", "](../"))
        text = re.sub(
            r"<style scoped>.*?</style>\n", "", text, flags=re.DOTALL
        )  # of tables; Markdown ends at its blank lines
        title, _, rest = text.partition("\n")
        (TARGET / f"{path.stem}.md").write_text(f"{title}\n\n{note}\n{rest}", encoding="utf-8")


def point_to_notebooks(app: Sphinx, page: str, source: list[str]) -> None:
    """Links from pages to notebooks, as seen from this folder."""
    if not page.startswith("notebooks/"):
        source[0] = re.sub(r"\]\(\.\./notebooks/(\w+)\.ipynb", r"](notebooks/\1.md", source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register both."""
    app.connect("config-inited", convert_notebooks)
    app.connect("source-read", point_to_notebooks)
    return {"parallel_read_safe": True}
