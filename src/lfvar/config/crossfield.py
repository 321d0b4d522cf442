"""Checks between settings: values that are right one by one and wrong together.

Each check is a small function over the composed config; `@cross_check` adds it. A check says nothing when one of its
settings is absent: that is another check's business.
"""

from collections.abc import Callable, Iterator
from typing import Any

from lfvar.config.problems import Problem
from lfvar.config.targets import find_target, signature_of
from lfvar.errors import ConfigError

Config = dict[str, Any]
CrossCheck = Callable[[Config], Iterator[Problem]]

_CHECKS: list[CrossCheck] = []


def cross_check(check: CrossCheck) -> CrossCheck:
    """Add `check` to what `check_fields` runs."""
    _CHECKS.append(check)
    return check


def check_fields(config: Config) -> list[Problem]:
    """Run every cross-field check.

    Args:
        config: The composed config as plain data, interpolations resolved.
    """
    return [problem for check in _CHECKS for problem in check(config)]


def select(config: Any, path: str) -> Any:
    """Return the value at `path` ("data.prepare.image_size"); None where there is none."""
    for key in path.split("."):
        if not isinstance(config, dict) or key not in config:
            return None
        config = config[key]
    return config


def setting(node: Config, name: str) -> Any:
    """Return `node[name]`, else the default of the `_target_` the node configures, else None."""
    if name in node:
        return node[name]
    if "_target_" not in node:
        return None
    try:
        signature = signature_of(find_target(str(node["_target_"]), ""))
    except ConfigError:
        return None
    parameter = signature.parameters.get(name) if signature is not None else None
    return None if parameter is None or parameter.default is parameter.empty else parameter.default


def nodes_with(value: Any, names: tuple[str, ...], path: str) -> Iterator[tuple[str, Config]]:
    """Yield each node at or below `value` that has all of `names`, as a key or as a default of its `_target_`."""
    if isinstance(value, dict):
        if all(setting(value, name) is not None for name in names):
            yield path, value
        for key, child in value.items():
            yield from nodes_with(child, names, f"{path}.{key}")
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from nodes_with(child, names, f"{path}[{index}]")


@cross_check
def finest_map_covers_image(config: Config) -> Iterator[Problem]:
    """`patch_nums[-1] * stride == image_size`: the finest token map has the encoder's own resolution."""
    image_size = config.get("image_size")
    if not isinstance(image_size, int):
        return
    for path, node in nodes_with(config.get("model"), ("patch_nums", "channel_multipliers"), "model"):
        patch_nums, multipliers = setting(node, "patch_nums"), setting(node, "channel_multipliers")
        if not _is_sizes(patch_nums) or not isinstance(multipliers, (list, tuple)) or not multipliers:
            continue
        stem_stride = setting(node, "stem_stride")
        stride = 2 ** (len(multipliers) - 1) * (stem_stride if isinstance(stem_stride, int) else 1)
        if patch_nums[-1] * stride == image_size:
            continue
        stem = f" and {path}.stem_stride={stem_stride}" if stem_stride else ""
        if image_size % stride == 0:
            cure = f"set image_size={patch_nums[-1] * stride}, or let {path}.patch_nums end in {image_size // stride}"
        else:
            cure = f"set image_size={patch_nums[-1] * stride}"
        yield Problem(
            f"{path}.patch_nums={list(patch_nums)} ends in {patch_nums[-1]}; with the stride {stride} of"
            f" {path}.channel_multipliers={list(multipliers)}{stem} that covers {patch_nums[-1] * stride} pixels, but"
            f" image_size={image_size}",
            cure,
        )


@cross_check
def precision_is_supported(config: Config) -> Iterator[Problem]:
    """Weights stay in float32: pure half precision would round away small updates and the quantiser's decisions."""
    precision = select(config, "trainer.precision")
    if precision is not None and str(precision) not in ("32-true", "32", "bf16-mixed", "16-mixed"):
        yield Problem(
            f"trainer.precision={precision} is not supported: weights are kept in float32",
            "set trainer.precision=bf16-mixed, 16-mixed on GPUs without bfloat16, or 32-true",
        )


@cross_check
def splitting_weights_is_supported(config: Config) -> Iterator[Problem]:
    """Our own strategy splits weights so that checkpoints, averages and clipping stay right; others do not."""
    strategy = select(config, "trainer.strategy")
    if isinstance(strategy, str) and strategy.startswith(("fsdp", "deepspeed", "model")):
        yield Problem(
            f"trainer.strategy={strategy} would write checkpoints that we cannot read, and clip parts of gradients",
            "use trainer=fsdp, which splits weights and writes ordinary checkpoints, or trainer=ddp",
        )
    if not isinstance(strategy, dict) or not str(strategy.get("_target_", "")).endswith(".ShardedStrategy"):
        return
    if config.get("stage") not in ("vqvae", "var"):
        yield Problem(
            f"trainer=fsdp splits tokenizers and transformers; stage={config.get('stage')} fits any GPU whole",
            "use trainer=ddp (every GPU) or trainer=gpu (one)",
        )
    if select(config, "trainer.precision") == "16-mixed":
        yield Problem(
            "trainer=fsdp with trainer.precision=16-mixed: the loss scale would differ between processes",
            "set trainer.precision=bf16-mixed, or 32-true on GPUs without bfloat16",
        )
    if config.get("compile") is True:
        yield Problem(
            "trainer=fsdp with compile=true: a net is compiled whole, and gathered in parts",
            "set compile=false, or use trainer=ddp",
        )


@cross_check
def run_has_an_end(config: Config) -> Iterator[Problem]:
    """Schedules follow the length of the run, so it must be known."""
    trainer = config.get("trainer")
    if not isinstance(trainer, dict) or "max_steps" not in trainer:
        return
    if trainer["max_steps"] in (-1, None) and trainer.get("max_epochs") in (-1, None):
        yield Problem(
            "trainer.max_steps=-1 and trainer.max_epochs=-1: the run would have no end, and the learning rate follows"
            " its length (trainer.max_time only cuts it short)",
            "set trainer.max_steps, e.g. 600",
        )


@cross_check
def prepared_size_is_image_size(config: Config) -> Iterator[Problem]:
    """Measurements describe the prepared image, so it must be the image the model sees."""
    prepared, image_size = select(config, "data.prepare.image_size"), config.get("image_size")
    if isinstance(prepared, int) and isinstance(image_size, int) and prepared != image_size:
        yield Problem(
            f"data.prepare.image_size={prepared}, but image_size={image_size}",
            "remove data.prepare.image_size or write ${image_size} there; then run lfvar.prepare again",
        )


@cross_check
def frozen_parts_have_no_learning_rate(config: Config) -> Iterator[Problem]:
    """Asking for a rate of the encoder means to train it; the decoder alone is what published weights get.

    `codebook_factor` is part of the recipe from scratch, so it says nothing of what a user means.
    """
    model, optim = config.get("model"), config.get("optim")
    if not isinstance(model, dict) or not isinstance(optim, dict):
        return
    train, init = setting(model, "train"), setting(model, "init")
    if not (train == "decoder" or (train == "auto" and init == "published")):
        return
    factor = setting(optim, "encoder_factor")
    if isinstance(factor, (int, float)) and factor != 1:
        yield Problem(
            f"optim.encoder_factor={factor} moves nothing: model.train={train} with model.init={init} trains the"
            " decoder alone",
            "set model.train=all to train encoder and codebook too (tokens change), or optim=vqvae_finetune",
        )


def _is_sizes(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(type(size) is int for size in value)
