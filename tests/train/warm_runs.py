"""Commands of ours as processes of their own, without the seconds that imports take: asks `warm_server.py`."""

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path


class WarmProcess:
    """A command on its way; what `subprocess.Popen` offers of it, as far as tests use it."""

    def __init__(self, module, arguments, cwd, environment):
        self.args = ["-m", module, *arguments]
        self.folder = Path(tempfile.mkdtemp(dir=_place()))
        request = {"module": module, "arguments": [str(a) for a in arguments], "cwd": str(cwd)}
        request |= {"environment": environment, "folder": str(self.folder)}
        server = _server()
        server.stdin.write(json.dumps(request).encode() + b"\n")
        server.stdin.flush()
        self.pid = int(self._wait_for("pid", 120))

    @property
    def stderr(self):
        return (self.folder / "stderr").open("rb")

    @property
    def returncode(self):
        return self.poll()

    def poll(self):
        path = self.folder / "code"
        return int(path.read_text()) if path.exists() else None

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout=300):
        return int(self._wait_for("code", timeout))

    def communicate(self, timeout=300):
        """What it said, in bytes, when it has ended."""
        self.wait(timeout)
        return tuple((self.folder / name).read_bytes() for name in ("stdout", "stderr"))

    def _wait_for(self, name, timeout):
        deadline = time.monotonic() + timeout
        while not (self.folder / name).exists():
            if time.monotonic() > deadline or _server().poll() is not None:
                self.pid and os.kill(self.pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(0.01)
        return (self.folder / name).read_text()

    pid = None


def run_warm(module, arguments, cwd, environment, timeout):
    """As `subprocess.run(…, text=True, capture_output=True)`."""
    process = WarmProcess(module, arguments, cwd, environment)
    said = [text.decode() for text in process.communicate(timeout)]
    return subprocess.CompletedProcess(process.args, process.poll(), *said)


def run_ranks(ranks, arguments, cwd, environment):
    """`lfvar.train` in processes that find each other as under torchrun, or as the environment says.

    One that fails alone leaves others waiting, so these are ended after a while.

    Returns:
        Exit codes by rank, and what all of them said on stdout and stderr.
    """
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    if "SLURM_JOB_ID" not in environment and ranks > 1:
        shared |= {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "TORCHELASTIC_RUN_ID": "none"}
    processes = []
    for rank in map(str, range(ranks)):
        own = {"RANK": rank, "LOCAL_RANK": rank} if "WORLD_SIZE" in shared else {}
        own |= {"SLURM_PROCID": rank, "SLURM_LOCALID": rank} if "SLURM_JOB_ID" in environment else {}
        processes.append(WarmProcess("lfvar.train", arguments, cwd, shared | environment | own))
    deadline = time.monotonic() + 300
    while None in (codes := [process.poll() for process in processes]):
        if any(codes):
            deadline = min(deadline, time.monotonic() + 60)
        if time.monotonic() > deadline:
            for process in processes:
                process.kill()
        time.sleep(0.02)
    said = zip(*(process.communicate() for process in processes), strict=True)
    return codes, *("".join(text.decode() for text in texts) for texts in said)


def _free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


_STARTED = {}


def _server():
    if "server" not in _STARTED:
        from tiny_settings import environment

        command = [sys.executable, str(Path(__file__).with_name("warm_server.py"))]
        offline = {"NO_ALBUMENTATIONS_UPDATE": "1"}  # commands set it before they import; here that is now
        _STARTED["server"] = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment() | offline)
        atexit.register(_STARTED["server"].stdin.close)
    return _STARTED["server"]


def _place():
    if "place" not in _STARTED:
        _STARTED["place"] = tempfile.mkdtemp(prefix="lfvar-warm-")
        atexit.register(shutil.rmtree, _STARTED["place"], ignore_errors=True)
    return _STARTED["place"]
