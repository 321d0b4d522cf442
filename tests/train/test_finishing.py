"""A run that was ended after its last step is finished by its next start; one that is finished is left alone."""

import json

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from tiny_settings import TINY

from lfvar.config import compose
from lfvar.errors import ConfigError, Stopped
from lfvar.train import train
from toy_run import KilledError

RUN = [*TINY, "trainer.max_steps=4", "trainer.val_check_interval=4", "trainer.num_sanity_val_steps=0", "logger=csv",
       "callbacks.grid=null"]  # fmt: skip


@pytest.fixture
def start(prepared_root, tmp_path, monkeypatch):
    """Run the training of a config in this process, in a folder of the name given."""

    def run(name, *overrides):
        monkeypatch.setenv("LFVAR_RUN_STAMP", name)
        paths = [f"paths.prepared={prepared_root}", f"paths.runs={tmp_path}"]
        return train(compose("train", [*RUN, *paths, *overrides]))

    return run


def test_validation_after_the_last_step_is_made_up_for(start, tmp_path, monkeypatch, capsys):
    whole = start("whole")
    folder = tmp_path / "vqvae" / "phantom" / "killed"

    def killed(*arguments, **options):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "validate", killed)
        with pytest.raises(KilledError):
            start("killed")
    card = json.loads((folder / "run_card.json").read_text())
    assert card["result"]["status"] == "failed"
    assert start("other", f"resume={folder}") == whole
    card = json.loads((folder / "run_card.json").read_text())
    assert card["result"]["status"] == "finished"
    assert card["result"]["metrics"] == whole

    capsys.readouterr()
    assert start("other", f"resume={folder}") == whole  # as a pipeline would start it again
    assert "nothing is left to train" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="nothing is left to train"):
        start("other", f"resume={folder}", "optim.lr=1e-5")
    with pytest.raises(ConfigError, match="nothing is left to train"):
        start("other", f"resume={folder / 'checkpoints' / 'last.ckpt'}")
    assert json.loads((folder / "run_card.json").read_text()) == card


def test_sigterm_that_nobody_listens_to_has_its_own_code(start, tmp_path, monkeypatch):
    def asked(*arguments, **options):
        raise SIGTERMException

    monkeypatch.setattr(Trainer, "fit", asked)
    with pytest.raises(Stopped, match="not saved") as stopped:
        start("alone", "callbacks.last=null")
    assert stopped.value.exit_code == 143
    (card,) = tmp_path.rglob("alone/run_card.json")
    assert json.loads(card.read_text())["result"]["status"] == "interrupted"
