"""Manual optimisation, the same for both stages: accumulation, clipping, schedule, and what a step draws at random."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.optim.lr_scheduler import LambdaLR


class SteppingModule(LightningModule):
    """A module that takes its own optimizer steps.

    Lightning refuses to clip and to accumulate under manual optimisation, and counts every optimizer's steps. This does
    what both stages need: one optimizer with one schedule, stepped after every `accumulate` batches.

    Args:
        net: Whose gradients are clipped.
        clip_norm: Largest norm of all gradients together; 0: no clipping.
        accumulate: Batches per optimizer step.
        seed: Decides, with step and process, what dropout and its like draw.
    """

    net: nn.Module

    def __init__(self, *, clip_norm: float, accumulate: int, seed: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.clip_norm = clip_norm
        self.accumulate = accumulate
        self.seed = seed
        self.gathered = 0  # batches since the last optimizer step; checkpoints are only written when there are none

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        steps = int(self.trainer.estimated_stepping_batches)
        return steps if self.trainer.max_steps > 0 else -(-steps // self.accumulate)

    @property
    def completes_step(self) -> bool:
        """Whether the batch at hand is the last one of its step."""
        return self.gathered + 1 == self.accumulate

    def seed_step(self) -> None:
        """Fix what this batch draws at random, so that a resumed run draws what the killed one would have."""
        torch.manual_seed(hash((self.seed, self.global_step, self.gathered, self.global_rank)) % 2**63)

    def take_step(self) -> bool:
        """Count the batch whose gradients are there, and take the optimizer step if it is the last one of its step."""
        last = self.completes_step
        self.gathered = 0 if last else self.gathered + 1
        if last:
            optimizer, scheduler = self.optimizers(), self.lr_schedulers()
            assert not isinstance(optimizer, list)
            assert isinstance(scheduler, LambdaLR)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
        return last

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip. Lightning calls this after float16 gradients have been unscaled, which clipping needs."""
        if self.clip_norm:
            norm = nn.utils.clip_grad_norm_(self.net.parameters(), self.clip_norm)
            self.log("train/grad_norm", norm)
