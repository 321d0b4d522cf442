"""The shipped experiments of the transformer compose, fit the shipped tokenizers, and train."""

from pathlib import Path

import pytest
import torch
import yaml

from lfvar.config import build, compose
from lfvar.errors import ConfigError
from lfvar.interop.checkpoints import ConditionMeaning
from lfvar.lit.var_config import ConditionConfig, fit_model
from lfvar.lit.var_module import VARModule
from lfvar.nn.var import VAR
from var_examples import MEANING, as_loader, image_batch, tiny_tokenizer, tiny_trainer

CONF = Path(__file__).parents[2] / "conf"
TOKENIZERS = {"var": "vqvae", "var_ham10000": "vqvae_ham10000", "var_ham10000_512": "vqvae_ham10000_512"}
HAM10000 = ConditionMeaning(tuple("abcdefg"), tuple(f"shape_{index}" for index in range(120)), {})
SMALL = ["model.depth=2", "model.width=32", "model.num_heads=2", "model.patch_nums=[1,2,4]", "model.vocab_size=32",
         "model.latent_channels=4"]  # fmt: skip


def composed(experiment, *overrides):
    return compose("train", [f"experiment={experiment}", "trainer=cpu", "data.root=/data", *overrides])


def options(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def test_every_experiment_is_tested():
    assert {name for name in options("experiment") if name.startswith("var")} == set(TOKENIZERS)


@pytest.mark.parametrize("experiment", TOKENIZERS)
def test_shipped_sizes_fit_the_shipped_tokenizer(experiment):
    cfg = composed(experiment)
    tokenizer = composed(TOKENIZERS[experiment])
    assert cfg.stage == "var"
    assert cfg.image_size == tokenizer.image_size
    assert cfg.data.loader.measurements
    assert cfg.data.loader.augment == "symmetries"
    sizes = fit_model(build(cfg.model), build(cfg.condition), HAM10000, build(tokenizer.model))
    assert (sizes.num_classes, sizes.num_measurements) == (7, 120)
    with torch.device("meta"):
        VAR(sizes)


@pytest.mark.parametrize("experiment", TOKENIZERS)
@pytest.mark.parametrize("condition", options("condition"))
def test_every_ablation_trains(experiment, condition, tmp_path):
    cfg = composed(experiment, f"condition={condition}", *SMALL)
    assert cfg.data.loader.measurements is cfg.condition.measurements
    torch.manual_seed(0)
    parts = [build(cfg[group]) for group in ("loss", "optim", "condition")]
    module = VARModule(build(cfg.model), tiny_tokenizer(), *parts, MEANING)
    before = module.net.head.weight.clone()
    grid = build(cfg.callbacks.grid)
    grid.folder = tmp_path
    trainer = tiny_trainer(2, tmp_path, callbacks=[build(cfg.callbacks.ema), grid])
    trainer.fit(module, as_loader([image_batch()]), as_loader([image_batch()]))
    assert all(parameter.isfinite().all() for parameter in module.net.parameters())
    assert not torch.equal(before, module.net.head.weight)
    assert cfg.callbacks.best.monitor in trainer.callback_metrics
    assert (tmp_path / "latest.png").is_file()


@pytest.mark.parametrize("group", ["optim", "loss", "condition", "debug", "model"])
def test_every_option_is_valid(group):
    for option in options(group):
        if group in ("optim", "loss", "model") and not option.startswith(("var", "tokens")):
            continue
        composed("var", f"{group}={option}")


def test_published_weights_start_with_one_line():
    cfg = composed("var_ham10000", "optim=var_finetune", "model.init=published", "model.weights=/var_d16.pth")
    assert build(cfg.model).init == "published"
    with pytest.raises(ConfigError, match="weights names none"):
        composed("var_ham10000", "model.init=published")


def test_the_shipped_condition_is_the_default():
    data = yaml.safe_load((CONF / "condition/full.yaml").read_text())
    assert data.pop("_target_") == "lfvar.lit.var_config.ConditionConfig"
    drop = data.pop("drop")
    assert drop.pop("_target_") == "lfvar.nn.conditioning.ConditionDropConfig"
    config = ConditionConfig()
    assert {**data, "drop": drop} == {**vars(config), "drop": vars(config.drop)}
