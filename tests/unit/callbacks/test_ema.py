import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

from lfvar.callbacks.ema import EMA


class Line(LightningModule):
    """One weight that grows by one per step."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.net.weight)
        self.seen_in_validation = []

    @property
    def averaged(self):
        return self.net.named_parameters()

    def training_step(self, batch, batch_idx):
        return -self.net.weight.sum()

    def validation_step(self, batch, batch_idx):
        self.seen_in_validation.append(self.net.weight.item())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


def fit(module, ema, tmp_path, steps=6, ckpt_path=None):
    loader = DataLoader(torch.zeros(6, 1))
    trainer = Trainer(
        max_steps=steps,
        accelerator="cpu",
        callbacks=[ema],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, loader, loader, ckpt_path=ckpt_path, weights_only=True)
    return trainer


def expected(weights, decay):
    average = 0.0
    for t, weight in enumerate(weights):
        d = min(decay, (1 + t) / (10 + t))
        average = d * average + (1 - d) * weight
    return average


def test_average_by_hand_and_only_lent_to_validation(tmp_path):
    module, ema = Line(), EMA(decay=0.15)
    fit(module, ema, tmp_path)
    average = expected([1, 2, 3, 4, 5, 6], 0.15)
    assert ema.average["weight"].item() == pytest.approx(average, rel=1e-6)
    assert module.seen_in_validation[-1] == pytest.approx(average, rel=1e-6)
    assert module.net.weight.item() == 6  # the trained weight came back


def test_checkpoint_keeps_both_and_goes_on(tmp_path):
    module, ema = Line(), EMA(decay=0.9)
    trainer = fit(module, ema, tmp_path, steps=3)
    path = tmp_path / "three.ckpt"
    trainer.save_checkpoint(path)
    stored = torch.load(path, weights_only=True)
    assert stored["state_dict"]["net.weight"].item() == 3
    assert stored["ema"]["weights"]["weight"].item() == pytest.approx(expected([1, 2, 3], 0.9))
    again, resumed = Line(), EMA(decay=0.9)
    fit(again, resumed, tmp_path, steps=6, ckpt_path=path)
    assert resumed.average["weight"].item() == pytest.approx(expected([1, 2, 3, 4, 5, 6], 0.9), rel=1e-6)
    assert again.net.weight.item() == 6


def test_saving_while_lent_stores_the_trained_weights(tmp_path):
    module, ema = Line(), EMA(decay=0.5)

    class SaveInside(EMA.__mro__[1]):
        def on_validation_epoch_end(self, trainer, pl_module):
            trainer.save_checkpoint(tmp_path / "inside.ckpt")

    loader = DataLoader(torch.zeros(2, 1))
    trainer = Trainer(
        max_steps=2, accelerator="cpu", callbacks=[ema, SaveInside()], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, loader, loader)
    assert torch.load(tmp_path / "inside.ckpt", weights_only=True)["state_dict"]["net.weight"].item() == 2


def test_decay_outside_its_range_is_refused():
    with pytest.raises(ValueError, match="decay"):
        EMA(decay=1.0)
