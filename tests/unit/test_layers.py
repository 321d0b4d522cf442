"""Who may import whom (DESIGN §3, "Layers"), read off the source."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "lfvar"

# Each layer may import from the layers before it and from itself.
LAYERS = [
    {"types", "scales", "errors", "processes", "progress", "slurm", "ending", "__init__"},
    {"nn", "losses", "metrics", "data", "measure", "figures", "interop"},
    {"sampling"},
    {"lit", "callbacks"},
    {"config"},
    {"commands"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
PURE = {"nn", "losses", "metrics", "sampling", "measure", "figures"}
FRAMEWORKS = {"lightning", "hydra", "omegaconf", "wandb"}
STRANGERS = [("data", "nn"), ("nn", "data")]


def imports(path):
    """Top-level names of absolute imports anywhere in a file; for ours, the part below lfvar."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write it out"
            names = [node.module]
            if node.module == "lfvar":
                names = [f"lfvar.{alias.name}" for alias in node.names]
        yield from (name.split(".") for name in names)


def part_of(path):
    relative = path.relative_to(SOURCE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def layer(part):
    return RANK.get(part, RANK["commands"])  # train.py, prepare.py, doctor.py, …


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down_only(path):
    part = part_of(path)
    for name in imports(path):
        if part in PURE:
            assert name[0] not in FRAMEWORKS, f"{part} imports {name[0]}"
        if name[0] != "lfvar" or len(name) == 1:
            continue
        other = name[1]
        assert (part, other) not in STRANGERS, f"{part} imports {other}"
        if part == "__init__":
            pytest.fail(f"lfvar/__init__.py imports {other}; `import lfvar` must stay free")
        assert layer(other) <= layer(part), f"{part} (layer {layer(part)}) imports {other} (layer {layer(other)})"


def test_the_rule_sees_something():
    found = {(part_of(path), name[1]) for path in FILES for name in imports(path) if name[0] == "lfvar" and name[1:]}
    assert ("lit", "nn") in found
    assert ("losses", "nn") in found
