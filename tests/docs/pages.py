"""What README and docs tell people to type, and what stands beside it."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [
    ROOT / "README.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if "notebooks" not in page.parts),  # made by the build
]
_FENCE = re.compile(r"^(?P<before>[^\n]*)\n```(?P<language>[\w-]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_UNTESTED = re.compile(r"<!-- untested: (?P<reason>.+?) -->")
_INLINE = re.compile(r"`(python -m lfvar\.[^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    number: int
    language: str
    text: str
    untested: str | None
    """Why no test runs it, from the comment in the line before."""

    @property
    def id(self):
        return f"{self.page.relative_to(ROOT)}:{self.number}"


def read_blocks(page):
    """All fenced blocks of a page, in order."""
    blocks = []
    for number, found in enumerate(_FENCE.finditer("\n" + page.read_text())):
        reason = _UNTESTED.search(found["before"].rpartition("\n")[2])
        blocks.append(Block(page, number, found["language"], found["text"], reason and reason["reason"]))
    return blocks


def split_commands(text):
    """The commands of a block as lists of words, comments left out and continued lines joined."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def inline_commands(page):
    """Commands of ours within sentences."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [shlex.split(found) for found in _INLINE.findall(text) if "…" not in found]
