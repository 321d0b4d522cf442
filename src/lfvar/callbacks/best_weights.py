"""Tests with the weights that validation chose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from lfvar.interop.checkpoints import net_weights, read_checkpoint


class BestWeights(Callback):
    """Lends the averaged weights of the best checkpoint to testing.

    Lightning's `test(ckpt_path="best")` would load the last step's weights of that checkpoint: its average lies where
    `lfvar.callbacks.ema.EMA` put it. Without a best checkpoint (a rehearsal that keeps none) the weights are tested as
    they are.
    """

    def __init__(self) -> None:
        self._own: dict[str, Tensor] = {}

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the best weights into the net."""
        path = best_path(trainer)
        net = pl_module.net
        if path is None or not isinstance(net, nn.Module):
            return
        self._own = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        net.load_state_dict(net_weights(read_checkpoint(path), "ema"))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the net's own weights back."""
        if self._own and isinstance(pl_module.net, nn.Module):
            with torch.no_grad():
                pl_module.net.load_state_dict(self._own)
            self._own = {}

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> Any:
        """As at the end."""
        self.on_test_end(trainer, pl_module)


def best_path(trainer: Trainer) -> Path | None:
    """The checkpoint that a monitored metric chose; None where none was written."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor is not None and callback.best_model_path:
            return Path(callback.best_model_path)
    return None
