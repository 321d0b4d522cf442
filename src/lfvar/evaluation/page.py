"""A report of sections as Markdown, and as one HTML file that needs no other."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lfvar.metrics.tokenizer_page import table as markdown_table
from lfvar.metrics.tokenizer_report import Row

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}
table{border-collapse:collapse;margin:1rem 0;font-size:13px;display:block;overflow-x:auto}
th,td{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:left;font-variant-numeric:tabular-nums}
th{border-bottom:2px solid #888}img{max-width:100%;margin:.5rem 0}h2{margin-top:2.2rem}
""".strip()


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    text: str = ""
    """Plain sentences; lines that start with "- " are a list."""
    tables: Sequence[tuple[Row, Sequence[Row]]] = ()
    figures: Sequence[str] = ()
    """Names of figures."""


def render_markdown(title: str, sections: Sequence[Section], figures: Mapping[str, Path], folder: Path) -> str:
    """The page as Markdown; figures are links relative to `folder`."""
    parts = [f"# {title}"]
    for section in sections:
        parts.append(f"## {section.title}")
        parts += [section.text] if section.text else []
        parts += [markdown_table(head, rows) for head, rows in section.tables]
        parts += [f"![{name}]({figures[name].relative_to(folder).as_posix()})" for name in section.figures]
    return "\n\n".join(parts) + "\n"


def render_html(title: str, sections: Sequence[Section], figures: Mapping[str, Path]) -> str:
    """The page as one HTML file that needs no other: figures are inside."""
    body = [f"<h1>{html.escape(title)}</h1>"]
    for section in sections:
        body.append(f"<h2>{html.escape(section.title)}</h2>")
        body += [_html_text(section.text)] if section.text else []
        body += [_html_table(head, rows) for head, rows in section.tables]
        for name in section.figures:
            data = base64.b64encode(figures[name].read_bytes()).decode()
            body.append(f'<img alt="{html.escape(name)}" src="data:image/png;base64,{data}">')
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(body) + "\n</body></html>\n"


def _html_text(text: str) -> str:
    lines = text.split("\n")
    if all(line.startswith("- ") for line in lines):
        return "<ul>" + "".join(f"<li>{html.escape(line[2:])}</li>" for line in lines) + "</ul>"
    return f"<p>{html.escape(text)}</p>"


def _html_table(head: Row, rows: Sequence[Row]) -> str:
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    lines = ["<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return f"<table><tr>{cells}</tr>" + "".join(lines) + "</table>"
