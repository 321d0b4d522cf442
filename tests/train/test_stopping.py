"""How runs end before their end: signals, divergence, a full disk; and what they go on from."""

import json
import os
import signal
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_settings import TINY

STEPS = 8
RUN = [
    *TINY,
    f"trainer.max_steps={STEPS}",
    f"trainer.val_check_interval={STEPS}",
    "trainer.num_sanity_val_steps=0",
    "callbacks.last.every_n_train_steps=2",
    "trainer.log_every_n_steps=1",
    "callbacks.grid=null",
    "logger=csv",
]
TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"]
SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
    "SLURM_JOB_NAME": "train",
    "SLURM_NTASKS": "2",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_NNODES": "1",
    "SLURM_NODEID": "0",
    "SLURM_NODELIST": "127.0.0.1",
}


def event(what, step, rank=0):
    target = "+callbacks.event"
    return [
        f"{target}._target_=events.Event",
        f"{target}.what={what}",
        f"{target}.step={step}",
        f"{target}.rank={rank}",
    ]


@pytest.fixture(scope="module")
def ended(forked, prepared_root, once):
    """All runs of this module; name → (exit codes, folder), and what was said by all of them."""
    codes, folders, said = once("stopping", lambda root: train_all(forked, prepared_root, root))
    return codes, {name: Path(folder) for name, folder in folders.items()}, SimpleNamespace(**said)


def train_all(forked, prepared_root, root):
    scontrol = root / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {root}/scontrol.txt\n')
    scontrol.chmod(scontrol.stat().st_mode | stat.S_IXUSR)
    jobs, folders, names = [], {}, []

    def job(name, ranks, *arguments, stamp=None, **environment):
        environment = environment or {"LFVAR_RUN_STAMP": name}
        arguments = [*RUN, *arguments, f"paths.prepared={prepared_root}", f"paths.runs={root}"]
        jobs.append({"ranks": ranks, "arguments": arguments, "environment": environment})
        folders[name] = root / "vqvae" / "phantom" / (stamp or name)
        names.append(name)

    slurm = SLURM | {"PATH": f"{scontrol.parent}:{os.environ['PATH']}"}
    by_srun = ["trainer=slurm", *TWO[1:2], "trainer.precision=32-true", "callbacks.last.keep=2"]
    job("one", 1)
    job("two", 2, *TWO)
    job("usr1", 2, *by_srun, *event("SIGUSR1", 3, rank=1), stamp="slurm-4711.0", **slurm)
    again = slurm | {"SLURM_RESTART_COUNT": "1"}
    job("requeued", 2, *by_srun, *event("none", 0), stamp="slurm-4711.0", **again)
    job("once more", 2, *by_srun, *event("none", 0), stamp="slurm-4711.0", **again)
    job("term", 1, *event("SIGTERM", 3))
    job("late", 1, *event("SIGTERM", -1))
    job("ctrl-c", 2, *TWO, *event("SIGINT", 3))
    job("nan", 2, *TWO, *event("nan", 4, rank=1))
    job("disk", 1, *event("disk", 3))
    codes, done = forked(jobs, root)
    return dict(zip(names, codes, strict=True)), {name: str(path) for name, path in folders.items()}, vars(done)


def last(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def card(folder):
    return json.loads((folder / "run_card.json").read_text())


def same(a, b):
    assert a["global_step"] == b["global_step"]
    assert all(torch.equal(a["state_dict"][name], b["state_dict"][name]) for name in a["state_dict"])
    assert all(torch.equal(a["ema"]["weights"][name], b["ema"]["weights"][name]) for name in a["ema"]["weights"])


@pytest.mark.slow
def test_a_requeued_job_goes_on_and_equals_one_that_was_never_stopped(ended):
    codes, folders, done = ended
    assert codes["two"] == [0, 0], done.stderr
    assert codes["usr1"] == [128 + signal.SIGUSR1, 0]  # one rank was asked, both stopped after the same step
    assert (folders["usr1"].parents[2] / "scontrol.txt").read_text() == "requeue 4711\n"
    assert "stopped by SIGUSR1, after step" in done.stderr
    assert codes["requeued"] == [0, 0], done.stderr
    same(last(folders["two"]), last(folders["requeued"]))
    found = card(folders["requeued"])
    assert found["resumed_from"].endswith("last.ckpt")
    assert found["result"]["status"] == "finished"
    assert json.loads((folders["usr1"] / "run_card.1.json").read_text())["result"]["status"] == "interrupted"


@pytest.mark.slow
def test_a_run_that_is_finished_stays_as_it_is(ended):
    codes, folders, done = ended
    assert codes["once more"] == [0, 0], done.stderr
    assert "is finished already" in done.stdout
    assert not (folders["requeued"] / "run_card.2.json").exists()


@pytest.mark.slow
def test_the_last_few_checkpoints_are_kept(ended):
    _, folders, _ = ended
    kept = sorted(path.name for path in (folders["requeued"] / "checkpoints").iterdir())
    assert kept == ["best.ckpt", "last.ckpt", f"step-{STEPS - 2:06d}.ckpt"]
    older = torch.load(folders["requeued"] / "checkpoints" / kept[-1], weights_only=True)
    assert older["global_step"] == STEPS - 2


@pytest.mark.slow
def test_sigterm_saves_the_step(ended):
    codes, folders, done = ended
    assert codes["term"] == [143]
    assert "stopped by SIGTERM, after step 3, which is saved" in done.stderr
    assert last(folders["term"])["global_step"] == 3
    assert card(folders["term"])["result"]["status"] == "interrupted"


@pytest.mark.slow
def test_a_signal_in_the_last_validation_is_not_lost(ended):
    """Of a stage that scores no test split: a sweep would begin its next job."""
    codes, folders, done = ended
    assert codes["late"] == [143]
    assert f"stopped by SIGTERM, after step {STEPS}, which is saved" in done.stderr
    assert card(folders["late"])["result"]["status"] == "interrupted"


@pytest.mark.slow
def test_ctrl_c_saves_the_step_on_two_processes(ended):
    codes, folders, _ = ended
    assert codes["ctrl-c"][0] == 130
    assert last(folders["ctrl-c"])["global_step"] == 4  # told to the other process while the fourth step was computed


@pytest.mark.slow
def test_divergence_is_not_saved(ended):
    codes, folders, done = ended
    assert codes["nan"] == [1, 1]
    assert done.stderr.count("weights became NaN or infinite between steps") == 1  # both processes know it
    checkpoint = last(folders["nan"])
    assert checkpoint["global_step"] == 2  # on the other process, the weights of the fourth were whole
    assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())
    assert card(folders["nan"])["result"]["status"] == "failed"


@pytest.mark.slow
def test_a_full_disk_leaves_the_checkpoint_before(ended):
    codes, folders, done = ended
    assert codes["disk"] == [1]
    assert "no space left to write the checkpoint" in done.stderr
    assert "of step 2, is whole" in done.stderr
    assert last(folders["disk"])["global_step"] == 2
    assert not list((folders["disk"] / "checkpoints").glob(".*partial"))


@pytest.mark.slow
def test_none_of_it_ends_in_a_traceback(ended):
    assert "Traceback" not in ended[2].stderr


@pytest.mark.slow
def test_curves_of_two_processes_are_those_of_one(ended):
    codes, folders, done = ended
    assert codes["one"] == [0], done.stderr

    def losses(folder):
        (path,) = folder.glob("csv/*/metrics.csv")
        header, *rows = [line.split(",") for line in path.read_text().splitlines()]
        column = header.index("train/loss")
        return [float(row[column]) for row in rows if row[column]]

    one, two = losses(folders["one"]), losses(folders["two"])
    assert len(one) == STEPS
    assert two[:3] == pytest.approx(one[:3], rel=1e-5)
    assert two == pytest.approx(one, rel=2e-3)  # from then on a token that rounding sends to another code counts
