import pytest
import torch

from lfvar.lit.var_optim import VAROptimConfig, build_var_optimizer, var_lr_factor
from lfvar.nn.var import VAR, VARConfig

SMALL = {"depth": 2, "width": 16, "num_heads": 2, "patch_nums": (1, 2), "vocab_size": 9, "latent_channels": 4}
# Every tensor that is no matrix, by the end of its name, in any kind of net.
NO_DECAY = (
    "bias", "_bias_D", "log_scale_N11", "start_1lD", "position_1LD", "frequencies_MF", "missing_ME", "bias_ME",
    "levels.weight", "classes.weight", "regions.weight", "measurements.1.weight",
)  # fmt: skip


@pytest.mark.parametrize("changes", [{}, {"shared_adaln": True}, {"measurement_kind": "lfvar"}])
def test_decay_is_on_matrices_only(changes):
    net = VAR(VARConfig(**SMALL, num_measurements=5, measurement_width=4, mask_aware=True, **changes))
    optimizer = build_var_optimizer(net, VAROptimConfig(weight_decay=0.3))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(decay) == len(list(net.parameters()))
    for name, parameter in net.named_parameters():
        plain = name.endswith(NO_DECAY) or "adaln_offsets" in name
        assert decay[id(parameter)] == (0.0 if plain else 0.3), name
        assert plain or parameter.ndim >= 2


def test_conditions_may_learn_faster():
    net = VAR(VARConfig(**SMALL, num_measurements=5, measurement_width=4))
    optimizer = build_var_optimizer(net, VAROptimConfig(lr=1e-3, condition_factor=4.0))
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in net.named_parameters():
        assert rate[id(parameter)] == pytest.approx(4e-3 if name.startswith("conditioning.") else 1e-3), name


def test_fused_steps_are_plain_steps():
    nets = []
    for fused in (True, False):
        torch.manual_seed(0)
        net = VAR(VARConfig(**SMALL))
        optimizer = build_var_optimizer(net, VAROptimConfig(lr=1e-2), fused=fused)
        assert optimizer.defaults["fused"] is fused
        generator = torch.Generator().manual_seed(1)
        for _ in range(3):
            for parameter in net.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()
        nets.append(net)
    for ours, theirs in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("fused", [False, True])
def test_a_stored_state_goes_on_in_the_way_of_this_run(fused):
    net = VAR(VARConfig(**SMALL))
    there, here = (build_var_optimizer(net, VAROptimConfig(lr=1e-2), fused=way) for way in (not fused, fused))
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    there.step()
    here.load_state_dict(there.state_dict())
    assert all(group["fused"] is fused for group in here.param_groups)
    assert all(float(state["step"]) == 1 for state in here.state.values())
    here.step()


def test_schedule_by_hand():
    factor = var_lr_factor(VAROptimConfig(warmup_steps=10, plateau_fraction=0.2, final_fraction=0.1), 110)
    assert factor(0) == pytest.approx(0.1)
    assert factor(9) == factor(10) == factor(30) == pytest.approx(1.0)
    assert factor(70) == pytest.approx(0.55)  # half-way down
    assert factor(110) == factor(500) == pytest.approx(0.1)
    cosine = var_lr_factor(VAROptimConfig(warmup_steps=10, plateau_fraction=0.2, decay="cosine"), 110)
    assert cosine(50) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + 2**-0.5))
    assert var_lr_factor(VAROptimConfig(decay="none"), 1000)(999) == 1.0
    assert var_lr_factor(VAROptimConfig(plateau_fraction=1.0), 1000)(1000) == 1.0
    assert var_lr_factor(VAROptimConfig(warmup_steps=1000), 50)(5) == pytest.approx(1.0)  # a tenth of a short run


@pytest.mark.parametrize(
    "change",
    [{"lr": 0}, {"clip_norm": -1}, {"plateau_fraction": 2}, {"decay": "steps"}, {"accumulate": 0}],
)
def test_a_wrong_setting_is_named(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        VAROptimConfig(**change)
