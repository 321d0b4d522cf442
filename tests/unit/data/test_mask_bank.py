import numpy as np
import pytest

from lfvar.data.manifest import Manifest
from lfvar.data.mask_bank import MaskBank, move_mask, touches_edge
from lfvar.errors import ArtefactError, ConfigError, DataError


def test_masks_are_found_by_size(phantom_folder):
    bank = MaskBank.read(phantom_folder)
    train = {row.image_id for row in Manifest.read(phantom_folder).select("train")}
    assert len(bank) == len(train)
    sizes = np.array(sorted(row.lesion_fraction for row in bank.rows))
    for wanted in (sizes[0], sizes[len(sizes) // 2], sizes[-1]):
        found = bank.nearest(wanted, among=1)
        assert found.relative_area == pytest.approx(wanted)
        assert found.image_id in train
    some = {bank.nearest(0.15, seed=seed, among=4).image_id for seed in range(20)}
    nearest = sorted(bank.rows, key=lambda row: abs(np.log(row.lesion_fraction / 0.15)))[:4]
    assert some == {row.image_id for row in nearest}
    assert bank.nearest(0.15, seed=3).image_id == bank.nearest(0.15, seed=3).image_id


def test_a_type_has_its_own_outlines(phantom_folder):
    bank = MaskBank.read(phantom_folder)
    labels = {row.label for row in bank.rows}
    for label in labels:
        assert bank.nearest(0.2, label=label, seed=1).label == label
    with pytest.raises(ConfigError, match="no mask of type 'wart'"):
        bank.nearest(0.2, label="wart")


def test_masks_move_to_where_they_are_wanted(phantom_folder):
    bank = MaskBank.read(phantom_folder)
    moved = bank.nearest(0.05, centre=(0.75, 0.25), among=1)
    still = next(row for row in bank.rows if row.image_id == moved.image_id)
    assert moved.relative_area == pytest.approx(still.lesion_fraction)
    assert moved.mask_HW.mean() == pytest.approx(still.lesion_fraction)  # nothing left the image
    y, x = np.nonzero(moved.mask_HW)
    assert x.mean() / 16 > 0.5
    assert y.mean() / 16 < 0.5


def test_moving_is_clamped_at_the_edges():
    mask = np.zeros((10, 12), bool)
    mask[4:7, 5:9] = True
    corner = move_mask(mask, 1.0, 0.0)
    assert np.argwhere(corner).min(axis=0).tolist() == [0, 8]
    assert corner.sum() == mask.sum()
    assert touches_edge(corner)
    assert not touches_edge(mask)
    assert np.array_equal(move_mask(corner, 7 / 12, 5.5 / 10), mask)


def test_what_is_missing_is_said(phantom_folder, tmp_path):
    rows = Manifest.read(phantom_folder).rows
    with pytest.raises(ArtefactError, match="missing mask"):
        MaskBank(tmp_path, rows).nearest(0.1)
    with pytest.raises(DataError, match="no masks"):
        MaskBank(tmp_path, [])
