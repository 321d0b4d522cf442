import cv2
import numpy as np
import pytest
import torch

from lfvar.metrics.colour import colour_values


@pytest.fixture
def images():
    torch.manual_seed(0)
    image = torch.rand(3, 3, 12, 12) * 2 - 1
    recon = (image + 0.3 * torch.randn_like(image)).clamp(-1, 1)
    mask = torch.zeros(3, 1, 12, 12)
    mask[..., 2:7, 3:9] = 1
    return recon, image, mask


def test_equals_opencv(images):
    recon, image, mask = images
    values = colour_values(recon, image, mask)
    difference = np.abs(lab_of(recon) - lab_of(image))
    inside = mask[:, 0].numpy() > 0
    for b in range(3):
        for axis, name in enumerate(("delta_l", "delta_a", "delta_b")):
            # OpenCV interpolates a table, which leaves up to 0.1 in the mean
            assert values[f"{name}_all"][b] == pytest.approx(difference[b, ..., axis].mean(), abs=0.15)
            assert values[f"{name}_inside"][b] == pytest.approx(difference[b, ..., axis][inside[b]].mean(), abs=0.15)
        delta_e = np.sqrt((difference[b] ** 2).sum(-1))
        assert values["delta_e_outside"][b] == pytest.approx(delta_e[~inside[b]].mean(), abs=0.15)


def lab_of(image_BCHW):
    image_BHWC = np.ascontiguousarray(((image_BCHW + 1) / 2).permute(0, 2, 3, 1).numpy())
    return np.stack([cv2.cvtColor(image_HWC, cv2.COLOR_RGB2LAB) for image_HWC in image_BHWC])


def test_by_hand():
    image = torch.full((1, 3, 4, 4), -1.0)  # black, L* 0
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    recon = image + 2 * mask  # white inside, L* 100, no chroma
    values = {name: value.item() for name, value in colour_values(recon, image, mask).items()}
    assert values["delta_l_inside"] == pytest.approx(100)
    assert values["delta_e_inside"] == pytest.approx(100)
    assert values["delta_e_all"] == pytest.approx(50)
    assert values["delta_e_outside"] == values["delta_a_inside"] == values["delta_b_inside"] == 0


def test_missing_regions_and_diverged_nets_are_told_apart(images):
    recon, image, mask = images
    mask[0] = 0
    recon[1, :, 0, 0] = torch.nan  # outside the lesion
    values = colour_values(recon, image, mask)
    assert values["delta_e_inside"][0].isinf()
    assert values["delta_e_outside"][1].isnan()
    assert values["delta_e_inside"][1].isfinite()
    assert values["delta_e_all"][2].isfinite()
