import json
import subprocess
import sys
from pathlib import Path

import pytest
from warm_runs import WarmProcess

from lfvar.config import compose
from lfvar.pipeline import DONE_FILE, Pipeline, Step, StepError, main, run_pipeline, shared_overrides

TINY = [
    "experiment=demo",
    "image_size=32",
    "data.source.num_images=70",
    "data.source.size=32",
]


@pytest.fixture
def calls(monkeypatch):
    made = []

    def run(arguments, env, check):
        made.append((arguments, env))
        return subprocess.CompletedProcess(arguments, run.code)

    run.code = 0
    monkeypatch.setattr("lfvar.pipeline.subprocess.run", run)
    return made, run


def test_a_step_runs_once_until_its_settings_or_inputs_change(tmp_path, calls):
    made, _ = calls
    step = Step("tokenizer", ("train", "experiment=vqvae"), {"manifest": "a"})
    for _ in range(2):
        Pipeline(tmp_path, []).run(step)
    assert len(made) == 1
    assert made[0][0] == [sys.executable, "-m", "lfvar.train", "experiment=vqvae"]
    Pipeline(tmp_path, []).run(Step("tokenizer", step.words, {"manifest": "b"}))
    Pipeline(tmp_path, []).run(Step("tokenizer", (*step.words, "seed=1"), step.inputs))
    assert len(made) == 3
    assert len(list(tmp_path.glob(f"tokenizer-*/{DONE_FILE}"))) == 3
    note = json.loads((Pipeline(tmp_path, []).place_of(step) / DONE_FILE).read_text())
    assert note["command"] == "python -m lfvar.train experiment=vqvae"


def test_a_step_that_fails_is_named_and_runs_again(tmp_path, calls):
    made, run = calls
    run.code = 1
    step = Step("tokenizer", ("train",))
    with pytest.raises(StepError, match="tokenizer"):
        Pipeline(tmp_path, []).run(step)
    assert not list(tmp_path.rglob(DONE_FILE))
    run.code = 130
    with pytest.raises(KeyboardInterrupt):
        Pipeline(tmp_path, []).run(step)
    run.code = 0
    Pipeline(tmp_path, []).run(step)
    assert len(made) == 3


def test_a_killed_training_goes_on_in_its_folder(tmp_path, calls):
    made, _ = calls
    pipeline = Pipeline(tmp_path, ["seed=0"])
    best = pipeline.train("tokenizer", ["experiment=vqvae"], {})
    folder = best.parents[1]
    assert made[0][0][-1] == f"hydra.run.dir={folder}"
    (folder / DONE_FILE).unlink()
    best.parent.mkdir(parents=True)
    (best.parent / "last.ckpt").touch()
    assert Pipeline(tmp_path, ["seed=0"]).train("tokenizer", ["experiment=vqvae"], {}) == best
    assert made[1][0][-1] == f"resume={folder}"


def test_a_training_whose_checkpoint_is_gone_is_not_done(tmp_path, calls):
    made, _ = calls
    best = Pipeline(tmp_path, []).train("tokenizer", ["experiment=vqvae"], {})  # leaves its note, and no checkpoint
    Pipeline(tmp_path, []).train("tokenizer", ["experiment=vqvae"], {})
    assert len(made) == 2
    best.parent.mkdir(parents=True)
    best.touch()
    Pipeline(tmp_path, []).train("tokenizer", ["experiment=vqvae"], {})
    assert len(made) == 2


def test_steps_do_not_inherit_the_run_of_the_pipeline(tmp_path, calls, monkeypatch):
    from lfvar.config.stamp import STAMP_VARIABLE

    made, _ = calls
    monkeypatch.setenv(STAMP_VARIABLE, "20260101-000000-abcd")
    Pipeline(tmp_path, []).run(Step("tokenizer", ("train",)))
    assert STAMP_VARIABLE not in made[0][1]


@pytest.mark.parametrize("experiment", ["demo", "ham10000"])
def test_shipped_pipelines_name_commands_that_compose(experiment):
    cfg = compose("pipeline", [f"experiment={experiment}", "data.root=/data"])
    tokenizer = compose("train", [*cfg.tokenizer, "data.root=/data"])
    transformer = compose("train", [*cfg.transformer, "tokenizer=/t.ckpt", "data.root=/data"])
    assert (tokenizer.stage, transformer.stage) == ("vqvae", "var")
    assert tokenizer.image_size == transformer.image_size == cfg.image_size
    for name, overrides in cfg.evaluate.items():
        what = {"tokenizer": ["target=tokenizer", "ckpt=/t.ckpt"]}.get(name, [f"generated=/{name}"])
        assert name == "tokenizer" or name in cfg.generate
        compose("evaluate", [*what, *overrides])
    for overrides in cfg.generate.values():
        assert compose("generate", [*overrides, "ckpt=/v.ckpt"]).mode is not None
    assert f"image_size={cfg.image_size}" in shared_overrides(cfg)


@pytest.mark.slow
def test_the_chain_ends_in_a_page_and_then_has_nothing_to_do(tmp_path, monkeypatch, capsys):
    """The real commands, tiny, from preparing to the page; the second time all is up to date."""

    def run_step(words, env, check):
        process = WarmProcess(words[2], words[3:], Path.cwd(), env)
        stdout, stderr = process.communicate()
        print(stdout.decode() + stderr.decode())
        return process

    monkeypatch.setattr("lfvar.pipeline.subprocess.run", run_step)
    tokenizer = [
        "experiment=vqvae", "trainer.max_steps=2", "trainer.val_check_interval=2", "model.channels=16",
        "model.channel_multipliers=[1,2]", "model.stem_stride=4", "model.patch_nums=[1,2,4]", "model.vocab_size=64",
        "data.loader.batch_size=8",
    ]  # fmt: skip
    transformer = [
        "experiment=var", "condition=skin", "trainer.max_steps=2", "trainer.val_check_interval=2", "model.depth=1",
        "model.width=32", "model.num_heads=2", "model.patch_nums=[1,2,4]", "model.vocab_size=64",
        "callbacks.grid.num_samples=1", "data.loader.batch_size=8",
    ]  # fmt: skip
    arguments = [
        *TINY, f"paths.runs={tmp_path / 'runs'}",
        f"paths.prepared={tmp_path / 'prepared'}",
        f"tokenizer={json.dumps(tokenizer)}",
        f"transformer={json.dumps(transformer)}", '+generate.whole=["mode=whole","ask.num_samples=1"]',
        *(f"~generate.{name}" for name in compose("pipeline", ["experiment=demo"]).generate), "~evaluate.matrix",
    ]  # fmt: skip
    for turn in range(2):
        monkeypatch.setattr("sys.argv", ["lfvar.pipeline", *arguments])
        assert main() == 0
        said = capsys.readouterr().out
        assert said.count("up to date") == (0 if turn == 0 else 12)  # once as it goes, once in the table
    pictures = list((tmp_path / "runs" / "pipeline").rglob("sheets/*.png"))
    assert pictures
    assert str(pictures[0].name) in said
    (page,) = (tmp_path / "runs" / "pipeline").rglob("report.html")
    assert "report.html" in said.splitlines()[-2]
    text = page.read_text()
    for words in ("curves of the tokenizer", "curves of the transformer", "generate-whole", "Fréchet", "Run cards"):
        assert words in text


def test_evaluation_needs_something_that_is_made():
    from lfvar.errors import ConfigError

    cfg = compose("pipeline", ["experiment=demo", "+evaluate.nothing=[]"])
    with pytest.raises(ConfigError, match=r"evaluate\.nothing"):
        run_pipeline(cfg)


def test_a_step_that_was_done_tells_how_long_it_took(tmp_path, calls):
    step = Step("tokenizer", ("train",))
    Pipeline(tmp_path, []).run(step)
    again = Pipeline(tmp_path, [])
    again.run(step)
    (done,) = again.done
    assert done.skipped
    assert done.seconds is not None
    assert done.command == "python -m lfvar.train"


def test_until_is_a_step():
    from lfvar.errors import ConfigError

    cfg = compose("pipeline", ["experiment=demo", "until=nowhere"])
    with pytest.raises(ConfigError, match="until=nowhere"):
        run_pipeline(cfg)
