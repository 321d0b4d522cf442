"""A net of three weights trained by the real trainer with the real callbacks, in milliseconds."""

import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader

from lfvar.callbacks.checkpoint import LastCheckpoint, WholeFiles
from lfvar.callbacks.ema import EMA
from lfvar.data.stream import SampleStream, StreamLoader
from lfvar.lit.optim import OptimConfig, build_optimizer, lr_factor
from lfvar.lit.resumption import Schedule
from lfvar.lit.stepping import SteppingModule

BATCHES = 6
"""In one pass over the data."""


class Toy(SteppingModule):
    """Fits a line; notes the steps after which it was validated."""

    def __init__(self, **optim):
        self.optim = OptimConfig(**{"lr": 0.1, "warmup_steps": 2, **optim})
        super().__init__(clip_norm=self.optim.clip_norm, accumulate=self.optim.accumulate, seed=0)
        torch.manual_seed(0)
        self.net = nn.Linear(2, 1)
        self.validated, self.rates = [], []

    @property
    def averaged(self):
        return self.net.named_parameters()

    def on_train_batch_start(self, batch, batch_idx):
        self.seed_step()
        self.rates.append(self.optimizers().param_groups[0]["lr"])

    def training_step(self, batch, batch_idx):
        loss = (self.net(batch + 0.1 * torch.randn_like(batch)) - 1).square().mean()
        self.manual_backward(loss / self.accumulate)
        self.take_step()
        return loss.detach()

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", (self.net(batch) - 1).square().mean(), batch_size=len(batch))

    def on_validation_epoch_end(self):
        self.validated.append(self.global_step)

    def configure_optimizers(self):
        optimizer = build_optimizer(self.net, self.optim)
        return [optimizer], [Schedule(optimizer, lr_factor(self.optim, self.total_steps))]


class Points(torch.utils.data.Dataset):
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, draw):
        index = draw[0] if isinstance(draw, tuple) else draw
        return torch.tensor([1.0, index / self.count])


class ToyData(LightningDataModule):
    """The stream of the real data, over points."""

    def __init__(self):
        super().__init__()
        self.stream = SampleStream(4 * BATCHES, 4, seed=0)

    def train_dataloader(self):
        loader = StreamLoader(Points(4 * BATCHES), self.stream)
        loader.collate_fn = torch.stack
        return loader

    def val_dataloader(self):
        return DataLoader(Points(8), batch_size=4)

    def state_dict(self):
        return {"next_draw": self.stream.next_draw}

    def load_state_dict(self, state_dict):
        self.stream.next_draw = state_dict["next_draw"]


class KilledError(Exception):
    """Stands for SIGKILL."""


class Kill(Callback):
    """Ends the run in a hook, after a step."""

    def __init__(self, hook, step):
        def end(trainer, pl_module, *arguments):
            if trainer.global_step == step:
                raise KilledError

        setattr(self, hook, end)


def toy_trainer(folder, *callbacks, every=100, keep=1, **options):
    """A trainer with EMA, the best and the last checkpoint, below a folder."""
    best = ModelCheckpoint(folder, filename="best", monitor="val/loss", enable_version_counter=False)
    return Trainer(
        accelerator="cpu",
        callbacks=[EMA(0.5), *callbacks, best, LastCheckpoint(folder, every_n_train_steps=every, keep=keep)],
        plugins=[WholeFiles()],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=None,
        use_distributed_sampler=False,
        default_root_dir=folder,
        **{"logger": False, "val_check_interval": 3, **options},
    )


def toy_fit(folder, *callbacks, module=None, resume=None, **options):
    """Train; returns trainer and module."""
    module, trainer = module or Toy(), toy_trainer(folder, *callbacks, **options)
    trainer.fit(module, datamodule=ToyData(), ckpt_path=resume, weights_only=True)
    return trainer, module


def stored(folder, name="last"):
    """The contents of a checkpoint."""
    return torch.load(folder / f"{name}.ckpt", weights_only=True)


def same(a, b):
    """Whether two checkpoints hold the same step, weights, averages and momenta."""
    assert a["global_step"] == b["global_step"]
    for one, two in ((a["state_dict"], b["state_dict"]), (a["ema"]["weights"], b["ema"]["weights"])):
        assert all(torch.equal(one[name], two[name]) for name in one)
    moments = [checkpoint["optimizer_states"][0]["state"] for checkpoint in (a, b)]
    assert all(torch.equal(moments[0][i]["exp_avg"], moments[1][i]["exp_avg"]) for i in moments[0])
    assert a["optimizer_states"][0]["param_groups"] == b["optimizer_states"][0]["param_groups"]
    return True
