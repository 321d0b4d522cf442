"""Every shipped experiment composes, is valid, builds, and takes two steps."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from lfvar.config import compose
from lfvar.data.datamodule import LesionDataModule, LoaderConfig
from lfvar.data.manifest import Manifest
from lfvar.train import build_module

CONF = Path(__file__).parents[2] / "conf"
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
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


def names(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_composes_as_shipped(experiment):
    cfg = compose("train", [f"experiment={experiment}", "trainer=cpu", "data.root=/data"])
    assert cfg.stage == "vqvae"
    with torch.device("meta"):
        module = build_module(cfg)
    assert module.net.config.image_size == cfg.image_size


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_takes_two_steps(experiment, phantom_folder, tmp_path):
    cfg = compose(
        "train", [f"experiment={experiment}", "trainer=cpu", *SMALL, "data.root=/data", "codebook.init_step=1"]
    )
    module = build_module(cfg)
    manifest = Manifest.read(phantom_folder)
    data = LesionDataModule(phantom_folder, manifest, LoaderConfig(batch_size=4, num_workers=0))
    for dataset in (data.train_dataset, data.val_dataset):  # 16-px phantoms, enlarged to the experiment's 32
        dataset.transform = enlarge(dataset.transform)
    before = module.net.decoder.conv_in.weight.detach().clone()
    trainer = Trainer(
        max_steps=2, accelerator="cpu", precision=cfg.trainer.precision, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False, limit_val_batches=1,
        default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 2
    assert not torch.equal(before, module.net.decoder.conv_in.weight)
    assert all(parameter.isfinite().all() for parameter in module.net.parameters())


@pytest.mark.parametrize("debug", names("debug"))
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_debug_group_fits_every_experiment(experiment, debug):
    compose("train", [f"experiment={experiment}", f"debug={debug}", "trainer=cpu", "data.root=/data"])


def enlarge(transform):
    def apply(image, mask, seed):
        image, mask = transform(image, mask, seed)
        return image.repeat(2, 0).repeat(2, 1), mask.repeat(2, 0).repeat(2, 1)

    return apply


@pytest.mark.parametrize(
    "group", ["data", "model", "loss", "optim", "codebook", "trainer", "callbacks", "logger", "debug"]
)
def test_every_option_of_every_group_is_valid(group):
    for option in names(group):
        if option == "base":
            continue
        overrides = ["experiment=vqvae", f"{group}={option}", "data.root=/data"]
        if group == "model" and option != "vqvae_64":
            overrides.append(f"image_size={option.rsplit('_', 1)[1]}")
        if group == "trainer" and option in ("gpu", "ddp"):
            overrides.append("trainer.accelerator=gpu")
        compose("train", overrides)
