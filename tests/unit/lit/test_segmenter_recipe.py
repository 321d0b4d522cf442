import pytest
import torch
from scipy.ndimage import gaussian_filter

from lfvar.lit.segmenter_recipe import SegmenterRecipe, gaussian_blur, vary_look


def test_blur_matches_scipy():
    torch.manual_seed(0)
    image_BCHW, sigma_B = torch.rand(3, 3, 10, 12), torch.tensor([0.0, 0.7, 2.0])
    blurred_BCHW = gaussian_blur(image_BCHW, sigma_B, radius=6)
    assert torch.equal(blurred_BCHW[0], image_BCHW[0])
    for index in (1, 2):
        for channel in range(3):
            expected = gaussian_filter(
                image_BCHW[index, channel].numpy(), float(sigma_B[index]), mode="nearest", radius=6
            )
            torch.testing.assert_close(blurred_BCHW[index, channel], torch.from_numpy(expected))


def step_images(count):
    """Two grey halves, the border between columns 7 and 8."""
    image_BCHW = torch.full((count, 3, 16, 16), -0.3)
    image_BCHW[..., 8:] = 0.2
    return image_BCHW


def test_each_image_gets_its_own_light():
    torch.manual_seed(0)
    image_BCHW = step_images(32)
    varied_BCHW = vary_look(image_BCHW, SegmenterRecipe(blur=0.0))
    left_B, right_B = varied_BCHW[:, 0, 0, 0], varied_BCHW[:, 0, 0, 8]
    assert torch.equal(varied_BCHW[..., :8], left_B[:, None, None, None].expand(-1, 3, 16, 8))  # the border stays
    assert torch.equal(varied_BCHW[..., 8:], right_B[:, None, None, None].expand(-1, 3, 16, 8))
    shift_B, contrast_B = (left_B + right_B) / 2 + 0.05, (right_B - left_B) / 0.5
    assert 0.1 < shift_B.abs().max() < 0.151
    assert 0.79 < contrast_B.min() < 0.9 < 1.1 < contrast_B.max() < 1.21
    assert len(shift_B.unique()) > 25


def test_borders_smear_where_they_are():
    torch.manual_seed(0)
    recipe = SegmenterRecipe(brightness=0, saturation=0, contrast=0, blur=0.1)
    image_BCHW = step_images(64)
    varied_BCHW = vary_look(image_BCHW, recipe)
    middle_B = (varied_BCHW[:, 0, 4, 7] + varied_BCHW[:, 0, 4, 8]) / 2
    torch.testing.assert_close(middle_B, torch.full_like(middle_B, -0.05))
    step_B = varied_BCHW[:, 0, 4, 8] - varied_BCHW[:, 0, 4, 7]
    assert step_B.min() > 0.1  # σ = 1.6 px at most: a step of a quarter is left
    assert (step_B > 0.45).float().mean() > 0.3  # many images stay as they are
    assert (step_B < 0.25).float().mean() > 0.2
    still = SegmenterRecipe(brightness=0, saturation=0, contrast=0, blur=0)
    torch.testing.assert_close(vary_look(image_BCHW, still), image_BCHW)


def test_values_stay_in_range():
    torch.manual_seed(0)
    assert vary_look(torch.ones(8, 3, 8, 8), SegmenterRecipe(brightness=1.0)).max() <= 1


def test_recipe_is_checked():
    with pytest.raises(ValueError, match="brightness"):
        SegmenterRecipe(brightness=2)
    with pytest.raises(ValueError, match="blur"):
        SegmenterRecipe(blur=-1)
    with pytest.raises(ValueError, match="not both 0"):
        SegmenterRecipe(bce=0, dice=0)
