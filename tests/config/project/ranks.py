"""Two processes, started the way Lightning starts them under DDP."""

import os
import subprocess
import sys
from pathlib import Path

from omegaconf import DictConfig

from lfvar.config import run_folder


def run(cfg: DictConfig) -> None:
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    folder = run_folder(cfg)
    (folder / f"rank_{rank}.txt").write_text(f"seed={cfg.seed} lr={cfg.optim.lr}")
    if rank > 0:
        return
    assert "LOCAL_RANK" not in os.environ, "the job before left its ranks behind"
    from lightning.fabric.strategies.launchers.subprocess_script import _hydra_subprocess_cmd

    os.environ.update(LOCAL_RANK="0", NODE_RANK="0", WORLD_SIZE="2")
    command, cwd = _hydra_subprocess_cmd(local_rank=1)
    Path(folder / "command.txt").write_text("\n".join(command))
    subprocess.run(command, env={**os.environ, "LOCAL_RANK": "1"}, cwd=cwd, check=True, stdout=sys.stderr)
