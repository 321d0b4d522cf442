"""Manual optimisation, the same for both stages: accumulation, clipping, schedule, and what a step draws at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from lfvar.lit.collective import mean_over_processes
from lfvar.lit.sharding import WholeNet, average_kept_gradients, clip_split_gradients, split


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
        self.grad_norm: Tensor | None = None  # of the last step, before clipping
        self._whole_net: WholeNet | None = None  # where weights are split over processes

    @property
    def units(self) -> Sequence[nn.Module]:
        """Modules of the net whose weights `trainer=fsdp` splits over processes; most of the weights."""
        raise NotImplementedError(f"{type(self).__name__} cannot be split")

    called: Sequence[str] = ()
    """Methods of the net beside `forward` that a training step calls."""

    def configure_model(self) -> None:
        """Split the net, under the strategy that asks for it."""
        if self.device_mesh is not None and self._whole_net is None:
            self._whole_net = WholeNet(self.net)
            split(self.net, self.units, self.device_mesh["data_parallel"], methods=self.called)

    def on_validation_start(self) -> None:
        """Validate a whole net; callbacks have lent it their average by now."""
        if self._whole_net is not None:
            self._whole_net.lend(self, self.device)

    def on_validation_epoch_end(self) -> None:
        """Go back to the split net; callbacks have drawn and sampled by now. Overrides call this last."""
        if self._whole_net is not None:
            self._whole_net.take_back(self)

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
            if self._whole_net is not None:
                average_kept_gradients(self.net)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
        return last

    def log_training(self, values: Mapping[str, Tensor]) -> None:
        """Log scalars of this batch; what loggers write are means over all processes, as one process would have them.

        Args:
            values: `loss` and others, the same names on all processes; logged as `train/…`.
        """
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (self.global_step * self.accumulate + self.gathered) % every == 0:
            means_N = mean_over_processes(torch.stack([value.detach().float() for value in values.values()]))
            values = dict(zip(values, means_N.unbind(), strict=True))
        for name, value in values.items():
            self.log(f"train/{name}", value.detach(), prog_bar=name == "loss")

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip. Lightning calls this after float16 gradients have been unscaled, which clipping needs."""
        if self.clip_norm:
            clip = nn.utils.clip_grad_norm_ if self._whole_net is None else clip_split_gradients
            self.grad_norm = clip(self.net.parameters(), self.clip_norm)
            self.log("train/grad_norm", self.grad_norm)
