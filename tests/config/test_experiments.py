"""Every shipped experiment composes, is valid, builds, and takes two steps."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from lfvar.config import build, compose
from lfvar.data.datamodule import LesionDataModule
from lfvar.data.loading import LoaderConfig
from lfvar.data.manifest import Manifest
from lfvar.errors import ConfigError
from lfvar.nn.var import VAR
from lfvar.nn.vqvae import VQVAEConfig
from lfvar.stages import build_tokenizer_module
from published_layout import write_published

CONF = Path(__file__).parents[2] / "conf"
PIPELINES = ["demo", "ham10000"]  # of lfvar.pipeline: tests/cli/test_pipeline_command.py
EXPERIMENTS = sorted({path.stem for path in (CONF / "experiment").glob("*.yaml")} - set(PIPELINES))
TOKENIZERS = [name for name in EXPERIMENTS if name.startswith("vqvae")]
TRANSFORMERS = [
    name for name in EXPERIMENTS if name.startswith("var")
]  # two steps of these: tests/train/test_transformer.py
JUDGES = [name for name in EXPERIMENTS if name.startswith(("classifier", "segmenter"))]  # in tests of their own
# What makes paper-scale experiments small enough for any machine; everything else stays as shipped.
SMALL = [
    "image_size=32",
    "model.channels=16",
    "model.channel_multipliers=[1,2]",
    "model.stem_stride=4",
    "model.num_res_blocks=1",
    "model.patch_nums=[1,2,4]",
    "model.vocab_size=64",
]
# The published layout has no stem, so these get their stride from more levels.
FINETUNING = {"vqvae_finetune", "vqvae_finetune_512"}
SMALL_PUBLISHED = {"model.channel_multipliers=[1,2]": "model.channel_multipliers=[1,1,2,2]", "model.stem_stride=4": ""}


def names(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def needed(experiment, weights="/weights.pth"):
    """What an experiment does not run without."""
    return ["data.root=/data", *([f"model.weights={weights}"] if experiment in FINETUNING else [])]


@pytest.mark.filterwarnings("ignore:.*no-op")  # nothing is copied to the meta device
@pytest.mark.parametrize("experiment", TOKENIZERS)
def test_composes_as_shipped(experiment, tmp_path):
    weights = tmp_path / "published.pth"
    if experiment in FINETUNING:
        write_published(weights, VQVAEConfig(), fill=0.0)  # the published sizes, without their 400 MB
    cfg = compose("train", [f"experiment={experiment}", "trainer=cpu", *needed(experiment, weights)])
    assert cfg.stage == "vqvae"
    with torch.device("meta"):
        module = build_tokenizer_module(cfg)
    assert module.net.config.image_size == cfg.image_size


@pytest.mark.parametrize("experiment", TRANSFORMERS)
def test_transformers_compose_as_shipped(experiment):
    cfg = compose("train", [f"experiment={experiment}", "trainer=cpu", "data.root=/data", "tokenizer=/weights.pth"])
    assert cfg.stage == "var"
    with torch.device("meta"):
        net = VAR(build(cfg.model).sizes)
    stride = 8 if cfg.image_size == 64 else 16
    assert net.config.patch_nums[-1] * stride == cfg.image_size


def test_no_experiment_is_left_out():
    assert sorted(TOKENIZERS + TRANSFORMERS + JUDGES) == EXPERIMENTS


@pytest.mark.parametrize("experiment", TOKENIZERS)
def test_takes_two_steps(experiment, phantom_folder, tmp_path):
    small, weights = SMALL, tmp_path / "published.pth"
    if experiment in FINETUNING:
        small = list(filter(None, (SMALL_PUBLISHED.get(override, override) for override in SMALL)))
        sizes = {"channels": 16, "channel_multipliers": (1, 1, 2, 2), "num_res_blocks": 1, "vocab_size": 64}
        write_published(weights, VQVAEConfig(**sizes, patch_nums=(1, 2, 4)))
    overrides = [*small, *needed(experiment, weights), "codebook.init_step=1"]
    cfg = compose("train", [f"experiment={experiment}", "trainer=cpu", *overrides])
    module = build_tokenizer_module(cfg)
    manifest = Manifest.read(phantom_folder)
    data = LesionDataModule(phantom_folder, manifest, LoaderConfig(batch_size=4, num_workers=0))
    for dataset in (data.train_dataset, data.val_dataset):  # 16-px phantoms, enlarged to the experiment's 32
        dataset.transform = enlarge(dataset.transform)
    before = module.net.decoder.conv_in.weight.detach().clone()
    tokens = [parameter.detach().clone() for parameter in token_weights(module.net)]
    trainer = Trainer(
        max_steps=2, accelerator="cpu", precision=cfg.trainer.precision, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False, limit_val_batches=1,
        default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 2
    assert not torch.equal(before, module.net.decoder.conv_in.weight)
    assert all(parameter.isfinite().all() for parameter in module.net.parameters())
    same = [torch.equal(*pair) for pair in zip(tokens, token_weights(module.net), strict=True)]
    assert all(same) if experiment in FINETUNING else not any(same)


@pytest.mark.parametrize("experiment", sorted(FINETUNING))
def test_missing_weights_are_asked_for(experiment):
    with pytest.raises(ConfigError, match="init=published starts from a file") as caught:
        compose("train", [f"experiment={experiment}", "trainer=cpu", "data.root=/data"])
    assert "model.weights=" in caught.value.cure


def token_weights(net):
    """What token ids depend on, as far as it is trained from scratch."""
    used = [net.quantiser.phi[index] for index in set(net.quantiser.phi_of_scale)]
    parts = [net.encoder, net.to_latent, net.quantiser.codebook, *used]
    return [parameter for part in parts for parameter in part.parameters()]


@pytest.mark.parametrize("debug", names("debug"))
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_debug_group_fits_every_experiment(experiment, debug):
    compose("train", [f"experiment={experiment}", f"debug={debug}", "trainer=cpu", *needed(experiment)])


def enlarge(transform):
    def apply(image, mask, seed):
        image, mask = transform(image, mask, seed)
        return image.repeat(2, 0).repeat(2, 1), mask.repeat(2, 0).repeat(2, 1)

    return apply


@pytest.mark.parametrize(
    "group",
    [
        "data",
        "model",
        "loss",
        "perceptual",
        "adversary",
        "optim",
        "codebook",
        "trainer",
        "callbacks",
        "logger",
        "debug",
    ],
)
def test_every_option_of_every_group_is_valid(group):
    for option in names(group):
        if option == "base":
            continue
        overrides = ["experiment=vqvae", f"{group}={option}", "data.root=/data"]
        if group == "model" and option in ("vqvae_256", "vqvae_512"):
            overrides.append(f"image_size={option.rsplit('_', 1)[1]}")
        if group == "trainer" and option in ("gpu", "ddp", "fsdp", "slurm"):
            overrides.append("trainer.accelerator=gpu")
        compose("train", overrides)
