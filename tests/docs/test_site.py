"""The documentation builds without a warning, needs nothing from elsewhere to be read, and leaves no formula out."""

import fcntl
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.docs.pages import PAGES, ROOT

SCRIPTS_AND_STYLES = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=\"(https?:)?//", re.IGNORECASE)
FORMULA = re.compile(r"(?<!\\)\$\$(.+?)\$\$", re.DOTALL)


def build(folder):
    with (Path(tempfile.gettempdir()) / "lfvar-docs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # builds copy notebooks beside the pages: one at a time
        done = subprocess.run(
            [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(ROOT / "docs"), str(folder)],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            timeout=400,
        )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_site(tmp_path):
    """One test, so that no two processes build the site."""
    pytest.importorskip("sphinx", reason="pip install 'lfvar[docs]'")
    build(tmp_path)
    check_that_every_page_is_there_and_loads_nothing_from_elsewhere(tmp_path)
    check_that_formulas_are_mathml_with_their_numbers(tmp_path)
    check_that_the_reference_shows_docstrings(tmp_path)


def check_that_every_page_is_there_and_loads_nothing_from_elsewhere(site):
    for page in PAGES[1:]:
        path = site / page.relative_to(ROOT / "docs").with_suffix(".html")
        text = path.read_text()
        assert not SCRIPTS_AND_STYLES.search(text), path
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", sheet.read_text()), sheet


def check_that_formulas_are_mathml_with_their_numbers(site):
    for name in ("how_it_works", "metrics"):
        source, built = (ROOT / "docs" / f"{name}.md").read_text(), (site / f"{name}.html").read_text()
        formulas = FORMULA.findall(source)
        numbers = [int(n) for formula in formulas for n in re.findall(r"\\tag\{(\d+)\}", formula)]
        assert numbers == list(range(1, len(formulas) + 1))  # every displayed equation has a number, in order
        assert built.count('display="block"') == len(formulas)
        assert [int(n) for n in re.findall(r'id="eq-(\d+)"', built)] == numbers


def check_that_the_reference_shows_docstrings(site):
    page = (site / "reference" / "nets.html").read_text()
    assert 'id="lfvar.nn.quantiser.MultiScaleQuantiser"' in page
    assert "Side lengths of the token maps." in page
    assert "`" not in re.sub(r"<[^>]+>", "", page.partition('id="lfvar.nn.quantiser.MultiScaleQuantiser"')[2][:20000])


def test_every_shipped_package_is_in_the_reference():
    """A module of the layers that people build on is documented; what is left out is internal."""
    text = "".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))
    named = set(re.findall(r"automodule:: (lfvar[\w.]*)", text))
    for name in named:
        path = ROOT / "src" / name.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), name
    for package in ("nn", "losses", "metrics", "sampling", "measure", "data", "lit", "callbacks", "interop"):
        assert any(name.startswith(f"lfvar.{package}.") for name in named), package
