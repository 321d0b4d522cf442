"""A run that goes on uses the rates and decays it is told now."""

import pytest
import torch
from torch import nn

from lfvar.errors import ArtefactError
from lfvar.lit.adversary import Adversary
from lfvar.lit.adversary_config import AdversaryConfig
from lfvar.lit.classifier_module import ClassifierModule
from lfvar.lit.optim import OptimConfig, build_optimizer, lr_factor
from lfvar.lit.resumption import Schedule
from lfvar.lit.segmenter_module import SegmenterModule
from lfvar.lit.var_module import VARModule
from lfvar.lit.var_optim import VAROptimConfig, build_var_optimizer, var_lr_factor
from lfvar.lit.vqvae_module import VQVAEModule
from lfvar.nn.discriminator import PatchDiscriminatorConfig
from toy_run import Kill, KilledError, Toy, same, stored, toy_fit


def test_a_continued_run_steps_as_its_settings_say(tmp_path):
    toy_fit(tmp_path / "a", max_steps=4, every=2)
    _, module = toy_fit(tmp_path / "b", module=Toy(lr=0.01, betas=(0.5, 0.6), weight_decay=0.3), max_steps=8,
                        resume=tmp_path / "a" / "last.ckpt")  # fmt: skip
    factor = lr_factor(module.optim, 8)
    assert module.rates == [0.01 * factor(step) for step in range(4, 8)]  # from the first step on
    groups = stored(tmp_path / "b")["optimizer_states"][0]["param_groups"]
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0]
    assert {group["betas"] for group in groups} == {(0.5, 0.6)}


def test_unchanged_settings_change_nothing(tmp_path):
    toy_fit(tmp_path / "whole", max_steps=9, every=4)

    with pytest.raises(KilledError):
        toy_fit(tmp_path / "killed", Kill("on_train_batch_end", 6), max_steps=9, every=4)
    assert stored(tmp_path / "killed")["global_step"] == 4
    toy_fit(tmp_path / "killed", max_steps=9, every=4, resume=tmp_path / "killed" / "last.ckpt")
    assert same(stored(tmp_path / "whole"), stored(tmp_path / "killed"))


@pytest.mark.parametrize(
    ("build", "config", "factor"),
    [(build_optimizer, OptimConfig, lr_factor), (build_var_optimizer, VAROptimConfig, var_lr_factor)],
    ids=["images", "tokens"],
)
def test_every_optimizer_keeps_its_settings(build, config, factor):
    net = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    there, here = config(lr=1e-2, weight_decay=0.1), config(lr=1e-3, weight_decay=0.2, betas=(0.1, 0.2))
    schedules = [Schedule(build(net, settings), factor(settings, 100)) for settings in (there, here)]
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    for _ in range(3):
        schedules[0].optimizer.step()
        schedules[0].step()
    schedules[1].optimizer.load_state_dict(schedules[0].optimizer.state_dict())
    schedules[1].load_state_dict(schedules[0].state_dict())
    groups = schedules[1].optimizer.param_groups
    assert {group["lr"] for group in groups} == {1e-3 * factor(here, 100)(3)} == set(schedules[1].get_last_lr())
    assert sorted(group["weight_decay"] for group in groups) == [0.0, 0.2]
    assert {tuple(group["betas"]) for group in groups} == {(0.1, 0.2)}
    assert all(float(state["step"]) == 3 for state in schedules[1].optimizer.state.values())


def test_discriminators_keep_their_settings():
    def adversary(**optim):
        sizes = PatchDiscriminatorConfig(channels=8, num_layers=1, stem_stride=1)
        return Adversary(AdversaryConfig(discriminator=sizes, **optim), 32)

    here = adversary(betas=(0.1, 0.2), weight_decay=0.3)
    here.load_optimizer_state(adversary(betas=(0.5, 0.9), weight_decay=0.1).optimizer_state())
    assert {tuple(group["betas"]) for group in here.optimizer.param_groups} == {(0.1, 0.2)}
    assert max(group["weight_decay"] for group in here.optimizer.param_groups) == 0.3


@pytest.mark.parametrize("module", [VQVAEModule, VARModule, ClassifierModule, SegmenterModule])
def test_every_stage_has_such_a_schedule(module):
    assert "Schedule" in module.configure_optimizers.__code__.co_names


def test_weights_grouped_in_another_way_are_an_error_with_a_cure():
    net = nn.Linear(2, 2)
    state = build_optimizer(net, OptimConfig(weight_decay=0.1)).state_dict()
    optimizer = build_optimizer(net, OptimConfig(weight_decay=0.0))
    with pytest.raises(ArtefactError, match=r"groups of 1, 1 weights.*groups of 2") as error:
        optimizer.load_state_dict(state)
    assert "optim.weight_decay" in error.value.cure
