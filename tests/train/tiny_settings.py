"""The smallest tokenizer worth training, as overrides of the shipped experiment, and how to run a command."""

import os
import subprocess
import sys
from pathlib import Path

from warm_runs import WarmProcess, run_warm

TINY = [
    "experiment=vqvae",
    "image_size=16",
    "model.patch_nums=[1,2]",
    "model.channels=16",
    "model.vocab_size=32",
    "model.latent_channels=4",
    "codebook.init_step=3",
    "codebook.init_images=20",
    "data.source.num_images=70",
    "data.source.size=32",
    "data.split.val_fraction=0.3",
    "data.loader.batch_size=8",
    "data.loader.num_workers=0",
    "trainer=cpu",
    "trainer.precision=32-true",
    "trainer.max_steps=10",
    "trainer.val_check_interval=5",
]


def environment():
    """This process's environment without what pytest or a cluster put there; one thread per process."""
    ours = ("LFVAR_", "HYDRA_", "PYTEST_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    return kept | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}  # for callbacks of tests


def run_module(module, *arguments, cwd, timeout=300, wait=True, fresh=False):
    """`python -m module arguments`, in a folder.

    Args:
        module: Of ours.
        arguments: Of the command line.
        cwd: The folder.
        timeout: Seconds until it must have ended.
        wait: Return what it left and said; else the process.
        fresh: Import everything anew, as people's processes do; else it is forked from one that has (`warm_runs.py`).
    """
    if not fresh:
        if not wait:
            return WarmProcess(module, arguments, cwd, environment())
        return run_warm(module, arguments, cwd, environment(), timeout)
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=timeout)
