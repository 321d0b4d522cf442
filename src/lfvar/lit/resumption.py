"""Learning rates and optimizer settings of a run that goes on: those it is told now, not those its checkpoint had."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from lfvar.errors import ArtefactError


class Schedule(LambdaLR):
    """Learning rates as a function of the step, which stay those of the run's settings when a state is restored.

    `LambdaLR` would go on with the peak rates of the run that wrote the state. With unchanged settings the rates are
    the same numbers.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at the stored step."""
        super().load_state_dict({**state_dict, "base_lrs": self.base_lrs})
        factors = zip(self.base_lrs, self.lr_lambdas, strict=True)
        self._last_lr = [base * factor(self.last_epoch) for base, factor in factors]
        for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = rate


def keep_settings(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimizer take momenta from a stored state and nothing else: rates, betas, decay, fused stay its own.

    Loading a state then raises `ArtefactError` when its weights are grouped in another way than the optimizer's.
    """
    optimizer.register_load_state_dict_pre_hook(_with_own_settings)


def _with_own_settings(optimizer: torch.optim.Optimizer, stored: dict[str, Any]) -> dict[str, Any]:
    """A stored state with the settings of the optimizer that loads it."""
    groups = stored["param_groups"], optimizer.param_groups
    theirs, ours = ([len(group["params"]) for group in one] for one in groups)
    if theirs != ours:
        raise ArtefactError(
            f"the checkpoint's optimizer has groups of {_listed(theirs)} weights, this run's settings make groups of "
            f"{_listed(ours)}",
            cure="weights are grouped by decay and rate: leave optim.weight_decay at 0 where it was 0 and the"
            " optim.*_factor at 1 where they were 1, and at neither where they were not",
        )
    settled = [{**group, **own, "params": group["params"]} for group, own in zip(*groups, strict=True)]
    return {**stored, "param_groups": settled}


def _listed(sizes: list[int]) -> str:
    return ", ".join(map(str, sizes))
