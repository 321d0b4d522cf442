"""Commands of lfvar.train in one process or several, for one import of torch: `python forked_runs.py JOBS.json`.

A job is `{"ranks": 2, "arguments": [...], "environment": {...}}`; its ranks find each other as under torchrun, or as
the environment says. Prints the exit codes of all ranks of all jobs, as JSON in the last line.
"""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import lightning.pytorch.loggers  # noqa: F401  what runs import on the way
import torch
import torch._dynamo
import torch.distributed.fsdp
import torchmetrics  # noqa: F401

import lfvar.callbacks.checkpoint
import lfvar.data.token_datamodule
import lfvar.lit.sharding
import lfvar.lit.var_module
import lfvar.lit.vqvae_module  # noqa: F401
from lfvar.train import main

torch.set_num_threads(1)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def run_rank(arguments, environment):
    os.environ.update(environment)
    sys.argv[1:] = arguments
    code = 1
    try:
        code = main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run(ranks, arguments, environment):
    """Fork the ranks and wait for them; one that fails alone leaves others waiting, so they are ended after a while."""
    rendezvous = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    if "SLURM_JOB_ID" not in environment and ranks > 1:
        rendezvous |= {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "TORCHELASTIC_RUN_ID": "none"}
    children = {}
    for rank in range(ranks):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if "WORLD_SIZE" in rendezvous else {}
        own |= {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} if "SLURM_JOB_ID" in environment else {}
        child = os.fork()
        if child == 0:
            run_rank(arguments, rendezvous | environment | own)
        children[child] = rank
    codes, deadline = {}, None
    while len(codes) < ranks:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child:
            codes[children.pop(child)] = os.waitstatus_to_exitcode(status)
            deadline = deadline or time.monotonic() + 60
        elif deadline and time.monotonic() > deadline and any(codes.values()):
            for other in children:
                os.kill(other, signal.SIGKILL)
            deadline = None
        else:
            time.sleep(0.02)
    return [codes[rank] for rank in range(ranks)]


if __name__ == "__main__":
    jobs = json.loads(Path(sys.argv[1]).read_text())
    found = [run(job["ranks"], job["arguments"], job.get("environment", {})) for job in jobs]
    print("\n" + json.dumps(found))
