"""The real command on a tiny tokenizer and tiny phantom images."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_settings import TINY, environment, run_module


@pytest.fixture(scope="session")
def prepared_root(tmp_path_factory):
    """A `paths.prepared` in which the tiny phantom is prepared once."""
    root = tmp_path_factory.mktemp("prepared")
    arguments = [a for a in TINY if a.startswith(("image_size", "data.source", "data.split"))]
    done = run_module("lfvar.prepare", *arguments, f"paths.prepared={root}", cwd=root)
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def tiny_train(prepared_root, tmp_path):
    """`python -m lfvar.train` with the tiny settings and the overrides given, in an empty folder."""

    def train(*overrides, **options):
        arguments = [*TINY, f"paths.prepared={prepared_root}", *overrides]
        return run_module("lfvar.train", *arguments, cwd=tmp_path, **options)

    return train


@pytest.fixture
def resume_train(tmp_path):
    """`python -m lfvar.train resume=<run folder>`: nothing else is needed."""
    return lambda run: run_module("lfvar.train", f"resume={run}", cwd=tmp_path)


@pytest.fixture(scope="session")
def forked():
    """Run jobs of `forked_runs.py`; returns the exit codes of their ranks, and what was said."""

    def run(jobs, root):
        path = root / "jobs.json"
        path.write_text(json.dumps(jobs))
        command = [sys.executable, str(Path(__file__).parent / "forked_runs.py"), str(path)]
        done = subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True, timeout=560)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1]), done

    return run
