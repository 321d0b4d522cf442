"""Measurements in samples and batches."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from measured_phantom import measure_copy

from lfvar.data.datamodule import LesionDataModule
from lfvar.data.loading import LoaderConfig
from lfvar.data.manifest import Manifest
from lfvar.data.measurements import MeasurementRows, select_features
from lfvar.errors import ArtefactError, ConfigError, DataError
from lfvar.measure.extract import measure
from lfvar.measure.run import read_table
from lfvar.measure.schema import FEATURE_NAMES
from lfvar.measure.statistics import read_standardiser
from lfvar.measure.symmetry import SYMMETRIES


@pytest.fixture(scope="module")
def folder(phantom_folder, tmp_path_factory):
    return measure_copy(phantom_folder, tmp_path_factory.mktemp("measured") / "phantom")


@pytest.fixture(scope="module")
def manifest(folder):
    return Manifest.read(folder)


def module(folder, manifest, **options):
    options = {"num_workers": 0, "augment": "symmetries", "measurements": True, **options}
    return LesionDataModule(folder, manifest, LoaderConfig(**options))


def test_measurements_are_those_of_the_image_in_the_batch(folder, manifest):
    """Measure flipped and turned images anew: that is what the sample says."""
    data = module(folder, manifest)
    columns = [data.feature_names.index(f"clinical_centroid_{axis}") for axis in "xy"]
    plain, seen = module(folder, manifest, augment="none").train_dataset, set()
    for place in range(12):
        sample = data.train_dataset[(place % 4, place)]
        pixels = ((sample.image_CHW + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        found = measure(pixels, sample.mask_1HW[0].numpy() > 0)
        values = data.measurements.of_table(read_one(found, manifest), data.standardiser, data.feature_names).values_NM[
            0
        ]
        assert np.array_equal(found.present, sample.present_M.numpy())
        np.testing.assert_allclose(values, sample.measurements_M.numpy(), atol=1e-4)
        before = plain[place % 4]
        seen.add(
            (place % 4, *(sample.measurements_M[columns] - before.measurements_M[columns]).round(decimals=3).tolist())
        )
        still = np.setdiff1d(np.arange(len(FEATURE_NAMES)), columns)
        assert torch.equal(sample.measurements_M[still], before.measurements_M[still])
    assert len(seen) > 8  # the lesions did move


def read_one(found, manifest):
    return pd.DataFrame([{"image_id": manifest.rows[0].image_id, **found.as_dict()}])


def test_batches_hold_the_standardised_table(folder, manifest):
    data = module(folder, manifest, val_batch_size=5)
    values, present = read_standardiser(folder, manifest).transform(read_table(folder, manifest))
    row_of = {row.image_id: index for index, row in enumerate(manifest.rows)}
    for batch in data.val_dataloader():
        rows = [row_of[image_id] for image_id in batch.image_id]
        assert np.array_equal(batch.measurements_BM.numpy(), values[rows])
        assert np.array_equal(batch.present_BM.numpy(), present[rows])
        assert batch.measurements_BM.dtype == torch.float32
    assert data.feature_names == FEATURE_NAMES


def test_missing_measurements_are_zero_and_absent(folder, manifest):
    table = read_table(folder, manifest)
    table.loc[3, "clinical_centroid_x"] = np.nan
    table.loc[3, FEATURE_NAMES[40]] = np.nan
    x, y = (FEATURE_NAMES.index(f"clinical_centroid_{axis}") for axis in "xy")
    rows = MeasurementRows.of_table(table, read_standardiser(folder, manifest))
    for symmetry in range(8):
        values, present = rows.get(manifest.rows[3].image_id, symmetry)
        assert (~present).sum() == 2
        assert (values[~present] == 0).all()
        turned = SYMMETRIES[symmetry][0] % 2 == 1
        assert not present[y if turned else x]


def test_without_them_batches_are_as_they_were(folder, manifest):
    data = module(folder, manifest, measurements=False)
    batch = next(iter(data.train_dataloader()))
    assert batch.measurements_BM.shape == batch.present_BM.shape == (32, 0)
    assert (data.feature_names, data.feature_groups, data.standardiser) == ((), {}, None)


def test_features_and_groups_are_chosen_in_schema_order(folder, manifest):
    data = module(folder, manifest, features=("clinical_centroid_y", "shape", "histogram_mean", "shape"))
    names = data.feature_names
    assert names == tuple(n for n in FEATURE_NAMES if n.startswith("shape") or n in names)
    assert {"histogram_mean", "clinical_centroid_y"} < set(names)
    assert len(names) == 11
    assert data.feature_groups == {"shape": tuple(range(9)), "histogram": (9,), "clinical": (10,)}
    assert data.standardiser.names == names
    everything = module(folder, manifest)
    columns = [FEATURE_NAMES.index(name) for name in names]
    for place in range(8):  # a choice selects columns and changes none, moved positions included
        some, whole = data.train_dataset[(2, place)], everything.train_dataset[(2, place)]
        assert torch.equal(some.measurements_M, whole.measurements_M[columns])


@pytest.mark.parametrize(
    ("features", "words"), [(["shapes"], "did you mean shape"), (["clinical_rednes"], "rednes"), ([], "is empty")]
)
def test_unknown_features_are_named(features, words):
    with pytest.raises(ConfigError, match=words):
        LoaderConfig(augment="symmetries", measurements=True, features=features)
    assert select_features(None) == FEATURE_NAMES


def test_crops_are_refused():
    with pytest.raises(ConfigError, match="crop") as caught:
        LoaderConfig(measurements=True)
    assert "augment=symmetries" in caught.value.cure


def test_a_missing_table_names_the_command(phantom_folder):
    with pytest.raises(ArtefactError, match=r"measurements\.parquet") as caught:
        module(phantom_folder, Manifest.read(phantom_folder))
    assert "python -m lfvar.prepare" in caught.value.cure


def test_tables_of_other_images_or_splits_are_refused(folder, manifest):
    fewer = replace(manifest, rows=manifest.rows[1:])
    with pytest.raises(ArtefactError, match="other images") as caught:
        module(folder, fewer)
    assert "python -m lfvar.prepare" in caught.value.cure
    swapped = {"train": "val", "val": "train", "test": "test"}
    other = replace(manifest, rows=tuple(replace(row, split=swapped[row.split]) for row in manifest.rows))
    with pytest.raises(ArtefactError, match="another split"):
        module(folder, other)


def test_images_without_lesions_cannot_be_measured(folder, manifest):
    bare = replace(manifest, rows=tuple(replace(row, lesion_fraction=0.0) for row in manifest.rows))
    with pytest.raises(DataError, match="no masks"):
        module(folder, bare)


def test_balanced_training_is_kept_in_the_checkpoint(folder, manifest):
    data = module(folder, manifest, balanced=True, batch_size=14)
    loader = data.train_dataloader()
    labels = torch.cat([batch.label_B for batch in loader])
    counts = labels[: len(labels) // 7 * 7].bincount(minlength=7)
    assert counts.max() == counts.min()
    resumed = module(folder, manifest, balanced=True, batch_size=14)
    resumed.load_state_dict(data.state_dict())
    assert next(iter(resumed.train_dataloader())).image_id == next(iter(loader)).image_id
    with pytest.raises(ArtefactError, match="balanced True there, False here"):
        module(folder, manifest).load_state_dict(data.state_dict())
    old = {name: value for name, value in module(folder, manifest).state_dict().items() if name != "balanced"}
    module(folder, manifest).load_state_dict(old)
