"""Docstrings are written as Markdown is: `code` in single backticks, absolute values as |x|. This makes them reST."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

_CODE = re.compile(r"(?<![`:\w])`(?!`)([^`\n]+)`(?!`)")


def to_rest(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Double the backticks, and escape what reST would take for a substitution."""
    in_block = False
    for number, line in enumerate(lines):
        in_block = not in_block if line.strip().startswith("```") else in_block
        if not in_block and not line.lstrip().startswith((">>>", "...")):
            lines[number] = "".join(
                piece if piece.startswith("``") else piece.replace("|", "\\|")
                for piece in re.split(r"(``[^`]+``)", _CODE.sub(r"``\1``", line))
            )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the hook; 400: before napoleon reads sections."""
    app.connect("autodoc-process-docstring", to_rest, priority=400)
    return {"parallel_read_safe": True}
