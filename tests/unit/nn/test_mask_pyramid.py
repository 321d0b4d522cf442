import pytest
import torch

from lfvar.nn.conditioning import Region
from lfvar.nn.mask_pyramid import overlap_pyramid, token_regions
from lfvar.scales import ScaleSchedule

SCHEDULE = ScaleSchedule((1, 2, 3, 5, 8))


def naive_overlap(mask, side):
    size = mask.shape[-1]
    out = torch.zeros(side, side, dtype=torch.bool)
    for y in range(side):
        for x in range(side):
            for py in range(size):
                for px in range(size):
                    # open intervals of cell and pixel overlap along both axes
                    rows = py * side < (y + 1) * size and (py + 1) * side > y * size
                    columns = px * side < (x + 1) * size and (px + 1) * side > x * size
                    out[y, x] |= rows and columns and bool(mask[py, px])
    return out.flatten()


@pytest.mark.parametrize("size", [4, 8, 16])
def test_any_overlap_counts(size):
    torch.manual_seed(0)
    mask = (torch.rand(2, 1, size, size) > 0.93).float()
    mask[:, :, 1, 2] = 1
    for level, side in zip(overlap_pyramid(mask, SCHEDULE), SCHEDULE.patch_nums, strict=True):
        assert torch.equal(level, torch.stack([naive_overlap(m[0], side) for m in mask]))


def test_one_pixel_is_seen_at_every_scale_and_by_its_own_sample_only():
    mask = torch.zeros(2, 1, 64, 64)
    mask[1, 0, 37, 5] = 1
    for level in overlap_pyramid(mask, SCHEDULE):
        assert level.sum(dim=1).tolist() == [0, 1]


def test_the_ring_is_one_token_wide():
    mask = torch.zeros(1, 1, 8, 8)
    mask[0, 0, 3, 3] = 1
    finest = overlap_pyramid(mask, SCHEDULE, ring=1)[-1].view(8, 8)
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[2:5, 2:5] = True
    assert torch.equal(finest, expected)


def test_regions_line_up_with_tokens():
    mask = torch.zeros(1, 1, 8, 8)
    mask[0, 0, 0, 7] = 1
    region = token_regions(mask, SCHEDULE)
    assert region.shape == (1, SCHEDULE.num_tokens)
    assert region.dtype == torch.int64
    assert region[0, SCHEDULE.slices[-1]].tolist() == [Region.OUTSIDE] * 7 + [Region.INSIDE] + [Region.OUTSIDE] * 56
    assert region[0, 0] == Region.INSIDE
