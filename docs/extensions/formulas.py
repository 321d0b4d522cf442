r"""Formulas as MathML, made while the site is built: every browser of today shows it, without scripts or fonts.

`$…$` and `$$…$$` are what a repository's web view understands too. The number of an equation is written into it as
`\tag{3}`, so that both show the same one, and "(3)" in the text means it.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)
_TAG = re.compile(r"\\tag\{(?P<number>[^}]+)\}")


def show_inline(translator: HTML5Translator, node: nodes.math) -> None:
    """A formula within a sentence."""
    translator.body.append(to_mathml(node.astext(), node, display="inline"))
    raise nodes.SkipNode


def show_block(translator: HTML5Translator, node: nodes.math_block) -> None:
    """A formula on a line of its own, with its number at the right."""
    text = node.astext()
    tag = _TAG.search(text)
    formula = to_mathml(_TAG.sub("", text).strip(), node, display="block")
    number = f'<span class="eqno" id="eq-{tag["number"]}">({tag["number"]})</span>' if tag else ""
    translator.body.append(f'<div class="math formula">{formula}{number}</div>\n')
    raise nodes.SkipNode


def to_mathml(latex: str, node: nodes.Node, *, display: str) -> str:
    """Convert, or warn, which `make docs` takes for an error."""
    try:
        mathml: str = convert(latex, display=display)
    except Exception as error:
        logger.warning("formula %r: %s", latex, error, location=node)
        return f"<code>{latex}</code>"
    if re.search(r"<m[a-z]+>\\[a-zA-Z]+</m[a-z]+>", mathml):
        logger.warning("formula %r has a command that latex2mathml does not know", latex, location=node)
    return mathml


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", inline_renderers=(show_inline, None), block_renderers=(show_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
