"""From nodes to objects."""

from pathlib import Path

import pytest

from lfvar.config import build, build_each
from lfvar.errors import ConfigError


def test_lists_become_tuples_and_text_becomes_a_path_where_the_signature_says_so(compose_tiny):
    cfg = compose_tiny("+data.loader.names=[a,b]")
    net, data = build(cfg.model), build(cfg.data.loader)
    assert net.config.patch_nums == (1, 2, 4, 8)
    assert isinstance(net.config.patch_nums, tuple)
    assert isinstance(data.root, Path)
    assert data.names == ["a", "b"]
    assert type(data.names) is list
    hash(net.config)


def test_arguments_given_later(compose_tiny):
    from tinylesion import TinyConfig

    cfg = compose_tiny()
    optim = build(cfg.optim)(params=[1])
    assert (optim.params, optim.lr) == ([1], 1e-3)
    assert build({"_target_": "tinylesion.TinyNet"}, config=TinyConfig()).config == TinyConfig()
    with pytest.raises(ConfigError, match=r"optim\.parms is no parameter"):
        build(cfg.optim, parms=[1])


def test_a_value_the_class_rejects_is_told_with_its_place(compose_tiny):
    with pytest.raises(ConfigError) as caught:
        compose_tiny("model.config.patch_nums=[4,2,8]")  # frozen dataclasses are tried by the check itself
    assert caught.value.message == "model.config: scales must grow strictly, got (4, 2, 8)"
    cfg = compose_tiny("callbacks.grid.every=0")
    with pytest.raises(ConfigError) as caught:
        build(cfg.callbacks)
    assert caught.value.message == "callbacks.grid: every must be at least 1, got 0"
    with pytest.raises(ConfigError, match=r"callbacks\.grid: every must be at least 1"):
        build(cfg.callbacks.grid)


def test_a_group_is_built_in_order_without_what_is_switched_off(compose_tiny):
    cfg = compose_tiny("callbacks.grid=null", "+callbacks.last={_target_:tinylesion.TinyCallback,every:7}")
    assert [callback.every for callback in build_each(cfg.callbacks)] == [1, 7]
    built = build(cfg.callbacks)
    assert type(built) is dict
    assert set(built) == {"grid", "ema", "last"}
    assert build_each(compose_tiny("callbacks.grid=null", "callbacks.ema=null").callbacks) == []
    assert build(None) is None


def test_a_bug_in_a_constructor_stays_a_bug(compose_tiny):
    compose_tiny()
    with pytest.raises(RuntimeError, match="a bug of ours"):
        build({"_target_": "tinylesion.Broken"})
