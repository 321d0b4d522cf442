import math

import pytest
import torch

from lfvar.losses.segmentation import SegmentationLossConfig, segmentation_terms, soft_dice

BOTH = SegmentationLossConfig()


def square(size):
    mask_11HW = torch.zeros(1, 1, 8, 8)
    mask_11HW[..., :size, :size] = 1
    return mask_11HW


def test_closed_form_of_an_undecided_net():
    mask_B1HW = torch.cat([square(2), square(4)])
    terms = segmentation_terms(torch.zeros(2, 1, 8, 8), mask_B1HW, SegmentationLossConfig(bce=3.0, dice=0.5))
    assert terms["bce"].item() == pytest.approx(3 * math.log(2))
    # p = ½ everywhere: (2·a/2 + 1) / (64/4 + a + 1) for a lesion of a pixels
    dice = [(a + 1) / (17 + a) for a in (4, 16)]
    assert terms["dice"].item() == pytest.approx(0.5 * (1 - sum(dice) / 2))


def test_soft_dice_of_masks():
    assert soft_dice(square(4), square(4)).item() == 1
    assert soft_dice(square(0), square(0)).item() == 1
    assert soft_dice(square(4), square(2), smooth=0).item() == pytest.approx(2 * 4 / (16 + 4))
    assert soft_dice(1 - square(4), square(4), smooth=0).item() == 0


def test_small_lesions_count_as_much_as_large_ones():
    """Missing one of two lesions costs half, whichever it is."""
    mask_B1HW = torch.cat([square(2), square(7)])
    costs = []
    for missed in (0, 1):
        found = mask_B1HW.clone()
        found[missed] = 0
        costs.append(segmentation_terms(found * 40 - 20, mask_B1HW, BOTH)["dice"].item())
    assert costs[0] == pytest.approx(0.5 * (1 - 1 / 5), abs=1e-3)
    assert costs[1] == pytest.approx(0.5 * (1 - 1 / 50), abs=1e-3)


def test_half_precision_is_left():
    terms = segmentation_terms(torch.full((1, 1, 8, 8), -30.0, dtype=torch.bfloat16), square(0), BOTH)
    assert all(term.dtype == torch.float32 for term in terms.values())
    assert terms["bce"].item() < 1e-6


def test_strengths_are_checked():
    with pytest.raises(ValueError, match="not both 0"):
        SegmentationLossConfig(bce=0, dice=0)
    with pytest.raises(ValueError, match="at least 0"):
        SegmentationLossConfig(bce=-1)
