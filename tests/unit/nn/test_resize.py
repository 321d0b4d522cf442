import pytest
import torch
import torch.nn.functional as F

from lfvar.nn.resize import area_resize, bicubic_resize


@pytest.mark.parametrize(("size", "side"), [(8, 3), (8, 6), (16, 13), (16, 1), (5, 5), (64, 6)])
def test_area_equals_adaptive_pooling(size, side):
    x = torch.randn(2, 3, size, size)
    torch.testing.assert_close(area_resize(x, side), F.adaptive_avg_pool2d(x, side), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("size", "side"), [(1, 8), (3, 8), (6, 8), (13, 16), (4, 4), (10, 32)])
def test_bicubic_equals_interpolate(size, side):
    x = torch.randn(2, 3, size, size)
    expected = F.interpolate(x, size=(side, side), mode="bicubic", align_corners=False)
    torch.testing.assert_close(bicubic_resize(x, side), expected, atol=2e-6, rtol=0)


def test_gradient_is_that_of_the_naive_twin():
    x = torch.randn(1, 2, 8, 8, requires_grad=True)
    probe = torch.randn(1, 2, 3, 3)
    (ours,) = torch.autograd.grad((area_resize(x, 3) * probe).sum(), x)
    (theirs,) = torch.autograd.grad((F.adaptive_avg_pool2d(x, 3) * probe).sum(), x)
    torch.testing.assert_close(ours, theirs)


def test_only_squares():
    with pytest.raises(ValueError, match="square"):
        area_resize(torch.zeros(1, 1, 4, 6), 2)


@pytest.mark.parametrize("resize", [area_resize, bicubic_resize])
def test_matrices_made_during_a_validation_serve_training(resize):
    with torch.inference_mode():
        resize(torch.ones(1, 1, 23, 23), 7)
    x = torch.ones(1, 1, 23, 23, requires_grad=True)
    resize(x * 2, 7).sum().backward()
    assert x.grad.sum() > 0
