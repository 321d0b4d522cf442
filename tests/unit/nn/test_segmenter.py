import pytest
import torch

from lfvar.nn.segmenter import Segmenter, SegmenterConfig

TINY = SegmenterConfig(image_size=16, channels=8, channel_multipliers=(1, 2), head_channels=4)


def test_defaults_are_what_they_are_said_to_be():
    net = Segmenter(SegmenterConfig())
    assert 0.3e6 < sum(parameter.numel() for parameter in net.parameters()) < 0.6e6
    assert net.config.stride == 8


@pytest.mark.parametrize(("height", "width"), [(16, 16), (24, 40)])
def test_log_odds_of_every_pixel(height, width):
    logits_B1HW = Segmenter(SegmenterConfig())(torch.rand(2, 3, height, width) * 2 - 1)
    assert logits_B1HW.shape == (2, 1, height, width)
    assert logits_B1HW.isfinite().all()


def test_every_weight_learns():
    net = Segmenter(TINY)
    net(torch.rand(2, 3, 16, 16)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())


def test_what_is_found_lies_where_it_is():
    """Log-odds depend most on the pixels around them: nothing is folded or enlarged out of order."""
    torch.manual_seed(0)
    net = Segmenter(SegmenterConfig(image_size=32, attention=False))
    image_BCHW = torch.rand(16, 3, 32, 32, requires_grad=True)
    place_N = torch.arange(32.0)
    for y, x in ((9, 22), (20, 6)):
        (slope_BCHW,) = torch.autograd.grad(net(image_BCHW)[:, 0, y, x].sum(), image_BCHW)
        strength_HW = slope_BCHW.square().sum(dim=(0, 1))
        strength_HW = strength_HW / strength_HW.sum()
        assert float(strength_HW.sum(dim=1) @ place_N) == pytest.approx(y, abs=2.5)
        assert float(strength_HW.sum(dim=0) @ place_N) == pytest.approx(x, abs=2.5)


def test_images_do_not_see_each_other():
    net = Segmenter(TINY).eval()
    image_BCHW = torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        together, alone = net(image_BCHW), torch.cat([net(image[None]) for image in image_BCHW])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_a_few_discs_are_learned_by_heart():
    torch.manual_seed(0)
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    mask_B1HW = torch.stack([(y - cy) ** 2 + (x - cx) ** 2 < 16 for cy, cx in ((5, 5), (9, 8), (6, 10))])[:, None]
    image_BCHW = 0.5 - mask_B1HW.float() * 0.6 + 0.3 * torch.randn(3, 3, 16, 16)
    net = Segmenter(TINY)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(60):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(net(image_BCHW), mask_B1HW.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert ((net(image_BCHW) > 0) == mask_B1HW).float().mean() > 0.98


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match="image_size=20 is no multiple of the stride 8"):
        SegmenterConfig(image_size=20)
    with pytest.raises(ValueError, match="channel_multipliers"):
        SegmenterConfig(channel_multipliers=())
    with pytest.raises(ValueError, match="dropout"):
        SegmenterConfig(dropout=1.0)
    with pytest.raises(ValueError, match=r"multiples of 8 pixels, got images \(1, 3, 16, 20\)"):
        Segmenter(SegmenterConfig())(torch.zeros(1, 3, 16, 20))
