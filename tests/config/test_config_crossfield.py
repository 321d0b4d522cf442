"""Settings that are right one by one and wrong together."""

import pytest

from lfvar.config.crossfield import check_fields
from lfvar.errors import ConfigError


def test_the_finest_map_covers_the_image(compose_tiny):
    with pytest.raises(ConfigError) as caught:
        compose_tiny("image_size=64")
    message = str(caught.value)
    assert "model.config.patch_nums=[1, 2, 4, 8]" in message
    assert "model.config.channel_multipliers=[1, 2, 2]" in message  # the default of the class: no YAML sets it
    assert "image_size=64" in message
    assert "set image_size=32, or let model.config.patch_nums end in 16" in message
    compose_tiny("image_size=64", "model.config.patch_nums=[1,2,16]")
    compose_tiny("image_size=64", "+model.config.channel_multipliers=[1,2,2,4]")


def test_the_stem_counts_for_the_stride():
    model = {"patch_nums": [1, 8], "channel_multipliers": [1, 2], "stem_stride": 4}
    assert check_fields({"image_size": 64, "model": model}) == []
    (problem,) = check_fields({"image_size": 32, "model": model})
    assert "model.stem_stride=4" in problem.found


def test_only_precisions_that_train_right_are_accepted(compose_tiny):
    with pytest.raises(ConfigError, match=r"trainer\.precision=bf16-true is not supported") as caught:
        compose_tiny("+trainer.precision=bf16-true")
    assert "bf16-mixed" in caught.value.cure
    compose_tiny("+trainer.precision=bf16-mixed")
    compose_tiny("+trainer.precision=16-mixed")
    (problem,) = check_fields({"trainer": {"precision": "bf16-true"}})
    assert "not supported" in problem.found


def test_a_run_without_an_end_is_refused():
    (problem,) = check_fields({"trainer": {"max_steps": -1, "max_epochs": -1, "max_time": "00:00:10:00"}})
    assert "trainer.max_steps=-1" in problem.found
    assert check_fields({"trainer": {"max_steps": -1, "max_epochs": 3}}) == []


def test_the_prepared_size_is_the_image_size():
    config = {"image_size": 64, "data": {"prepare": {"image_size": 32}}}
    (problem,) = check_fields(config)
    assert "data.prepare.image_size=32" in problem.found
    assert "image_size=64" in problem.found
    assert "lfvar.prepare" in problem.cure


def test_absent_settings_are_nobody_s_problem():
    assert check_fields({}) == []
    assert check_fields({"image_size": 64, "model": {"patch_nums": [1, 2]}, "trainer": None, "data": None}) == []


@pytest.mark.parametrize(
    ("model", "factor", "wrong"),
    [
        ({"init": "published", "train": "auto"}, 0.2, True),
        ({"init": "checkpoint", "train": "decoder"}, 0.2, True),
        ({"init": "published", "train": "all"}, 0.2, False),
        ({"init": "checkpoint", "train": "auto"}, 0.2, False),
        ({"init": "published", "train": "auto"}, 1.0, False),
    ],
)
def test_rates_of_frozen_parts_are_refused(model, factor, wrong):
    problems = check_fields({"model": model, "optim": {"encoder_factor": factor, "codebook_factor": 1.0}})
    assert len(problems) == wrong
    if wrong:
        assert f"optim.encoder_factor={factor}" in problems[0].found
        assert "model.train=all" in problems[0].cure


@pytest.mark.parametrize("stage", ["vqvae", "var"])
def test_weights_are_split_by_our_own_strategy_alone(stage):
    for strategy in ("fsdp", "deepspeed_stage_2"):
        (problem,) = check_fields({"stage": stage, "trainer": {"strategy": strategy}})
        assert strategy in problem.found
        assert "trainer=fsdp" in problem.cure
    ours = {"_target_": "lfvar.lit.sharding.ShardedStrategy"}
    assert not check_fields({"stage": stage, "trainer": {"strategy": ours}})
    assert not check_fields({"stage": stage, "trainer": {"strategy": "ddp"}})
