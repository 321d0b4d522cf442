"""The real command on a tiny tokenizer and tiny phantom images."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_settings import TINY, environment, run_module
from warm_runs import run_ranks


@pytest.fixture(scope="session")
def prepared_root(once):
    """A `paths.prepared` in which the tiny phantom is prepared once."""

    def make(root):
        arguments = [a for a in TINY if a.startswith(("image_size", "data.source", "data.split"))]
        done = run_module("lfvar.prepare", *arguments, f"paths.prepared={root}", cwd=root)
        assert done.returncode == 0, done.stderr
        return str(root)

    return Path(once("prepared", make))


@pytest.fixture
def tiny_train(prepared_root, tmp_path):
    """`python -m lfvar.train` with the tiny settings and the overrides given, in an empty folder."""

    def train(*overrides, ranks=1, **options):
        arguments = [*TINY, f"paths.prepared={prepared_root}", *overrides]
        if ranks > 1:  # as torchrun starts them
            codes, stdout, stderr = run_ranks(ranks, arguments, tmp_path, environment())
            return subprocess.CompletedProcess(arguments, max(codes), stdout, stderr)
        return run_module("lfvar.train", *arguments, cwd=tmp_path, **options)

    return train


@pytest.fixture
def resume_train(tmp_path):
    """`python -m lfvar.train resume=<run folder>`: nothing else is needed."""
    return lambda run: run_module("lfvar.train", f"resume={run}", cwd=tmp_path)


@pytest.fixture(scope="session")
def forked():
    """Run jobs `{"ranks", "arguments", "environment"}` in turn: exit codes of their ranks, and what was said."""

    def run(jobs, root):
        found = [
            run_ranks(job["ranks"], job["arguments"], root, environment() | job.get("environment", {})) for job in jobs
        ]
        codes, stdout, stderr = zip(*found, strict=True)
        return list(codes), SimpleNamespace(stdout="".join(stdout), stderr="".join(stderr))

    return run
