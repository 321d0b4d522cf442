import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score

from lfvar.metrics.segmentation import MaskOverlap, overlap


def test_matches_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    found = torch.rand(5, 1, 7, 6, generator=generator) > 0.6
    mask = torch.rand(5, 1, 7, 6, generator=generator) > 0.4
    values = overlap(found, mask.float())
    pairs = list(zip(mask.flatten(1).numpy(), found.flatten(1).numpy(), strict=True))
    np.testing.assert_allclose(values["dice"], [f1_score(*pair) for pair in pairs], rtol=1e-6)
    np.testing.assert_allclose(values["iou"], [jaccard_score(*pair) for pair in pairs], rtol=1e-6)


def test_empty_masks_are_defined():
    none, some = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    assert {name: value.item() for name, value in overlap(none, none).items()} == {"dice": 1, "iou": 1}
    assert {name: value.item() for name, value in overlap(some, none).items()} == {"dice": 0, "iou": 0}
    assert {name: value.item() for name, value in overlap(none, some).items()} == {"dice": 0, "iou": 0}


def test_batches_make_no_difference():
    torch.manual_seed(0)
    found, mask = torch.rand(9, 1, 8, 8) > 0.5, torch.rand(9, 1, 8, 8) > 0.3
    whole, parts = MaskOverlap(), MaskOverlap()
    whole.update(found, mask)
    for index in (slice(6, 9), slice(0, 1), slice(1, 6)):
        parts.update(found[index], mask[index])
    assert whole.compute() == parts.compute()
    values = overlap(found, mask)
    assert whole.compute()["dice"].item() == pytest.approx(values["dice"].mean().item())
    assert whole.compute()["iou_median"].item() == values["iou"].median().item()
