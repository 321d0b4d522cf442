"""What README and docs tell people to type is right: commands compose, Python runs, links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest

from lfvar.config import compose

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language):
    for page in PAGES:
        for number, block in enumerate(re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)):
            yield pytest.param(block, id=f"{page.relative_to(ROOT)}:{number}")


def commands():
    for param in blocks("bash"):
        text = param.values[0].replace("\\\n", " ")
        for line in text.splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield pytest.param(words, id=f"{param.id} {' '.join(words)[:60]}")


@pytest.mark.parametrize("words", commands())
def test_commands_are_right(words, tmp_path):
    if words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets)
        return
    if words[0] in ("pip", "git", "cd", "isic", "unzip", "mkdir", "tensorboard"):
        return  # other people's programs
    if words[0] == "torchrun":
        words = ["python", *words[words.index("-m") :]]
    assert words[:2] == ["python", "-m"] or (words[0] == "python" and (ROOT / words[1]).is_file()), words
    if words[1] != "-m" or words[2] in ("lfvar.doctor", "lfvar.sweeps", "pytest"):
        return
    module = words[2].removeprefix("lfvar.")
    assert (ROOT / "src" / "lfvar" / f"{module}.py").is_file()
    overrides = [word for word in words[3:] if word != "-m"]
    # a sweep composes job by job; a folder to resume from is made up
    overrides = [re.sub(r"^([^=]+=)([^\[,]+),.*$", r"\1\2", word) for word in overrides]
    overrides = [word for word in overrides if not word.startswith("resume=")]
    overrides = ["trainer.accelerator=gpu", *overrides] if "experiment=vqvae_ham10000" in overrides else overrides
    compose(
        module,
        [
            *overrides,
            *([] if any("experiment=" in o for o in overrides) or module != "train" else ["experiment=vqvae"]),
        ],
    )


@pytest.mark.parametrize("block", blocks("python"))
def test_python_runs(block):
    exec(compile(block, "README", "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_exist(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
        if not target.startswith(("http", "mailto")):
            assert (page.parent / target).exists(), target
    for path in re.findall(r"`((?:src|conf|tests|docs|benchmarks)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path
