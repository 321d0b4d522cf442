"""What must agree when a version is released."""

import ast
import re
import sys
from pathlib import Path

from lfvar.doctor import BASE, EXTRAS

ROOT = Path(__file__).parents[2]
PROJECT = (ROOT / "pyproject.toml").read_text()
VERSION = re.search(r'^version = "(.+)"$', PROJECT, re.MULTILINE)[1]


def test_version_is_told_once():
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == VERSION
    assert f"\nversion: {VERSION}\n" in (ROOT / "CITATION.cff").read_text()


def ranges():
    """Every requirement of the base, and of the extras that users install."""
    parts = [PROJECT.partition("\ndependencies = [")[2].partition("\n]")[0]]
    parts += re.findall(r"^(?:lite|hub) = \[(.*)\]$", PROJECT, re.MULTILINE)
    return dict(re.findall(r'"([\w.-]+?)>=([\d.]+)', "\n".join(parts)))


def test_lowest_constraints_are_the_lower_ends_of_the_ranges():
    lowest = dict(re.findall(r"^([\w.-]+)==([\d.]+)", (ROOT / "constraints-lowest.txt").read_text(), re.MULTILINE))
    assert len(ranges()) > 20
    for name, low in ranges().items():
        found = lowest[name.lower().replace("_", "-")]
        assert found == low or found.startswith(f"{low}.") or set(found.removeprefix(low)) <= {".", "0"}, (name, found)


def third_party_imports(path):
    """Top-level names that a file imports, and whether it does so where it cannot be avoided."""
    tree = ast.parse(path.read_text())
    at_start = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
        for name in (name.partition(".")[0] for name in names):
            if name not in sys.stdlib_module_names and name != "lfvar":
                yield name, id(node) in at_start


def test_an_empty_environment_gets_all_that_is_imported():
    """The dependencies of the wheel are enough: what is imported is in the base, or in an extra and imported late."""
    base = {*BASE.values(), "lightning_utilities"}  # which lightning brings
    late = {module for modules in EXTRAS.values() for module in modules}
    for path in (ROOT / "src").rglob("*.py"):
        # lfvar.studio needs its extra as a whole, and asks for it first; starlette brings anyio.
        whole = {*EXTRAS["studio"], "anyio"} if path.parent.name == "studio" else set()
        for name, at_start in third_party_imports(path):
            allowed = base | whole if at_start else base | late | {"_typeshed"}
            assert name in allowed, f"{path}: {name}"


def test_the_source_distribution_has_what_the_makefile_needs():
    included = re.search(r"\[tool\.hatch\.build\.targets\.sdist\]\ninclude = \[(.+)\]", PROJECT)[1]
    for name in ("Makefile", "constraints.txt", "constraints-lowest.txt", "CHANGELOG.md", "conf", "src", "tests"):
        assert f'"{name}"' in included
