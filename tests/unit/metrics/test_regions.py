import math

import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from lfvar.metrics.regions import RegionQuality, region_values


@pytest.fixture
def images():
    torch.manual_seed(0)
    image = torch.rand(4, 3, 32, 32) * 2 - 1
    recon = (image + 0.2 * torch.randn_like(image)).clamp(-1, 1)
    mask = torch.zeros(4, 1, 32, 32)
    mask[..., 8:20, 8:20] = 1
    return recon, image, mask


def test_whole_image_equals_torchmetrics(images):
    recon, image, mask = images
    values = region_values(recon, image, mask)
    a, b = (recon + 1) / 2, (image + 1) / 2
    for i in range(4):
        expected = peak_signal_noise_ratio(a[i : i + 1], b[i : i + 1], data_range=1.0)
        assert values["psnr_all"][i].item() == pytest.approx(expected.item(), abs=1e-4)
        assert values["l1_all"][i].item() == pytest.approx((a[i] - b[i]).abs().mean().item(), abs=1e-6)
    _, full = structural_similarity_index_measure(a, b, data_range=1.0, reduction="none", return_full_image=True)
    assert values["ssim_all"].tolist() == pytest.approx(full.mean(dim=(1, 2, 3)).tolist(), abs=1e-5)


def test_regions_by_hand():
    image = torch.zeros(1, 3, 16, 16)
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :4] = 1
    recon = image + 0.2 * mask  # wrong inside by 0.1 of full range, right outside
    values = region_values(recon, image, mask)
    assert values["l1_inside"].item() == pytest.approx(0.1, abs=1e-6)
    assert values["psnr_inside"].item() == pytest.approx(20, abs=1e-3)
    assert values["l1_outside"].item() == 0
    assert values["psnr_outside"].item() == pytest.approx(100)
    assert values["psnr_all"].item() == pytest.approx(20 + 10 * math.log10(4), abs=1e-3)
    assert values["ssim_inside"] < values["ssim_outside"]


def test_missing_region_is_left_out(images):
    recon, image, mask = images
    mask[0] = 0
    metric = RegionQuality()
    metric.update(recon, image, mask)
    full = metric.compute()
    expected = region_values(recon[1:], image[1:], mask[1:])["psnr_inside"].mean()
    assert full["psnr_inside"].item() == pytest.approx(expected.item(), abs=1e-5)
    assert full["psnr_all"].isfinite()


def test_batches_and_order_do_not_matter(images):
    recon, image, mask = images
    one, many = RegionQuality(), RegionQuality()
    one.update(recon, image, mask)
    for i in (2, 0, 3, 1):
        many.update(recon[i : i + 1], image[i : i + 1], mask[i : i + 1])
    a, b = one.compute(), many.compute()
    assert a.keys() == b.keys()
    assert all(torch.allclose(a[name], b[name], atol=1e-6, rtol=0) for name in a)


def test_surrounding_precision_does_not_matter(images):
    plain = region_values(*images)
    with torch.autocast("cpu", torch.bfloat16):
        lowered = region_values(*images)
    assert all(torch.equal(plain[name], lowered[name]) for name in plain)


def test_a_diverged_net_is_not_hidden(images):
    recon, image, mask = images
    recon[0] = torch.nan
    metric = RegionQuality()
    metric.update(recon, image, mask)
    assert all(value.isnan() for value in metric.compute().values())
