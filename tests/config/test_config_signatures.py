"""Every `_target_` against its signature."""

import collections.abc
import enum
import pathlib
from typing import Any, Literal

import pytest
from omegaconf import OmegaConf

from lfvar.config.annotations import fits
from lfvar.config.signatures import check_node
from lfvar.errors import ConfigError


class Colour(enum.Enum):
    RED = "red"


class Thing:
    pass


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (3, int, True),
        ("3", int, False),
        (True, int, False),
        (3.0, int, False),
        (3, float, True),
        ("abc", float, False),
        (None, float, False),
        (None, float | None, True),
        (1, bool, False),
        (3, str, False),
        ("red", Colour, True),
        ("green", Colour, False),
        ("a", Literal["a", "b"], True),
        ("c", Literal["a", "b"], False),
        ([1, 2], tuple[int, ...], True),
        ([1, "x"], tuple[int, ...], False),
        ([1, 2, 3], tuple[int, int], False),
        (3, tuple[int, ...], False),
        ([1], list[int], True),
        ({"a": 1}, dict[str, int], True),
        ({"a": "x"}, dict[str, int], False),
        ([1], collections.abc.Sequence[int], True),
        ("x", pathlib.Path, True),
        (3, pathlib.Path, False),
        (float("inf"), float, True),
        ("x", str | Thing, True),
        (3, str | Thing, False),
        (3, Thing, False),
        (3, Any, True),
        (3, collections.abc.Callable[..., int], False),
    ],
)
def test_plain_values_fit_plain_annotations(value, annotation, expected):
    assert fits(value, annotation) is expected


@pytest.mark.parametrize(
    ("override", "found", "cure"),
    [
        ("optim.lr=abc", "optim.lr='abc': expected float, got text", "number"),
        ("trainer.max_steps=ten", "trainer.max_steps='ten': expected int, got text", "whole number"),
        (
            "trainer.max_steps=1e6",
            "trainer.max_steps=1000000.0: expected int, got a float",
            "trainer.max_steps=1000000",
        ),
        ("trainer.max_steps='5'", "trainer.max_steps='5': expected int", "trainer.max_steps=5, without quotes"),
        ("model.config.patch_nums=3", "model.config.patch_nums=3: expected tuple[int, ...]", "patch_nums=[3]"),
        ("model.name=7", "model.name=7: expected str, got an int", "in quotes"),
        ("+model.config.norm=batch", "model.config.norm='batch': expected one of 'group', 'layer'", "one of"),
        ("+model.config.chanels=3", "model.config.chanels is no parameter of tinylesion.TinyConfig", "'channels'"),
        (
            "+optim.learning=3",
            "optim.learning is no parameter of tinylesion.TinyOptim",
            "known here: betas, lr, params",
        ),
        ("+callbacks.emma.every=2", "callbacks.emma={'every': 2} is read by nothing", "did you mean 'ema'"),
        ("+callbacks.ema.evry=2", "callbacks.ema.evry is no parameter", "did you mean 'every'"),
        ("data.loader._target_=tinylesion.TinyDate", "'tinylesion' has no 'TinyDate'", "did you mean 'TinyData'"),
        ("data.loader._target_=tinylesoin.TinyData", "there is no package 'tinylesoin'", "pip install"),
        ("data.loader._target_=data", "is not a dotted name", "package.module.Class"),
        ("~data.loader.root", "data.loader.root is not given; tinylesion.TinyData needs it", "set data.loader.root"),
        ("~optim._partial_", "optim.params is not given", "_partial_: true"),
        ("optim._partial_=maybe", "optim._partial_='maybe'", "True, False"),
        ("model.config={channels:3}", "expected tinylesion.TinyConfig, got a mapping", "model.config._target_=tiny"),
        ("model.config._target_=tinylesion.TinyCallback", "expected tinylesion.TinyConfig", "tinylesion.TinyConfig"),
    ],
)
def test_what_no_signature_accepts_is_named_with_its_path(compose_tiny, override, found, cure):
    if override.startswith("model.name"):
        override = "+" + override
    if override == "model.config={channels:3}":
        override = "~model.config._target_"
    if override.startswith("model.config._target_="):
        cfg_overrides = (override, "~model.config.channels", "~model.config.patch_nums")
    else:
        cfg_overrides = (override,)
    with pytest.raises(ConfigError) as caught:
        compose_tiny(*cfg_overrides)
    assert found in caught.value.message
    assert cure in str(caught.value)


def test_all_mistakes_are_told_at_once(compose_tiny):
    with pytest.raises(ConfigError) as caught:
        compose_tiny("optim.lr=abc", "trainer.max_steps=ten", "+model.config.chanels=3")
    assert "3 settings are wrong" in caught.value.message
    for path in ("optim.lr", "trainer.max_steps", "model.config.chanels"):
        assert path in caught.value.message


def test_special_keys_lists_and_positions(compose_tiny):
    compose_tiny("+data.loader.names=[a,b]", "data.loader._target_=tinylesion.TinyData")
    loose = {"_target_": "tinylesion.Loose"}

    def problems(node):
        return [problem.found for problem in check_node(node, "x")]

    assert problems({**loose, "_args_": [1, 2, 3], "anything": "goes", "_convert_": "all"}) == []
    assert problems({**loose, "_args_": ["a"]}) == ["x._args_[0]='a': expected int, got text"]
    assert problems({**loose, "_args_": [1], "first": 1}) == ["x.first is given twice: by name and in x._args_"]
    assert problems({"_target_": "tinylesion.TinyCallback", "_args_": [1, 2]})[0].startswith("x._args_ holds 2 values")
    assert problems([{"_target_": "tinylesion.TinyCallback", "evry": 1}])[0].startswith("x[0].evry is no parameter")
    assert problems({"a": {"b": [{"_target_": "no_such.Thing"}]}})[0].startswith("x.a.b[0]._target_='no_such.Thing'")
    unbuilt = {"_target_": "tinylesion.TinyData", "root": {"_target_": "pathlib.Path"}, "_recursive_": False}
    assert problems(unbuilt) == []


def test_the_signature_of_lightning_s_trainer_is_read():
    def problems(**settings):
        return [problem.found for problem in check_node({"_target_": "lightning.Trainer", **settings}, "trainer")]

    assert problems(max_steps=10, precision="bf16-mixed", accelerator="cpu", devices=[0], gradient_clip_val=1.0) == []
    assert (
        problems(limit_val_batches=0.5, logger=False, strategy="ddp", profiler="simple", max_time="00:01:00:00") == []
    )
    assert problems(logger=[{"_target_": "lightning.pytorch.loggers.CSVLogger", "save_dir": "x"}]) == []
    assert problems(max_step=10) == ["trainer.max_step is no parameter of lightning.Trainer"]
    assert problems(max_steps="ten")[0].startswith("trainer.max_steps='ten': expected int")
    assert problems(precision="bf16-mixd")[0].startswith("trainer.precision='bf16-mixd': expected one of")


def test_missing_values_are_named_together(compose_tiny):
    cfg = compose_tiny(check=False)
    OmegaConf.update(cfg, "model.config.channels", "???")
    OmegaConf.update(cfg, "optim.lr", "???")
    from lfvar.config import validate

    with pytest.raises(ConfigError) as caught:
        validate(cfg)
    assert "model.config.channels is missing" in caught.value.message
    assert "set optim.lr=<value>" in caught.value.message


def test_an_interpolation_to_nothing_is_named(compose_tiny):
    with pytest.raises(ConfigError, match=r"data\.folder: .*paths\.prepard"):
        compose_tiny("data.folder=${paths.prepard}")
