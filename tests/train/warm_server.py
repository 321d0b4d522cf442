"""Starts commands of ours in processes that have imported what they need: `python warm_server.py`, a request per line.

Importing torch, Lightning and torchmetrics takes most of the time of a tiny command. This process imports them once and
forks for every request, `{"module", "arguments", "cwd", "environment", "folder"}`; the child is the command from there
on, as after `python -m module arguments`. `stdout`, `stderr`, `pid` and, in the end, `code` are files of the folder.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import sys
import threading
import traceback
from pathlib import Path

PRELOADED = (
    *("torch", "torch._dynamo", "torch.distributed.fsdp", "torchmetrics", "pandas", "scipy.stats", "albumentations"),
    *("lightning.pytorch", "lightning.pytorch.loggers", "lfvar.callbacks.checkpoint", "lfvar.data.token_datamodule"),
    *("lfvar.lit.sharding", "lfvar.lit.var_module", "lfvar.lit.vqvae_module", "lfvar.trainer"),
)

OWN_PATHS = os.environ.get("PYTHONPATH", "").split(os.pathsep)


def main():
    import torch

    for name in PRELOADED:
        importlib.import_module(name)
    torch.set_num_threads(1)
    assert threading.active_count() == 1, "a fork has none of its parent's threads, and would wait for them"
    gc.freeze()  # else the first collection of a child copies all of this
    running, pending = {}, b""
    while True:
        if select.select([0], [], [], 0.02)[0]:
            read = os.read(0, 1 << 16)
            if not read:
                return  # nobody is left to ask
            *lines, pending = (pending + read).split(b"\n")
            for line in lines:
                request = json.loads(line)
                running[start(request)] = Path(request["folder"])
        for pid in list(running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                write(running.pop(pid) / "code", str(os.waitstatus_to_exitcode(status)))


def start(request):
    folder = Path(request["folder"])
    pid = os.fork()
    if pid == 0:
        become(request, folder)
    write(folder / "pid", str(pid))
    return pid


def become(request, folder):
    """Be the command; does not return."""
    code = 1
    try:
        for number, name in ((0, os.devnull), (1, folder / "stdout"), (2, folder / "stderr")):
            opened = os.open(name, os.O_RDWR | os.O_CREAT, 0o644)
            os.dup2(opened, number)
            os.close(opened)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["environment"])
        paths = request["environment"].get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:] = ["", *filter(None, paths), *(path for path in sys.path[1:] if path not in OWN_PATHS)]
        sys.argv = ["-m", *request["arguments"]]
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def write(path, text):
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


if __name__ == "__main__":
    main()
