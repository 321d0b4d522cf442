"""Which checkpoint a run goes on from."""

from lfvar.config import resume_checkpoint, run_folder


def test_without_its_last_checkpoint_a_run_goes_on_from_the_newest_that_was_kept(compose_tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("LFVAR_RUN_STAMP", "killed")
    cfg = compose_tiny(f"paths.runs={tmp_path}")
    assert resume_checkpoint(cfg) is None
    folder = run_folder(cfg)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "run_card.json").touch()
    for name in ("step-000400.ckpt", "step-999900.ckpt", "step-1000000.ckpt", "best.ckpt"):  # best: of any step
        (folder / "checkpoints" / name).touch()
    for started in (cfg, compose_tiny(f"resume={folder}")):
        assert resume_checkpoint(started) == folder / "checkpoints" / "step-1000000.ckpt"
    (folder / "checkpoints" / "last.ckpt").touch()
    assert resume_checkpoint(cfg) == folder / "checkpoints" / "last.ckpt"
