from dataclasses import replace

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from lfvar.callbacks.ema import EMA
from lfvar.data.datamodule import LesionDataModule
from lfvar.data.loading import LoaderConfig
from lfvar.data.manifest import Manifest
from lfvar.errors import ArtefactError
from lfvar.interop.segmenters import load_segmenter
from lfvar.lit.optim import OptimConfig
from lfvar.lit.segmenter_module import SegmenterModule
from lfvar.lit.segmenter_recipe import SegmenterRecipe
from lfvar.nn.segmenter import SegmenterConfig

TINY = SegmenterConfig(image_size=16, channels=8, channel_multipliers=(1, 2), head_channels=4)
OPTIM = OptimConfig(lr=5e-3, warmup_steps=5)


def fit(folder, where, steps, *, model=TINY, ckpt=None, batch_size=16, accumulate=1):
    seed_everything(0, verbose=False)
    data = LesionDataModule(folder, Manifest.read(folder), LoaderConfig(batch_size=batch_size, num_workers=0))
    module = SegmenterModule(model, SegmenterRecipe(), replace(OPTIM, accumulate=accumulate))
    keep = ModelCheckpoint(where, "{step}", every_n_train_steps=4, save_top_k=-1)
    trainer = Trainer(
        max_steps=steps, accelerator="cpu", logger=False, callbacks=[EMA(0.9), keep], enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, num_sanity_val_steps=0, default_root_dir=where,
    )  # fmt: skip
    trainer.fit(module, datamodule=data, ckpt_path=ckpt, weights_only=True)
    return trainer, module, data


def test_phantom_lesions_are_found(phantom_folder, tmp_path):
    trainer, module, data = fit(phantom_folder, tmp_path, 60)
    (values,) = trainer.validate(module, datamodule=data, verbose=False)
    assert set(values) == {"val/dice", "val/dice_median", "val/iou", "val/iou_median"}
    assert values["val/dice"] > 0.8
    loaded = load_segmenter(tmp_path / "step=60.ckpt")
    assert loaded.net.config == TINY
    assert loaded.about["trained_on_manifest"] == data.manifest.hash
    image_BCHW = next(iter(data.val_dataloader())).image_BCHW
    with torch.no_grad():
        assert not torch.equal(loaded.net(image_BCHW), module.net(image_BCHW))  # the average, not the last
        last = load_segmenter(tmp_path / "step=60.ckpt", weights="last").net
        torch.testing.assert_close(last(image_BCHW).sigmoid(), module.eval()(image_BCHW))


def test_a_resumed_run_ends_where_the_whole_one_does(phantom_folder, tmp_path):
    _, whole, _ = fit(phantom_folder, tmp_path, 8)
    _, resumed, _ = fit(phantom_folder, tmp_path / "resumed", 8, ckpt=tmp_path / "step=4.ckpt")
    for ours, theirs in zip(whole.net.parameters(), resumed.net.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_batches_are_gathered(phantom_folder, tmp_path):
    trainer, module, _ = fit(phantom_folder, tmp_path, 4, batch_size=8, accumulate=2)
    assert trainer.global_step == 4
    assert module.gathered == 0


def test_another_model_is_refused(phantom_folder, tmp_path):
    fit(phantom_folder, tmp_path, 4)
    with pytest.raises(ArtefactError, match="head_channels: checkpoint 4, this run 8"):
        fit(phantom_folder, tmp_path, 8, model=replace(TINY, head_channels=8), ckpt=tmp_path / "step=4.ckpt")
