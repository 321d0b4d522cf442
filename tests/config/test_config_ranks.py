"""Processes of one run: who says an error, who ends whom."""

import os
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest

from lfvar.config import children, relaunch, speaking, sweep
from lfvar.config.command import report
from lfvar.config.relaunch import job_processes
from lfvar.errors import DataError, LfvarError

SLEEP = "import time; time.sleep(60)"
FIRST, SECOND = {"LOCAL_RANK": "0"}, {"LOCAL_RANK": "1"}


@pytest.fixture
def start():
    """Run a line of Python in a process of its own."""
    started = []

    def run(line):
        started.append(subprocess.Popen([sys.executable, "-S", "-c", line]))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


class Observer(threading.Thread):
    """Lightning's, in a hurry."""

    def __init__(self, victim, processes):
        super().__init__(daemon=True, name="child-process-observer")
        from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver

        theirs = _ChildProcessObserver(victim.pid, processes)
        assert (theirs.name, theirs._child_processes) == (self.name, processes)  # what we rely on
        self._child_processes = processes
        self.look = lambda: _ChildProcessObserver._run(theirs)
        self.theirs = theirs

    def run(self):
        while not self.theirs._finished:
            time.sleep(1)
            self.theirs._child_processes = self._child_processes
            self.theirs._finished = self.look()


def test_a_failed_child_ends_nobody_in_the_next_job(start):
    victim, child = start(SLEEP), start("raise SystemExit(1)")
    observer = Observer(victim, [child])

    def job():
        with job_processes():
            observer.start()
            child.wait()
            raise DataError("as the child says", cure="none")

    with pytest.raises(DataError):
        job()
    observer.join(3)
    assert not observer.is_alive()
    assert victim.poll() is None


def test_a_failed_job_ends_its_children(start, monkeypatch):
    monkeypatch.setattr(relaunch, "_GRACE", 0.1)
    child = start(SLEEP)

    def job():
        with job_processes():
            Observer(start(SLEEP), [child]).start()
            raise OSError("disk full")

    with pytest.raises(OSError, match="full"):
        job()
    assert child.returncode is not None


def test_a_finished_job_waits_for_its_children(start, monkeypatch):
    monkeypatch.setattr(relaunch, "_GRACE", 0.0)
    child = start("import time; time.sleep(0.5)")
    with job_processes():
        Observer(start(SLEEP), [child]).start()
    assert child.returncode == 0


def test_who_waits_for_a_failed_child_in_vain_is_ended(start, monkeypatch):
    ends, words = [], []
    monkeypatch.setattr(os, "_exit", ends.append)
    failed, other = start("raise SystemExit(3)"), start(SLEEP)
    mine = children.Children(words.append, hang_seconds=0.1)
    observer = Observer(start(SLEEP), [other, failed])
    observer.start()
    other_end = time.monotonic() + 10
    while not ends and time.monotonic() < other_end:
        time.sleep(0.05)
    mine.end(0)
    assert ends[0] == 1
    assert words[0] == "rank 2 with code 3 ended, and rank 0 still waits for it"
    assert other.returncode is not None


def test_an_error_of_all_ranks_is_said_once():
    from torch.distributed import TCPStore

    store, soon = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False), timedelta(seconds=0.2)
    assert speaking.speaks("image a", SECOND, store=store, wait=soon)  # the first says nothing
    assert speaking.speaks("batch does not divide", FIRST, store=store)
    assert not speaking.speaks("batch does not divide", SECOND, store=store, wait=soon)
    assert speaking.speaks("image b", SECOND, store=store, wait=soon)  # the first says something else


@pytest.mark.parametrize(
    ("environment", "speaks", "name"),
    [
        ({}, True, "rank 0"),
        ({"LOCAL_RANK": "1"}, True, "rank 1"),  # rank 0 started it, so rank 0 came further
        ({"LOCAL_RANK": "1", "NODE_RANK": "2"}, True, "rank 1 of node 2"),
        ({"RANK": "1", "LOCAL_RANK": "1"}, False, "rank 1"),
        ({"RANK": "4", "LOCAL_RANK": "0"}, True, "rank 4"),  # the first of another machine
        ({"SLURM_STEP_ID": "0", "SLURM_PROCID": "5", "SLURM_LOCALID": "1"}, False, "rank 5"),
    ],
)
def test_who_speaks_before_processes_are_connected(environment, speaks, name):
    assert speaking.speaks("no such folder", environment) == speaks
    assert speaking.rank_name(environment) == name


def test_a_lost_connection_is_said_in_two_lines_by_the_first(monkeypatch, capsys):
    error = RuntimeError("[third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:9116")
    assert speaking.lost_connection(error) is None  # no processes, no connection
    monkeypatch.setattr(speaking, "_connected", lambda: "a process group")
    assert isinstance(speaking.lost_connection(error), LfvarError)
    assert speaking.lost_connection(RuntimeError("a bug of ours")) is None
    for name in ("RANK", "LFVAR_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOCAL_RANK", "1")
    report(error)
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("LOCAL_RANK", "0")
    report(error)
    said = capsys.readouterr().err
    assert said.startswith("error: another process of this run is gone (Connection closed by peer)\n  what to do:")


def test_an_error_of_one_rank_names_it(monkeypatch, capsys):
    for name in ("RANK", "LFVAR_DEBUG", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOCAL_RANK", "3")
    report(DataError("image ISIC_001 is damaged", cure="run lfvar.prepare"))
    assert capsys.readouterr().err == "rank 3: error: image ISIC_001 is damaged\n  what to do: run lfvar.prepare\n"


def test_children_say_errors_as_the_first_process_does(tiny):
    """They inherit what it sets for Hydra, which is no wish for tracebacks."""
    inherited = {"LOCAL_RANK": "1", "NODE_RANK": "0", "LFVAR_RUN_STAMP": "a", "HYDRA_FULL_ERROR": "1"}
    done = tiny("experiment=vqvae", "hydra.output_subdir=null", TINY_TASK="fail", **inherited)
    assert done.returncode == 1
    assert "rank 1: error: mask for ISIC_001 not found" in done.stderr
    assert "Traceback" not in done.stderr


def test_after_ctrl_c_other_ranks_look_unharmed(tiny):
    """A launcher that sees one fail kills the first, which may be writing still."""
    done = tiny("experiment=vqvae", TINY_TASK="interrupt", LOCAL_RANK="1", NODE_RANK="0", LFVAR_RUN_STAMP="a")
    assert (done.returncode, done.stderr) == (0, "")


def test_only_the_first_rank_finishes_a_sweep(tmp_path, monkeypatch):
    """The others may be through before its last job is noted."""
    (tmp_path / "0").mkdir()
    for rank, unfinished in (("1", 0), ("0", 1)):
        monkeypatch.setenv("RANK", rank)
        sweep._current.folder = tmp_path
        assert len(sweep.finish_sweep()) == unfinished
        assert (tmp_path / "sweep.md").exists() == (rank == "0")
