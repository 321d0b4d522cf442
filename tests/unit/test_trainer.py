"""What the trainer is told."""

import pytest
from omegaconf import OmegaConf

from lfvar.trainer import count_steps
from toy_run import Toy, toy_fit


@pytest.mark.parametrize(
    ("trainer", "optim", "told"),
    [
        ({"val_check_interval": 5, "check_val_every_n_epoch": None}, {"accumulate": 4}, {"val_check_interval": 20}),
        ({"val_check_interval": 5, "check_val_every_n_epoch": None}, {}, {"val_check_interval": 5}),
        ({"val_check_interval": 0.5, "check_val_every_n_epoch": 1}, {"accumulate": 4}, {}),  # a share of a pass
        ({"val_check_interval": 5, "check_val_every_n_epoch": 1}, {"accumulate": 4}, {}),  # of one pass: its batches
        ({"val_check_interval": "00:01:00:00", "check_val_every_n_epoch": None}, {"accumulate": 4}, {}),
        ({}, None, {}),
    ],
)
def test_validation_counts_optimizer_steps(trainer, optim, told):
    assert count_steps(OmegaConf.create({"trainer": trainer, "optim": optim})) == told


def test_lightning_counts_batches(tmp_path):
    settings = {"trainer": {"val_check_interval": 2, "check_val_every_n_epoch": None}, "optim": {"accumulate": 3}}
    _, module = toy_fit(tmp_path, module=Toy(accumulate=3), max_steps=6, **count_steps(OmegaConf.create(settings)))
    assert module.validated == [2, 4, 6]
