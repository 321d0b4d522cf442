"""Run folders, stamps, ranks, resuming."""

import csv
import json
import os
import re
from datetime import datetime, timezone
from pathlib import Path

import pytest

from lfvar.config.arguments import flags_first
from lfvar.config.stamp import is_rank_zero, run_stamp
from lfvar.errors import ConfigError

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def test_two_runs_of_one_second_differ_and_one_run_agrees_with_itself():
    first, second = run_stamp({}, now=NOW), run_stamp({}, now=NOW)
    assert re.fullmatch(r"20260102-030405-[0-9a-f]{4}", first)
    assert first != second
    assert run_stamp({"LFVAR_RUN_STAMP": first}) == first


def test_ranks_of_srun_agree_and_survive_a_requeue():
    step = {"SLURM_JOB_ID": "9", "SLURM_STEP_ID": "0"}
    ranks = [{**step, "SLURM_PROCID": str(rank)} for rank in range(2)]
    assert {run_stamp(rank) for rank in ranks} == {"slurm-9.0"}
    assert [is_rank_zero(rank) for rank in ranks] == [True, False]
    array = {**ranks[0], "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}
    assert run_stamp(array) == "slurm-7_3.0"


def test_two_commands_of_one_batch_script_do_not_share_a_folder():
    batch = {"SLURM_JOB_ID": "9"}
    assert run_stamp(batch, now=NOW) != run_stamp(batch, now=NOW)
    assert run_stamp(batch, now=NOW).startswith("slurm-9-20260102-030405-")


def test_ranks_of_torchrun_agree():
    one_node = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    parent = os.getpid()
    stamps = {run_stamp({**one_node, "RANK": str(rank)}, parent=parent) for rank in range(2)}
    assert len(stamps) == 1
    assert stamps.pop().endswith(f"-{parent}")
    two_nodes = {**one_node, "WORLD_SIZE": "4"}
    assert run_stamp({**two_nodes, "TORCHELASTIC_RUN_ID": "mine"}) == "torchrun-mine"
    with pytest.raises(ConfigError, match="rdzv-id"):
        run_stamp(two_nodes)


def test_ranks_started_by_hand_must_be_given_a_stamp():
    with pytest.raises(ConfigError, match="LFVAR_RUN_STAMP"):
        run_stamp({"NODE_RANK": "1"})


@pytest.mark.parametrize("stamp", ["a/b", "..", "a\\b"])
def test_a_stamp_must_name_a_folder(stamp):
    with pytest.raises(ConfigError, match="cannot name a folder"):
        run_stamp({"LFVAR_RUN_STAMP": stamp})


def test_who_writes():
    assert is_rank_zero({})
    assert not is_rank_zero({"RANK": "1", "LOCAL_RANK": "0"})
    assert not is_rank_zero({"LOCAL_RANK": "1"})
    assert not is_rank_zero({"LOCAL_RANK": "0", "NODE_RANK": "1"})


def test_flags_may_stand_anywhere():
    assert flags_first(["a=1", "-m", "b=2", "--config-dir", "x"]) == ["-m", "--config-dir", "x", "a=1", "b=2"]
    assert flags_first(["~a", "--info", "b=1"]) == ["--info", "~a", "b=1"]


@pytest.mark.slow
def test_a_child_process_joins_the_folder_of_a_single_run(tiny, tmp_path):
    done = tiny("experiment=vqvae", "optim.lr=0.01", TINY_TASK="ranks")
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs" / "vqvae" / "phantom").iterdir()
    assert (folder / "rank_0.txt").read_text() == (folder / "rank_1.txt").read_text() == "seed=0 lr=0.01"


def test_a_child_process_joins_its_own_job_of_a_sweep(tiny, tmp_path):
    done = tiny("-m", "experiment=vqvae", "seed=1,2", 'name="a b"', "hydra.job_logging.root.level=WARNING",
                TINY_TASK="ranks")  # fmt: skip
    assert done.returncode == 0, done.stderr
    (sweep,) = (tmp_path / "runs" / "sweeps").iterdir()  # one folder: no child started a sweep of its own
    for job, seed in ((0, 1), (1, 2)):
        for rank in (0, 1):
            assert (sweep / str(job) / f"rank_{rank}.txt").read_text() == f"seed={seed} lr=0.001"
        command = (sweep / str(job) / "command.txt").read_text().splitlines()
        assert "-m" not in command[3:]
        assert {f"seed={seed}", "hydra.mode=RUN", f'hydra.run.dir="{sweep / str(job)}"'} <= set(command)
    assert {path.name for path in sweep.iterdir()} == {"0", "1", "multirun.yaml", "sweep.csv", "sweep.md"}
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["sweeps"]


def test_a_written_sweep_and_a_sweep_over_names_share_one_folder(tiny, facts, tmp_path):
    found = facts(tiny("-m", "experiment=vqvae", "sweep=seeds", "name=a,b"))
    assert sorted(fact["seed"] for fact in found) == [1, 1, 2, 2]
    assert len({os.path.dirname(fact["folder"]) for fact in found}) == 1


def test_resume_goes_on_in_the_same_folder_with_the_same_settings(tiny, facts, tmp_path):
    (first,) = facts(tiny("experiment=vqvae", "optim.lr=0.5", TINY_TASK="card"))
    again = tiny(f"resume={first['folder']}", "seed=4", TINY_TASK="card")
    assert facts(again) == [{"folder": first["folder"], "lr": 0.5, "seed": 4}]
    card = json.loads(Path(first["folder"], "run_card.json").read_text())
    assert card["resumed_from"] == os.path.join(first["folder"], "checkpoints", "last.ckpt")
    assert os.path.exists(os.path.join(first["folder"], "run_card.1.json"))
    from_file = facts(tiny("experiment=vqvae", f"resume={first['folder']}/checkpoints/last.ckpt"))
    assert from_file[0]["folder"] != first["folder"]
    (tmp_path / "empty").mkdir()
    assert "no run folder" in tiny("experiment=vqvae", "resume=empty").stderr


@pytest.mark.slow
def test_a_sweep_of_real_ddp_runs_goes_on_after_a_process_failed(tiny, tmp_path):
    done = tiny("-m", "experiment=vqvae", "seed=2,3", module="ddp_train", OMP_NUM_THREADS="1")
    assert done.returncode == 1, done.stderr
    for rank in (0, 1):
        (found,) = tmp_path.glob(f"runs/sweeps/*/*/rank_{rank}.txt")
        assert found.parent.name == "1"
        assert found.read_text() == "3"
    assert done.stderr.count("rank 1: error: image ISIC_001 is damaged\n  what to do: run lfvar.prepare") == 1
    assert "error: another process of this run is gone" in done.stderr
    assert "Traceback" not in done.stderr
    assert "1 of the sweep's jobs failed: 0 (experiment=vqvae seed=2)" in done.stderr
    (table,) = tmp_path.glob("runs/sweeps/*/sweep.csv")
    with table.open() as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["failed", "finished"]
