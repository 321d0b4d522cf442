"""A callback for tests of how runs end: something happens at a step."""

import os
import signal

import torch
from lightning.pytorch import Callback
from lightning.pytorch.trainer.states import TrainerFn


class Event(Callback):
    """After a step, on one rank: a signal, a weight that is no number, or a disk that is full from then on.

    Step -1: a signal in the validation that ends the run.
    """

    def __init__(self, what, step, rank=0):
        self.what, self.step, self.rank = str(what), step, rank

    def on_validation_start(self, trainer, pl_module):
        if self.step == -1 and trainer.state.fn == TrainerFn.VALIDATING:
            os.kill(os.getpid(), signal.Signals[self.what])

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step != self.step or trainer.global_rank != self.rank:
            return
        if self.what == "nan":
            with torch.no_grad():
                pl_module.net.decoder.conv_out.weight[0, 0, 0, 0] = float("nan")
        elif self.what == "disk":
            folder = trainer.checkpoint_callbacks[-1].dirpath
            os.symlink("/dev/full", os.path.join(folder, f".last.ckpt.{os.getpid()}.partial"))
        elif self.what != "none":
            os.kill(os.getpid(), signal.Signals[self.what])
