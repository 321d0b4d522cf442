"""What README and docs tell people to type is right: every command composes or has a reason why no test can tell.

A command of ours must compose and pass every check that comes before it starts, and some test must start that command
for real, at a tiny size. A command of another program needs an entry in `ELSEWHERE`, or `<!-- untested: reason -->` in
the line before its block. Anything else fails.
"""

import json
import re
from functools import cache

import pytest
from omegaconf import OmegaConf
from tests.docs.pages import NOTEBOOKS, PAGES, ROOT, inline_commands, read_blocks, split_commands

from lfvar.config import compose

ELSEWHERE = {
    "tensorboard": "shows curves until it is stopped",
    "pip": "installs; tests/cli/test_wheel.py installs a wheel",
}
"""Other people's programs, and why no test runs them."""


def commands():
    for page in PAGES:
        for block in read_blocks(page):
            if block.language == "bash" and block.untested is None:
                for words in split_commands(block.text):
                    yield pytest.param(words, id=f"{block.id} {' '.join(words)[:60]}")
        for words in inline_commands(page):
            yield pytest.param(words, id=f"{page.relative_to(ROOT)} {' '.join(words)[:60]}")


@pytest.mark.parametrize("words", commands())
def test_commands_are_right(words):
    if words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets)
    elif words[0] == "python" and words[1].startswith("benchmarks/"):
        check_script(words[1:])
    elif words[0].startswith("lfvar-"):
        check_command(words[0].removeprefix("lfvar-"), words[1:])
    elif words[0] == "torchrun":
        check_command(words[words.index("-m") + 1].removeprefix("lfvar."), words[words.index("-m") + 2 :])
    elif words[:2] == ["python", "-m"] and words[2].startswith("lfvar."):
        check_command(words[2].removeprefix("lfvar."), words[3:])
    else:
        assert words[0] in ELSEWHERE, (
            f"nothing checks {' '.join(words)!r}: add {words[0]!r} to ELSEWHERE with a reason, or write"
            " <!-- untested: reason --> in the line before the block"
        )


def check_command(command, words):
    """A command of ours is run by some test, and this line of it composes."""
    assert command in commands_that_tests_run(), f"no test runs python -m lfvar.{command}"
    if (ROOT / "conf" / f"{command}.yaml").is_file() and words != ["--help"]:
        compose(command, overrides_of(command, words))


@cache
def commands_that_tests_run():
    """Named in a test as a process to start (`"lfvar.train"`), or whose `main` a test calls."""
    started = re.compile(r"""["']lfvar\.(\w+)["']|from lfvar\.(\w+) import [^\n]*\bmain\b|run\(["'](\w+)["']""")
    texts = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py") if path.parent.name != "docs"]
    return {name for text in texts for found in started.findall(text) for name in found if name}


def check_script(words):
    """A benchmark exists and knows the options; `tests/cli/test_benchmarks.py` runs the two of speed."""
    script = ROOT / words[0]
    assert script.is_file(), f"there is no {words[0]}"
    known = script.read_text() + (ROOT / "benchmarks" / "harness.py").read_text()
    unknown = [word for word in words[1:] if word.startswith("--") and f'"{word}"' not in known]
    assert not unknown, f"{words[0]} has no {unknown}"


def overrides_of(command, words):
    """Overrides that compose here: one job of a sweep, no folder to resume from, a GPU where there is none."""
    overrides = [re.sub(r"""^([^=]+=)([^\["',]+),.*$""", r"\1\2", word) for word in words if word != "-m"]
    overrides = [word for word in overrides if not word.startswith("resume=")]
    overrides = ["trainer.accelerator=gpu", *overrides] if "experiment=vqvae_ham10000" in overrides else overrides
    if not any(word.startswith("experiment=") for word in overrides):
        overrides += {"train": ["experiment=vqvae"], "pipeline": ["experiment=demo"]}.get(command, [])
    return overrides


def test_every_command_is_documented():
    reference = (ROOT / "docs" / "reference" / "commands.md").read_text()
    modules = [path for path in (ROOT / "src" / "lfvar").glob("*.py") if '__name__ == "__main__"' in path.read_text()]
    missing = [path.stem for path in modules if f"python -m lfvar.{path.stem}`" not in reference]
    assert not missing


@pytest.fixture(scope="module")
def settings():
    """Every setting and group of the commands, and each by the end of its name, as sentences call them."""
    trained = [f"experiment={name}" for name in ("vqvae", "var")]
    roots = [("train", [words]) for words in trained] + [("pipeline", ["experiment=demo"])]
    roots += [(path.stem, []) for path in (ROOT / "conf").glob("*.yaml") if path.stem not in ("train", "pipeline")]
    names = set()
    for path in (ROOT / "conf").rglob("*/*.yaml"):
        group = path.parent.relative_to(ROOT / "conf").as_posix()
        names |= {group, *flat_keys(OmegaConf.to_container(OmegaConf.load(path), resolve=False), (group,))}
    for command, words in roots:
        names |= set(flat_keys(OmegaConf.to_container(compose(command, words), resolve=False)))
    return {".".join(parts[first:]) for parts in (name.split(".") for name in names) for first in range(len(parts))}


def flat_keys(node, path=()):
    for key, child in node.items():
        yield ".".join((*path, str(key)))
        if isinstance(child, dict):
            yield from flat_keys(child, (*path, str(key)))


ELSEWHERE_SET = {
    "resume": "read before a command composes",
    "rest": "of Synthesizer.edit",
    "weights_only": "of torch.load",
    "method": "of lfvar.measure.standardise",
    "key": "any",
    "hydra": "of Hydra and its plugins",
}
"""Names in sentences that look like settings of ours."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_in_sentences_exist(page, settings):
    for span in re.findall(r"`([^`\n]+)`", page.read_text()):
        words = re.findall(r"(?:^|\s)\"?\+?([a-z_][a-z_0-9.]*)=(?=[^=\s])", span)
        if span.startswith(("python ", "pip ", "torchrun ")) or not re.match(r'"?\+?[a-z_0-9.]+=', span):
            continue  # whole commands are composed above
        unknown = [word for word in words if word not in settings and word.partition(".")[0] not in ELSEWHERE_SET]
        assert not unknown, f"no command has the setting {unknown[0]}: `{span}`"


def test_commands_stand_where_they_are_checked():
    """Not in a block without a language, which no test reads."""
    for page in PAGES:
        for block in read_blocks(page):
            if block.language not in ("bash", "markdown"):
                assert not re.search(r"^(\$ )?(python|pip|make|git|curl|isic) ", block.text, re.MULTILINE), block.id


@pytest.mark.parametrize(
    "block",
    [pytest.param(b, id=b.id) for page in PAGES for b in read_blocks(page) if b.language in ("python", "py")],
)
def test_python_runs(block):
    if block.language == "py":
        assert block.text.startswith("# needs "), f"{block.id}: say in its first line why no test runs it"
        compile(block.text, block.id, "exec")
    else:
        exec(compile(block.text, block.id, "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_exist(page):
    check_links(page.read_text(), page)


@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda page: page.name)
def test_links_of_notebooks_exist(page):
    cells = json.loads(page.read_text())["cells"]
    check_links("\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"), page)


def check_links(text, page):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", text):
        if target.startswith(("http", "mailto")):
            continue
        path = page.parent / target if target else page
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path), f"{target}#{anchor}"
    for path in re.findall(r"`((?:src|conf|tests|docs|benchmarks|notebooks)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path


def anchors(path):
    """Headings as a repository's web view and the site name them."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
