from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from lfvar.callbacks.best_weights import BestWeights
from lfvar.callbacks.ema import EMA
from lfvar.data.loading import LoaderConfig
from lfvar.data.manifest import Manifest
from lfvar.data.mixing import MixedDataModule
from lfvar.errors import ArtefactError, ConfigError
from lfvar.interop.checkpoints import load_vqvae, read_checkpoint
from lfvar.interop.classifiers import load_classifier
from lfvar.lit.classifier_module import ClassifierModule
from lfvar.lit.optim import OptimConfig
from lfvar.losses.classes import ClassLossConfig, class_loss
from lfvar.metrics.classification import score_classes
from lfvar.nn.classifier import ClassifierConfig

TINY = ClassifierConfig(image_size=16, channels=16, channel_multipliers=(1, 2), stem_stride=2, dropout=0.0)
OPTIM = OptimConfig(lr=3e-3, warmup_steps=2, clip_norm=1.0)
CONFIG = LoaderConfig(batch_size=8, num_workers=0, augment="none", balanced=True)


@pytest.fixture
def data(phantom_folder):
    return MixedDataModule(phantom_folder, Manifest.read(phantom_folder), CONFIG)


def module_for(data, model=TINY, optim=OPTIM):
    torch.manual_seed(0)
    return ClassifierModule(model, ClassLossConfig(), optim, data.classes, data.description, seed=0)


def trainer_for(folder, steps, callbacks=()):
    best = ModelCheckpoint(folder, filename="best", monitor="val/balanced_accuracy", mode="max")
    return Trainer(
        max_steps=steps, accelerator="cpu", logger=False, callbacks=[EMA(0.9), best, *callbacks],
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False, num_sanity_val_steps=1,
        check_val_every_n_epoch=None, val_check_interval=max(steps // 2, 1), default_root_dir=folder,
    )  # fmt: skip


@pytest.fixture
def trained(data, tmp_path):
    trainer = trainer_for(tmp_path, 4, [BestWeights()])
    module = module_for(data)
    trainer.fit(module, datamodule=data)
    return trainer, module, tmp_path / "best.ckpt"


def test_a_few_images_are_learned(phantom_folder, tmp_path):
    config = replace(CONFIG, overfit=8, balanced=False)
    data = MixedDataModule(phantom_folder, Manifest.read(phantom_folder), config)
    module, trainer = module_for(data), trainer_for(tmp_path, 60)
    trainer.fit(module, datamodule=data)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert metrics["val/accuracy"] == metrics["val/balanced_accuracy"] == metrics["val/macro_auc"] == 1
    assert metrics["val/loss"] < 0.5
    shown = {data.classes[label] for label in (data.val_dataset[n].label for n in range(8))}
    assert {name for name in metrics if "recall" in name} == {f"val/recall_{name}" for name in shown}


def test_label_smoothing_by_hand():
    logits_BC, label_B = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([0])
    log_p_C = logits_BC.log_softmax(1)[0]
    target_C = torch.tensor([0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3])
    expected = -(target_C * log_p_C).sum()
    torch.testing.assert_close(class_loss(logits_BC, label_B, ClassLossConfig(0.1)), expected)
    with pytest.raises(ValueError, match="label_smoothing"):
        ClassLossConfig(1.0)


def test_a_checkpoint_loads_without_the_module(trained, data):
    _, _, path = trained
    loaded = load_classifier(path)
    assert loaded.classes == data.classes
    assert loaded.image_size == 16
    assert loaded.about["trained_on"] == data.description
    assert loaded.about["step"] in (2, 4)
    assert not loaded.net.training
    last = load_classifier(path, "last")
    assert not torch.equal(loaded.net.body.head.weight, last.net.body.head.weight)
    # its scores are those of its averaged weights on the validation split
    samples = [data.val_dataset[index] for index in range(len(data.val_dataset))]
    with torch.no_grad():
        logits_NC = loaded.net(torch.stack([sample.image_CHW for sample in samples])).numpy()
    label_N = np.array([sample.label for sample in samples])
    expected = score_classes(logits_NC, label_N, data.classes, num_resamples=0).to_dict(intervals=False)
    stored = loaded.about["scores"]
    assert stored == {f"val/{name}": pytest.approx(value, abs=1e-4) for name, value in expected.items()}


def test_the_test_split_is_scored_with_the_best_weights(trained, data):
    trainer, module, path = trained
    before = {name: tensor.clone() for name, tensor in module.net.state_dict().items()}
    trainer.test(module, datamodule=data, verbose=False)
    tested = {name: float(value) for name, value in trainer.callback_metrics.items()}
    net = load_classifier(path).net
    samples = [data.test_dataset[index] for index in range(len(data.test_dataset))]
    with torch.no_grad():
        logits_NC = net(torch.stack([sample.image_CHW for sample in samples])).numpy()
    lesions = [row.lesion_id for row in data.test_dataset.rows]
    labels = np.array([sample.label for sample in samples])
    expected = score_classes(logits_NC, labels, data.classes, lesion_N=lesions).to_dict()
    assert tested == {f"test/{name}": pytest.approx(value, abs=1e-4) for name, value in expected.items()}
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.net.state_dict().items())


def test_without_a_best_checkpoint_the_weights_are_tested_as_they_are(data, tmp_path):
    trainer = Trainer(accelerator="cpu", logger=False, callbacks=[BestWeights()], enable_progress_bar=False,
                      enable_model_summary=False, use_distributed_sampler=False, default_root_dir=tmp_path)  # fmt: skip
    (scores,) = trainer.test(module_for(data), datamodule=data, verbose=False)
    assert 0 <= scores["test/balanced_accuracy_low"] <= scores["test/balanced_accuracy"] <= 1


def test_resuming_gives_the_same_weights(data, phantom_folder, tmp_path):
    class SaveThird(Callback):
        def on_train_batch_end(self, trainer, pl_module, *rest):
            if trainer.global_step == 3:
                trainer.save_checkpoint(tmp_path / "three.ckpt")

    model = replace(TINY, dropout=0.3)
    module = module_for(data, model)
    trainer_for(tmp_path / "a", 6, [SaveThird()]).fit(module, datamodule=data)
    again = MixedDataModule(phantom_folder, Manifest.read(phantom_folder), CONFIG)
    resumed = module_for(again, model)
    trainer = trainer_for(tmp_path / "b", 6)
    trainer.fit(resumed, datamodule=again, ckpt_path=tmp_path / "three.ckpt", weights_only=True)
    assert trainer.global_step == 6
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), resumed.parameters(), strict=True))


def test_what_does_not_fit_is_refused(trained, data, tmp_path):
    _, module, path = trained
    with pytest.raises(ConfigError, match=r"num_classes=3.*7 types"):
        module_for(data, replace(TINY, num_classes=3))
    with pytest.raises(ConfigError, match=r"codebook_factor=4\.0 moves nothing"):
        module_for(data, optim=replace(OPTIM, codebook_factor=4.0))
    checkpoint = read_checkpoint(path)
    with pytest.raises(ArtefactError, match="channels: checkpoint 16, this run 8"):
        module_for(data, replace(TINY, channels=8)).on_load_checkpoint(checkpoint)
    checkpoint["lfvar"]["classes"] = checkpoint["lfvar"]["classes"][::-1]
    with pytest.raises(ArtefactError, match="knows the types vasc"):
        module.on_load_checkpoint(checkpoint)
    with pytest.raises(ArtefactError, match="holds a classifier, not a tokenizer"):
        load_vqvae(path)
    checkpoint["lfvar"]["kind"] = "var"
    torch.save(checkpoint, tmp_path / "var.ckpt")
    with pytest.raises(ArtefactError, match="holds a var, not a classifier"):
        load_classifier(tmp_path / "var.ckpt")
    checkpoint["lfvar"] |= {"kind": "classifier", "model": {"depth": 3}}
    torch.save(checkpoint, tmp_path / "newer.ckpt")
    with pytest.raises(ArtefactError, match="does not know"):
        load_classifier(tmp_path / "newer.ckpt")


def test_batch_norms_of_library_networks_see_the_whole_batch_on_gpus(data):
    module = module_for(data)
    module.net.net = nn.BatchNorm2d(3)
    for device, expected in (("cpu", nn.BatchNorm2d), ("cuda", nn.SyncBatchNorm)):
        strategy = SimpleNamespace(root_device=torch.device(device))
        module._trainer = SimpleNamespace(world_size=2, strategy=strategy)
        module.setup("fit")
        assert type(module.net.net) is expected
