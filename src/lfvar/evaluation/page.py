"""A report of sections as Markdown, and as one HTML file that needs no other; and Markdown read back."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lfvar.metrics.tokenizer_page import table as markdown_table
from lfvar.metrics.tokenizer_report import Row

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}
table{border-collapse:collapse;margin:1rem 0;font-size:13px;display:block;overflow-x:auto}
th,td{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:left;font-variant-numeric:tabular-nums}
th{border-bottom:2px solid #888}img{max-width:100%;margin:.5rem 0}h2{margin-top:2.2rem}h3{margin-top:1.6rem}
code{font-size:.92em;background:#f4f4f4;padding:0 .2em}
pre{font-size:12px;background:#f4f4f4;padding:.6rem;overflow-x:auto}
details{margin:.8rem 0;border-left:3px solid #ddd;padding-left:.8rem}summary{cursor:pointer;font-weight:600}
""".strip()


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    """Empty: goes on with the part before."""
    text: str = ""
    """Plain sentences; an empty line starts a paragraph, lines that all start with "- " are a list, and `code` stands
    between backticks."""
    tables: Sequence[tuple[Row, Sequence[Row]]] = ()
    figures: Sequence[str] = ()
    """Names of figures."""
    code: str = ""
    """Shown as it is: commands, settings."""
    level: int = 2
    """Of the heading: 2, or 3 for a part of a part."""
    folded: bool = False
    """In HTML only the title is seen until it is clicked; untitled sections that follow belong to it."""


def render_markdown(title: str, sections: Sequence[Section], figures: Mapping[str, Path], folder: Path) -> str:
    """The page as Markdown; figures are links relative to `folder`."""
    parts = [f"# {title}"]
    for section in sections:
        parts += [f"{'#' * section.level} {section.title}"] if section.title else []
        parts += [section.text] if section.text else []
        parts += [f"```\n{section.code}\n```"] if section.code else []
        parts += [markdown_table(head, rows) for head, rows in section.tables]
        parts += [f"![{name}]({figures[name].relative_to(folder).as_posix()})" for name in section.figures]
    return "\n\n".join(parts) + "\n"


def render_html(title: str, sections: Sequence[Section], figures: Mapping[str, Path]) -> str:
    """The page as one HTML file that needs no other: figures, which are PNG files, are inside."""
    body, is_open = [f"<h1>{html.escape(title)}</h1>"], False
    for section in sections:
        if is_open and section.title:
            body.append("</details>")
            is_open = False
        content = [_html_text(section.text)] if section.text else []
        content += [f"<pre>{html.escape(section.code)}</pre>"] if section.code else []
        content += [_html_table(head, rows) for head, rows in section.tables]
        for name in section.figures:
            data = base64.b64encode(figures[name].read_bytes()).decode()
            content.append(f'<img alt="{html.escape(name)}" src="data:image/png;base64,{data}">')
        heading = html.escape(section.title)
        if section.folded and heading:
            body.append(f"<details><summary>{heading}</summary>")
            is_open = True
        elif heading:
            body.append(f"<h{section.level}>{heading}</h{section.level}>")
        body += content
    body += ["</details>"] if is_open else []
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(body) + "\n</body></html>\n"


def read_markdown(path: Path) -> tuple[list[Section], dict[str, Path]]:
    """Read a page of ours back, to make it a part of another one.

    Args:
        path: Markdown as `render_markdown` and the reports of `lfvar.evaluate` have it.

    Returns:
        Its sections in order, without the page's title, and its figures by name, the page's folder put before each so
        that names of several pages never meet.
    """
    sections: list[Section] = []
    figures: dict[str, Path] = {}
    for block in path.read_text(encoding="utf-8").strip().split("\n\n"):
        heading = re.fullmatch(r"(#+) (.+)", block)
        figure = re.fullmatch(r"!\[(.*)\]\((.+)\)", block)
        if heading:
            if len(heading[1]) > 1:
                sections.append(Section(heading[2], level=len(heading[1])))
            continue
        last = sections.pop() if sections else Section("")
        if figure:
            name = f"{path.parent.name}/{figure[1]}"
            figures[name] = path.parent / figure[2]
            last = replace(last, figures=(*last.figures, name))
        elif block.startswith("| "):
            head, _, *rows = (_cells(line) for line in block.splitlines())
            last = replace(last, tables=(*last.tables, (head, rows)))
        elif last.tables or last.figures:  # what is said after a table stays after it
            sections.append(last)
            last = Section("", block, level=last.level)
        else:
            last = replace(last, text=f"{last.text}\n\n{block}" if last.text else block)
        sections.append(last)
    return sections, figures


def _cells(line: str) -> Row:
    parts = re.split(r"(?<!\\)\|", line.strip())[1:-1]
    return tuple(part.strip().replace("\\|", "|") for part in parts)


def _html_text(text: str) -> str:
    return "\n".join(_html_paragraph(part) for part in text.split("\n\n"))


def _html_paragraph(text: str) -> str:
    lines = text.split("\n")
    if all(line.startswith("- ") for line in lines):
        return "<ul>" + "".join(f"<li>{_html_inline(line[2:])}</li>" for line in lines) + "</ul>"
    return f"<p>{_html_inline(text)}</p>"


def _html_inline(text: str) -> str:
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))
    text = re.sub(r"(?<![\w*\\])\*([^*\s][^*]*?)\*", r"<em>\1</em>", text)
    return text.replace("\\*", "*")


def _html_table(head: Row, rows: Sequence[Row]) -> str:
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    lines = ["<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return f"<table><tr>{cells}</tr>" + "".join(lines) + "</table>"
