"""What tests of several kinds share."""

import fcntl
import json
import logging
import os

import pytest
import torch

# Tests run on all cores at once (pytest-xdist): more threads per process only wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(autouse=True)
def logging_as_before():
    """Hydra's logging writes to what stdout was in its test; later tests would log into a closed file."""
    before, level = logging.root.handlers[:], logging.root.level
    yield
    for handler in logging.root.handlers[:]:
        if type(handler) in (logging.StreamHandler, logging.FileHandler) and handler not in before:  # not pytest's
            logging.root.removeHandler(handler)
    logging.root.setLevel(level)


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """Make something once for all processes of a test session; the others wait for it, and read what came of it.

    `once(name, make)`: `make(folder)` gets a folder of its own and returns plain data.
    """
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def get(name, make):
        made = root / f"{name}.json"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                (root / name).mkdir()
                made.write_text(json.dumps(make(root / name)))
        return json.loads(made.read_text())

    return get


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory):
    """A prepared phantom dataset of 16-px images, made once per test session and process."""
    from lfvar.data.prepare import prepare
    from lfvar.data.prepare_config import PrepareConfig
    from lfvar.data.sources.phantom import Phantom
    from lfvar.data.splits import SplitConfig

    folder = tmp_path_factory.mktemp("phantom")
    source = Phantom(num_images=70, size=32)
    config = PrepareConfig(image_size=16, workers=1)
    prepare(source, "phantom", config, SplitConfig(val_fraction=0.3), folder)
    return folder
