import pytest
import torch
from torch import nn

from lfvar.lit.optim import OptimConfig, build_optimizer, lr_factor


def test_schedule_by_hand():
    factor = lr_factor(OptimConfig(warmup_steps=10, final_fraction=0.3), 110)
    assert factor(0) == pytest.approx(0.1)
    assert factor(9) == pytest.approx(1.0)
    assert factor(10) == pytest.approx(1.0)
    assert factor(60) == pytest.approx(0.65)
    assert factor(110) == pytest.approx(0.3)
    assert factor(500) == pytest.approx(0.3)
    assert lr_factor(OptimConfig(decay="none"), 1000)(999) == 1.0
    assert lr_factor(OptimConfig(warmup_steps=1000), 50)(5) == pytest.approx(1.0)  # a tenth of a short run at most


def test_decay_is_on_matrices_only():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Embedding(5, 4))
    net[0].bias.requires_grad_(False)
    optimizer = build_optimizer(net, OptimConfig(weight_decay=0.1))
    decayed, plain = optimizer.param_groups
    assert [id(p) for p in decayed["params"]] == [id(net[0].weight)]
    assert {id(p) for p in plain["params"]} == {id(net[1].weight), id(net[1].bias), id(net[2].weight)}
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert isinstance(optimizer, torch.optim.AdamW)


@pytest.mark.parametrize("change", [{"lr": 0}, {"clip_norm": -1}, {"final_fraction": 2}, {"decay": "linear"}])
def test_nonsense_is_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        OptimConfig(**change)
