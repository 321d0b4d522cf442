"""Pages: what is written as Markdown is read back, and HTML needs no other file."""

import re

import numpy as np

from lfvar.data.imageio import write_png
from lfvar.evaluation.page import Section, read_markdown, render_html, render_markdown

HEAD, ROWS = ("what", "value"), [("a | b", "1.0"), ("c", "–")]


def test_markdown_comes_back(tmp_path):
    write_png(tmp_path / "picture.png", np.zeros((4, 4, 3), np.uint8))
    sections = [
        Section("Findings", "- one\n- two", figures=("a picture",)),
        Section("Numbers", "Said before.", [(HEAD, ROWS), (HEAD, ROWS[:1])]),
        Section("Deeper", "More.\n\nAnd more.", level=3),
    ]
    figures = {"a picture": tmp_path / "picture.png"}
    (tmp_path / "report.md").write_text(render_markdown("Title", sections, figures, tmp_path))
    read, found = read_markdown(tmp_path / "report.md")
    assert list(found.values()) == [tmp_path / "picture.png"]
    assert [(s.title, s.text, s.level) for s in read] == [(s.title, s.text, s.level) for s in sections]
    assert [list(s.tables) for s in read] == [list(s.tables) for s in sections]


def test_what_is_said_after_a_table_stays_after_it(tmp_path):
    (tmp_path / "report.md").write_text("# T\n\n## A\n\n| x |\n| --- |\n| 1 |\n\nAfter.\n\n| y |\n| --- |\n| 2 |\n")
    read, _ = read_markdown(tmp_path / "report.md")
    assert [(s.title, s.text, len(s.tables)) for s in read] == [("A", "", 1), ("", "After.", 1)]


def test_html_is_whole_and_escaped(tmp_path):
    write_png(tmp_path / "picture.png", np.zeros((4, 4, 3), np.uint8))
    sections = [
        Section("A <b>", "Say `x < 1`, *loudly*.", [(HEAD, ROWS)], ("p",), code="k: <v>", folded=True),
        Section("", "Goes on."),
        Section("B"),
    ]
    text = render_html("T & U", sections, {"p": tmp_path / "picture.png"})
    assert "<summary>A &lt;b&gt;</summary>" in text
    assert "<code>x &lt; 1</code>, <em>loudly</em>" in text
    assert "<pre>k: &lt;v&gt;</pre>" in text
    assert text.index("Goes on.") < text.index("</details>") < text.index("<h2>B</h2>")
    assert text.count("<details>") == text.count("</details>") == 1
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
