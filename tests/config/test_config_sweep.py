"""Sweeps: one table each, whatever launcher or sweeper ran the jobs and however they ended."""

import csv
import importlib.util
import json

import pytest
from omegaconf import OmegaConf

from lfvar.config import conf_folder
from lfvar.config.command import report
from lfvar.config.sweep import read_jobs
from lfvar.errors import DataError
from lfvar.sweeps import main

PLUGINS = {
    "joblib": "hydra_joblib_launcher",
    "submitit_local": "hydra_submitit_launcher",
    "optuna": "hydra_optuna_sweeper",
}


def needs(plugin):
    found = importlib.util.find_spec(f"hydra_plugins.{PLUGINS[plugin]}") is not None
    return pytest.mark.skipif(not found, reason="needs the extra `sweep`")


def rows(folder):
    with (folder / "sweep.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_table_says_what_differed_how_it_ended_and_what_came_out(tiny, tmp_path, capsys):
    done = tiny("-m", "experiment=vqvae", "seed=2,3", "optim.lr=0.1,0.3", TINY_TASK="score")
    assert done.returncode == 1  # two jobs failed
    assert "2 of the sweep's jobs failed" in done.stderr
    (sweep,) = (tmp_path / "runs" / "sweeps").iterdir()
    found = rows(sweep)
    assert [row["status"] for row in found] == ["finished", "finished", "failed", "failed"]
    assert [(row["seed"], row["optim.lr"]) for row in found] == [("2", "0.1"), ("2", "0.3"), ("3", "0.1"), ("3", "0.3")]
    assert float(found[0]["best/score"]) == pytest.approx(-0.04)
    assert float(found[1]["val/score"]) == pytest.approx(-2)
    assert found[2]["best/score"] == ""
    assert "the loss became NaN" in found[2]["error"]
    table = (sweep / "sweep.md").read_text()
    header = [cell.strip() for cell in table.splitlines()[0].split("|")[1:-1]]
    assert header == ["job", "seed", "optim.lr", "status", "time", "best/score"]
    assert "- job 2: the loss became NaN" in table
    assert table in done.stdout

    # a job that was killed leaves no record, and one folder was never begun
    (sweep / "1" / "job.json").unlink()
    (sweep / "0" / "notes").mkdir()
    assert main([str(sweep), "val/score"]) == 0
    assert [job.status for job in read_jobs(sweep)] == ["finished", "unfinished", "failed", "failed"]
    assert "val/score" in capsys.readouterr().out
    assert main([str(tmp_path)]) == 1
    assert "holds no job of a sweep" in capsys.readouterr().err
    with pytest.raises(DataError):
        read_jobs(tmp_path)


def test_means_over_seeds(tmp_path, capsys):
    for number, (lr, seed, score) in enumerate([("0.1", 0, 1.0), ("0.1", 1, 2.0), ("0.3", 0, 5.0), ("0.3", 1, None)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        status = "finished" if score is not None else "failed"
        record = {"overrides": [f"optim.lr={lr}", f"seed={seed}"], "status": status, "seconds": 3661.0, "error": ""}
        (folder / "job.json").write_text(json.dumps(record))
        if score is not None:
            (folder / "run_card.json").write_text(json.dumps({"result": {"metrics": {"val/x": score}}}))
    assert main([str(tmp_path), "--over", "seed"]) == 0
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["optim.lr", "values of seed", "val/x"]
    assert lines[2:4] == [["0.1", "2", "1.5 ± 0.5"], ["0.3", "1", "5 ± 0"]]
    assert "1:01:01" in (tmp_path / "sweep.md").read_text()


@needs("joblib")
@needs("submitit_local")
@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_jobs_beside_each_other_leave_the_same_table(tiny, tmp_path, shipped_sweeps, launcher):
    how = ["sweep=joblib"] if launcher == "joblib" else ["hydra/launcher=submitit_local"]
    done = tiny("-m", "experiment=vqvae", "seed=1,3", *how, TINY_TASK="score")
    assert done.returncode == 1, done.stderr
    assert "1 of the sweep's jobs failed: 1 (experiment=vqvae seed=3" in done.stderr
    (sweep,) = (tmp_path / "runs" / "sweeps").iterdir()
    found = rows(sweep)
    assert [(row["seed"], row["status"]) for row in found] == [("1", "finished"), ("3", "failed")]
    assert "the loss became NaN" in found[1]["error"]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["sweeps"]


@needs("optuna")
@pytest.mark.slow
def test_a_search_improves_the_score_and_goes_on_without_what_failed(tiny, tmp_path):
    space = ["optim.lr=interval(0.0,1.0)", "seed=choice(1,3)", "hydra.sweeper.n_trials=6", "hydra.sweeper.n_jobs=1"]
    shipped = OmegaConf.load(conf_folder() / "sweep" / "optuna.yaml").hydra.sweeper.max_failure_rate
    space += [f"hydra.sweeper.max_failure_rate={shipped}", "hydra.sweeper.direction=maximize"]
    space += ["hydra.sweeper.sampler.seed=0"]
    done = tiny("-m", "experiment=vqvae", "hydra/sweeper=optuna", *space, TINY_TASK="score")
    assert done.returncode == 0, done.stderr
    (sweep,) = (tmp_path / "runs" / "sweeps").iterdir()
    found = rows(sweep)
    assert len(found) == 6
    assert {row["status"] for row in found} == {"finished", "failed"}
    best = OmegaConf.load(sweep / "optimization_results.yaml")
    scores = [float(row["best/score"]) for row in found if row["best/score"]]
    assert best.best_value == pytest.approx(max(scores))


@needs("optuna")
def test_a_search_without_any_score_says_so(capsys):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with pytest.raises(ValueError, match="No trials") as found:
        _ = optuna.create_study().best_trial
    report(found.value)
    assert capsys.readouterr().err.startswith("error: no job of the search gave a value\n  what to do:")


@needs("submitit_local")
@needs("optuna")
@pytest.mark.parametrize("sweep", ["joblib", "submitit", "optuna", "usefulness"])
def test_shipped_sweeps_compose(sweep):
    from hydra import compose, initialize_config_dir

    from lfvar.config.schema import register_schemas

    register_schemas()
    with initialize_config_dir(config_dir=str(conf_folder()), version_base="1.3"):
        cfg = compose("train", ["experiment=vqvae", f"sweep={sweep}", "hydra.job.num=0"], return_hydra_config=True)
    assert cfg.hydra.callbacks.table._target_ == "lfvar.config.sweep.SweepTable"
    if sweep == "optuna":
        assert cfg.hydra.sweeper.direction == "maximize"  # as callbacks.best.mode
