"""It learns: a few images by heart, and a codebook that starts where the features are."""

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything

from lfvar.data.datamodule import LesionDataModule
from lfvar.data.loading import LoaderConfig
from lfvar.data.manifest import Manifest
from lfvar.lit.codebook import CodebookConfig
from lfvar.lit.optim import OptimConfig
from lfvar.lit.vqvae_module import VQVAEModule
from lfvar.losses.tokenizer import TokenizerLossConfig
from lfvar.nn.vqvae import VQVAEConfig

NET = VQVAEConfig(32, (1, 2), 1, 8, 64, (1, 2, 4), stem_stride=2)


def fit(folder, steps, init_step, overfit=4):
    seed_everything(0, verbose=False)
    data = LesionDataModule(folder, Manifest.read(folder), LoaderConfig(batch_size=4, overfit=overfit, num_workers=0))
    module = VQVAEModule(
        NET,
        TokenizerLossConfig(focus_pixel=1.0, focus_quantisation=1.0, focus_residual=0.25),
        OptimConfig(lr=2e-3, warmup_steps=5),
        CodebookConfig(init_step=init_step, init_images=4),
    )
    trainer = Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        limit_val_batches=1,
        check_val_every_n_epoch=steps,
    )
    trainer.fit(module, datamodule=data)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}, module, trainer


@pytest.mark.slow
def test_four_images_are_learned_by_heart(phantom_folder):
    metrics, _, trainer = fit(phantom_folder, steps=150, init_step=20)
    assert trainer.global_step == 150
    assert metrics["val/psnr_all"] > 26
    assert metrics["val/psnr_inside"] > 24
    assert metrics["codebook/usage_4x4"] > 0.15


def test_codebook_starts_on_the_features_once(phantom_folder):
    torch.manual_seed(0)
    _, started, _ = fit(phantom_folder, steps=1, init_step=0)
    _, random, _ = fit(phantom_folder, steps=1, init_step=-1)
    spread = [m.net.quantiser.codebook.weight.detach().std().item() for m in (started, random)]
    assert spread[0] > 3 * spread[1]  # the random start is tiny (±C^-0.5/36)
