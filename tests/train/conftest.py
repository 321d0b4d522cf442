"""The real command on a tiny tokenizer and tiny phantom images."""

import os
import subprocess
import sys

import pytest
from tiny_settings import TINY


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


def environment():
    """This process's environment without what pytest or a cluster put there; one thread per process."""
    ours = ("LFVAR_", "HYDRA_", "PYTEST_")
    return {k: v for k, v in os.environ.items() if not k.startswith(ours)} | {"OMP_NUM_THREADS": "1"}


def run_module(module, *arguments, cwd, timeout=300, wait=True):
    command = [sys.executable, "-m", module, *arguments]
    if not wait:
        return subprocess.Popen(command, cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=timeout)
