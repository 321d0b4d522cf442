import dataclasses
import pickle
import shutil
from collections import Counter

import numpy as np
import pytest
import torch

from lfvar.data.generated import GeneratedRow, write_generated
from lfvar.data.imageio import read_image, write_png
from lfvar.data.loading import LoaderConfig
from lfvar.data.manifest import Manifest
from lfvar.data.mixing import MixedDataModule, SyntheticImages, fill_up
from lfvar.errors import ArtefactError, ConfigError, DataError

CONFIG = LoaderConfig(batch_size=4, num_workers=0, augment="none", balanced=True)


@pytest.fixture
def real(phantom_folder):
    return Manifest.read(phantom_folder)


def write_made(folder, phantom_folder, real, change=lambda row: row, **header):
    """A generated folder: black copies of the real training images, under their ids."""
    rows = []
    for row in real.select("train"):
        image = read_image(phantom_folder / row.image)
        (folder / row.image).parent.mkdir(parents=True, exist_ok=True)
        (folder / row.mask).parent.mkdir(parents=True, exist_ok=True)
        write_png(folder / row.image, np.zeros_like(image))
        shutil.copy(phantom_folder / row.mask, folder / row.mask)
        rows.append(change(row))
    made = Manifest(dataclasses.replace(real.header, name="generated", **header), tuple(rows))
    made.write(folder)
    return folder


@pytest.fixture
def made(tmp_path, phantom_folder, real):
    return write_made(tmp_path / "made", phantom_folder, real)


def mixed(phantom_folder, real, made, train_on, config=CONFIG):
    synthetic = None if made is None else SyntheticImages.read(made, real)
    return MixedDataModule(phantom_folder, real, config, synthetic, train_on)


def black(batch):
    return (batch.image_BCHW == -1).flatten(1).all(dim=1)


def test_loading_processes_read_the_same_images_on_every_system(phantom_folder, real, made):
    """macOS starts them by spawning, which pickles the dataset."""
    data = mixed(phantom_folder, real, made, "both").train_dataset
    copy = pickle.loads(pickle.dumps(data))
    num = len(real.select("train"))
    assert [bool((copy[index].image_CHW == -1).all()) for index in range(2 * num)] == [False] * num + [True] * num
    assert torch.equal(copy[-1].image_CHW, data[2 * num - 1].image_CHW)


@pytest.mark.parametrize(("train_on", "share"), [("real", 0.0), ("synthetic", 1.0), ("both", 0.5)])
def test_what_training_sees(phantom_folder, real, made, train_on, share):
    data = mixed(phantom_folder, real, made, train_on)
    num = len(real.select("train"))
    assert len(data.train_dataset) == (2 * num if train_on == "both" else num)
    loader = data.train_dataloader()
    seen = torch.cat([black(batch) for _ in range(4 if train_on == "both" else 2) for batch in loader])
    assert float(seen.float().mean()) == pytest.approx(share, abs=0.15)
    for evaluated in (data.val_dataloader(), data.test_dataloader()):
        assert not any(black(batch).any() for batch in evaluated)
    assert data.description["synthetic"] == (None if train_on == "real" else Manifest.read(made).hash)
    assert sum(data.description["num_images"].values()) == len(data.train_dataset)


def test_every_type_is_drawn_equally_often(phantom_folder, real, made):
    rare = real.select("train")[0].label
    kept = [row for row in real.rows if row.split != "train" or row.label != rare]
    kept += [row for row in real.select("train") if row.label == rare][:1]
    few = Manifest(real.header, tuple(sorted(kept, key=lambda row: row.image_id)))
    data = mixed(phantom_folder, few, made, "both")
    counts = Counter(label for batch in data.train_dataloader() for label in batch.label_B.tolist())
    assert max(counts.values()) - min(counts.values()) <= 1


def test_filling_up_tops_up_rare_types(real):
    rows = real.select("train")
    labels = sorted({row.label for row in rows})
    rare, frequent = labels[:2]
    counts = {rare: 1, frequent: 3}
    some = [row for label, count in counts.items() for row in [r for r in rows if r.label == label][:count]]
    made = [dataclasses.replace(rows[0], image_id=f"made_{n}", label=labels[n % 3]) for n in range(12)]
    chosen = Counter(row.label for row in fill_up(some, made, seed=0))
    assert chosen == {rare: 2, labels[2]: 3}
    assert fill_up(some, made, seed=0) == fill_up(some, made, seed=0)
    assert Counter(row.label for row in fill_up(some, made[:3], seed=0)) == {rare: 1, labels[2]: 1}


def test_images_of_held_out_skin_are_refused(phantom_folder, real, tmp_path):
    leak = real.select("test")[0]
    folder = write_made(
        tmp_path / "a", phantom_folder, real, lambda r: dataclasses.replace(r, lesion_id=leak.lesion_id)
    )
    with pytest.raises(DataError, match="validation or test split"):
        SyntheticImages.read(folder, real)
    # the other way to know: the table of what was generated
    folder = write_made(tmp_path / "b", phantom_folder, real, lambda r: dataclasses.replace(r, lesion_id=None))
    SyntheticImages.read(folder, real)
    described = [
        GeneratedRow(
            row.image_id, "intra", leak.image_id, leak.label, "test", row.label, 0, 0, None, "source", None, {}
        )
        for row in real.select("train")
    ]
    write_generated(folder, described, {})
    with pytest.raises(DataError, match="validation or test split"):
        SyntheticImages.read(folder, real)
    write_generated(folder, [dataclasses.replace(row, source_id=None) for row in described], {})
    SyntheticImages.read(folder, real)


def test_what_does_not_fit_is_refused(phantom_folder, real, made, tmp_path):
    with pytest.raises(ConfigError, match="synthetic names no folder"):
        mixed(phantom_folder, real, None, "both")
    with pytest.raises(ConfigError, match="no choice"):
        mixed(phantom_folder, real, made, "fake")
    with pytest.raises(ArtefactError, match="no manifest"):
        SyntheticImages.read(tmp_path / "absent", real)
    larger = write_made(tmp_path / "c", phantom_folder, real, image_size=32)
    with pytest.raises(DataError, match="32 px"):
        SyntheticImages.read(larger, real)
    classes = (*real.header.classes, "scc")
    other = write_made(
        tmp_path / "d", phantom_folder, real, lambda r: dataclasses.replace(r, label="scc"), classes=classes
    )
    with pytest.raises(DataError, match="types scc"):
        SyntheticImages.read(other, real)
    (made / real.select("train")[0].image).unlink()
    data = mixed(phantom_folder, real, made, "synthetic")
    with pytest.raises(ArtefactError, match=r"lfvar\.generate|generated image"):
        [data.train_dataset[index] for index in range(len(data.train_dataset))]


def test_a_run_goes_on_with_the_same_images_only(phantom_folder, real, made):
    state = mixed(phantom_folder, real, made, "both").state_dict()
    mixed(phantom_folder, real, made, "both").load_state_dict(state)
    for train_on in ("real", "synthetic"):
        with pytest.raises(ArtefactError, match="train_on both there"):
            mixed(phantom_folder, real, made, train_on).load_state_dict(state)
