import math

import pytest
import torch
import torch.nn.functional as F

from lfvar.nn.discriminator import PatchDiscriminator, PatchDiscriminatorConfig, crop_square, lesion_box

TINY = PatchDiscriminatorConfig(channels=4, num_layers=2)


@pytest.mark.parametrize(
    ("size", "layers", "stem", "side"), [(32, 3, 1, 2), (32, 2, 1, 6), (64, 2, 2, 6), (64, 3, 1, 6), (512, 4, 1, 30)]
)
def test_sizes_from_32_to_512(size, layers, stem, side):
    net = PatchDiscriminator(PatchDiscriminatorConfig(channels=2, num_layers=layers, stem_stride=stem))
    assert net(torch.zeros(1, 3, size, size)).shape == (1, 1, side, side)


@pytest.mark.parametrize("stem", [1, 2])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_smallest_image_and_one_below(layers, stem):
    config = PatchDiscriminatorConfig(channels=2, num_layers=layers, stem_stride=stem)
    net = PatchDiscriminator(config)
    assert net(torch.zeros(1, 3, config.min_size, config.min_size)).shape == (1, 1, 1, 1)
    small = config.min_size - stem
    with pytest.raises(ValueError, match=f"{config.min_size}×{config.min_size} pixels or more, got {small}×{small}"):
        net(torch.zeros(1, 3, small, small))


def test_images_that_do_not_fold_are_refused():
    with pytest.raises(ValueError, match="do not fold by stem_stride=2"):
        PatchDiscriminator(PatchDiscriminatorConfig(channels=2, num_layers=1, stem_stride=2))(torch.zeros(1, 3, 33, 33))


@pytest.mark.parametrize("config", [TINY, PatchDiscriminatorConfig(4, 1, 2), PatchDiscriminatorConfig(4, 3)])
def test_receptive_field_is_what_a_logit_sees(config):
    size = 2 * config.receptive_field + config.receptive_field % 2
    image = torch.randn(1, 3, size, size, requires_grad=True)
    logits = PatchDiscriminator(config).eval()(image)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    seen = image.grad.abs().sum(dim=(0, 1))
    assert int((seen.sum(0) > 0).sum()) == int((seen.sum(1) > 0).sum()) == config.receptive_field


def test_published_patchgan_sees_70_pixels():
    assert PatchDiscriminatorConfig().receptive_field == 70


def test_spectral_norm_bounds_every_weight():
    net = PatchDiscriminator(TINY, seed=3)
    for conv in net.convs:
        conv.parametrizations.weight.original.data.normal_(std=5)
    for _ in range(300):
        net(torch.zeros(1, 3, 12, 12))
    for conv in net.convs:
        assert torch.linalg.matrix_norm(conv.weight.flatten(1), ord=2).item() == pytest.approx(1, rel=1e-2)


def test_only_training_mode_moves_the_power_iteration():
    net = PatchDiscriminator(TINY)
    for conv in net.convs:
        conv.parametrizations.weight.original.data.add_(0.1)
    before = {name: value.clone() for name, value in net.named_buffers()}
    net.eval()(torch.zeros(1, 3, 32, 32))
    assert all(torch.equal(value, before[name]) for name, value in net.named_buffers())
    net.train()(torch.zeros(1, 3, 32, 32))
    assert not all(torch.equal(value, before[name]) for name, value in net.named_buffers())


@pytest.mark.parametrize("normalised", [True, False])
def test_seed_decides_the_weights_and_nothing_else_is_touched(normalised):
    config = PatchDiscriminatorConfig(4, 2, spectral_norm=normalised)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one = PatchDiscriminator(config, seed=1).state_dict()
    assert torch.equal(torch.rand(3), expected)
    two, other = PatchDiscriminator(config, seed=1).state_dict(), PatchDiscriminator(config, seed=2).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one if one[name].ndim == 4)


@pytest.mark.parametrize("norm", ["none", "group"])
def test_samples_do_not_meet(norm):
    net = PatchDiscriminator(PatchDiscriminatorConfig(4, 2, norm=norm)).eval()
    images = torch.randn(3, 3, 32, 32)
    assert torch.allclose(net(images)[1:2], net(images[1:2]), atol=1e-6)


def test_bfloat16_keeps_weights_normalised_in_float32():
    net = PatchDiscriminator(PatchDiscriminatorConfig(16, 2), seed=1).eval()
    image = torch.randn(2, 3, 32, 32)
    exact = net(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = net(image)
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).abs().max() < 0.05 * exact.abs().max()
    assert all(value.dtype == torch.float32 for value in net.state_dict().values())


@pytest.mark.parametrize("change", [{"channels": 0}, {"num_layers": 0}, {"stem_stride": 0}, {"norm": "batch"}])
def test_nonsense_sizes_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        PatchDiscriminatorConfig(**change)


def masks(*corners, size=32):
    mask = torch.zeros(len(corners), 1, size, size)
    for one, (top, left, bottom, right) in zip(mask, corners, strict=True):
        one[:, top:bottom, left:right] = 1
    return mask


def test_box_by_hand():
    mask = masks((10, 8, 20, 12), (0, 0, 4, 10), (5, 5, 5, 5), (31, 31, 32, 32), (0, 0, 32, 32))
    box = lesion_box(mask, margin=0.1, min_side=6)
    expected = [
        [9.0, 4.0, 12.0],  # 10 × 4 around (15, 10), 10 % more on each side
        [0.0, 0.0, 12.0],  # moved into the image
        [0.0, 0.0, 32.0],  # no lesion: the whole image
        [26.0, 26.0, 6.0],  # one pixel: the smallest side
        [0.0, 0.0, 32.0],
    ]
    assert torch.allclose(box, torch.tensor(expected), atol=1e-5)


def test_box_of_an_image_that_is_not_square():
    box = lesion_box(torch.ones(1, 1, 16, 32), margin=0.5)
    assert box.tolist() == [[0.0, 8.0, 16.0]]


def test_crop_of_whole_pixels_is_a_slice():
    image = torch.randn(2, 3, 32, 32)
    crop = crop_square(image, torch.tensor([[4.0, 6.0, 16.0], [0.0, 16.0, 16.0]]), 16)
    assert torch.allclose(crop[0], image[0, :, 4:20, 6:22], atol=1e-6)
    assert torch.allclose(crop[1], image[1, :, :16, 16:], atol=1e-6)


@pytest.mark.parametrize("size", [16, 24, 32, 48])
def test_crop_of_everything_is_a_resize(size):
    image = torch.randn(2, 3, 32, 32)
    crop = crop_square(image, torch.tensor([[0.0, 0.0, 32.0]]).expand(2, 3), size)
    naive = F.interpolate(image, size=(size, size), mode="bilinear", antialias=True)
    assert torch.allclose(crop, naive, atol=1e-5)


def test_crop_gradient_stays_inside_the_box():
    image = torch.randn(1, 3, 32, 32, requires_grad=True)
    crop_square(image, torch.tensor([[8.0, 12.0, 10.0]]), 10).square().sum().backward()
    seen = image.grad[0].abs().sum(0)
    assert seen[8:18, 12:22].min() > 0
    assert math.isclose(seen.sum().item(), seen[8:18, 12:22].sum().item(), rel_tol=1e-6)
