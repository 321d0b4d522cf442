import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lfvar import processes
from lfvar.data import datamodule
from lfvar.data.datamodule import LesionDataModule
from lfvar.data.dataset import LesionDataset
from lfvar.data.loading import LoaderConfig
from lfvar.data.manifest import Manifest
from lfvar.data.transforms import Transform
from lfvar.errors import ArtefactError, DataError


@pytest.fixture
def manifest(phantom_folder):
    return Manifest.read(phantom_folder)


def module(folder, manifest, **options):
    return LesionDataModule(folder, manifest, LoaderConfig(num_workers=0, **options))


def test_batches_keep_the_contract(phantom_folder, manifest):
    data = module(phantom_folder, manifest, batch_size=5)
    batch = next(iter(data.train_dataloader()))
    assert batch.image_BCHW.shape == (5, 3, 16, 16)
    assert batch.image_BCHW.dtype == torch.float32
    assert -1 <= batch.image_BCHW.min() < batch.image_BCHW.max() <= 1
    assert batch.mask_B1HW.shape == (5, 1, 16, 16)
    assert set(batch.mask_B1HW.unique().tolist()) <= {0.0, 1.0}
    assert batch.label_B.dtype == torch.int64
    assert batch.measurements_BM.shape == batch.present_BM.shape == (5, 0)
    labels = {row.image_id: manifest.header.classes.index(row.label) for row in manifest.rows}
    assert [labels[i] for i in batch.image_id] == batch.label_B.tolist()


def test_a_killed_run_goes_on_with_the_same_samples(phantom_folder, manifest):
    def take(data, count):
        loader, out = data.train_dataloader(), []
        while len(out) < count:
            for batch in loader:
                out.append(batch)
                if len(out) == count:
                    break
        return out

    whole = take(module(phantom_folder, manifest, batch_size=16), 9)
    first = module(phantom_folder, manifest, batch_size=16)
    take(first, 4)
    resumed = module(phantom_folder, manifest, batch_size=16)
    resumed.load_state_dict(first.state_dict())
    for ours, theirs in zip(take(resumed, 5), whole[4:], strict=True):
        assert ours.image_id == theirs.image_id
        assert torch.equal(ours.image_BCHW, theirs.image_BCHW)  # augmentation included


def test_workers_change_nothing(phantom_folder, manifest):
    alone = next(iter(module(phantom_folder, manifest, batch_size=8).train_dataloader()))
    data = LesionDataModule(phantom_folder, manifest, LoaderConfig(batch_size=8, num_workers=2))
    loader = data.train_dataloader()
    iterator = iter(loader)
    helped = next(iterator)
    assert torch.equal(alone.image_BCHW, helped.image_BCHW)
    assert data.state_dict()["next_draw"] == 8  # what workers fetched ahead does not count
    iterator.close()


@pytest.mark.parametrize("split", ["train", "val"])
def test_errors_of_loading_processes_arrive_as_they_were(phantom_folder, manifest, tmp_path, split):
    data = LesionDataModule(tmp_path / "gone", manifest, LoaderConfig(batch_size=8, num_workers=1))
    with pytest.raises(ArtefactError, match="prepared image") as found:
        next(iter(data.train_dataloader() if split == "train" else data.val_dataloader()))
    assert found.value.cure == "run lfvar.prepare again with the same settings; it mends what is missing"


def test_processes_of_one_machine_share_its_cores(phantom_folder, manifest, monkeypatch):
    def workers(world_size, num_nodes=1):
        data = LesionDataModule(phantom_folder, manifest, LoaderConfig())
        strategy = SimpleNamespace(root_device=torch.device("cpu"))
        data.trainer = SimpleNamespace(world_size=world_size, num_nodes=num_nodes, strategy=strategy)
        return data._options()["num_workers"]

    for module in (datamodule, processes):
        monkeypatch.setattr(module, "usable_cores", lambda: 128)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    assert [workers(1), workers(8), workers(16, num_nodes=2)] == [64, 8, 8]
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "32")
    assert workers(8) == 16
    for module in (datamodule, processes):
        monkeypatch.setattr(module, "usable_cores", lambda: 8)  # bound to what SLURM gave this one
    assert workers(8) == 4


def test_examples_are_the_first_of_their_types(phantom_folder, manifest):
    batch = module(phantom_folder, manifest, batch_size=4).first_of_each_type()
    rows = manifest.select("val")
    types = list(dict.fromkeys(row.label for row in rows))
    assert batch.image_id == [next(row.image_id for row in rows if row.label == label) for label in types]


def test_loading_processes_start_on_every_system(phantom_folder, manifest):
    """macOS starts them by spawning, which pickles the dataset."""
    data = module(phantom_folder, manifest, batch_size=4)
    ours = [data.train_dataset[(3, 17)].image_CHW, pickle.loads(pickle.dumps(data.train_dataset))[(3, 17)].image_CHW]
    assert torch.equal(*ours)


def test_validation_sees_every_image_once(phantom_folder, manifest):
    data = module(phantom_folder, manifest, val_batch_size=4)
    seen = [image_id for batch in data.val_dataloader() for image_id in batch.image_id]
    assert sorted(seen) == sorted(row.image_id for row in manifest.select("val"))


def test_overfitting_trains_and_validates_the_same_plain_images(phantom_folder, manifest):
    data = module(phantom_folder, manifest, overfit=3, batch_size=3)
    train, val = next(iter(data.train_dataloader())), next(iter(data.val_dataloader()))
    assert sorted(train.image_id) == sorted(val.image_id)
    order = [train.image_id.index(image_id) for image_id in val.image_id]
    assert torch.equal(train.image_BCHW[order], val.image_BCHW)


@pytest.mark.parametrize("augment", ["crops", "symmetries"])
def test_mask_and_image_never_part(augment):
    rng = np.random.default_rng(0)
    mask = np.zeros((32, 32), np.uint8)
    mask[4:15, 8:30] = 1
    image = np.repeat(mask[..., None] * np.uint8(200), 3, axis=-1)
    image[..., 1] = rng.integers(0, 255, (32, 32))
    transform = Transform(augment, 32)
    seen = set()
    for seed in range(60):
        moved, moved_mask = transform(image, mask, seed)
        seen.add(moved_mask.tobytes())
        where = moved[..., 0] > 100
        assert (where != moved_mask.astype(bool)).mean() < 0.06  # resizing blurs the edge by a pixel
        again, again_mask = transform(image, mask, seed)
        assert (again == moved).all()
        assert (again_mask == moved_mask).all()
    assert len(seen) == 8 if augment == "symmetries" else len(seen) > 20


def test_symmetries_move_pixels_and_change_none():
    image = np.arange(16 * 16 * 3, dtype=np.uint32).astype(np.uint8).reshape(16, 16, 3)
    transform = Transform("symmetries", 16)
    for seed in range(20):
        moved, _ = transform(image, np.zeros((16, 16), np.uint8), seed)
        assert sorted(map(tuple, moved.reshape(-1, 3))) == sorted(map(tuple, image.reshape(-1, 3)))


def test_a_damaged_prepared_file_is_named(phantom_folder, manifest, tmp_path):
    row = manifest.rows[0]
    dataset = LesionDataset(tmp_path, [row], manifest.header.classes, 16)
    with pytest.raises(ArtefactError, match=row.image_id):
        dataset[0]


def test_empty_splits_are_refused(phantom_folder, manifest):
    from dataclasses import replace

    rows = tuple(row for row in manifest.rows if row.split != "val")
    with pytest.raises(DataError, match="no images in the val split"):
        module(phantom_folder, replace(manifest, rows=rows))


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"num_workers": -2}, {"augment": "colour"}, {"overfit": -1}])
def test_nonsense_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        LoaderConfig(**options)
