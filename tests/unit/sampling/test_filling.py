import torch

from lfvar.sampling.filling import fill_hole


def hole(size, top, left, bottom, right):
    mask = torch.zeros(1, 1, size, size)
    mask[..., top:bottom, left:right] = 1
    return mask


def test_flat_skin_stays_flat_and_the_lesion_leaves_no_trace():
    mask = hole(32, 8, 10, 20, 22)
    image = torch.full((1, 3, 32, 32), 0.4)
    rim = torch.nn.functional.max_pool2d(mask, 5, stride=1, padding=2)  # darker for two pixels beyond its mask
    dark = torch.where(rim > 0, -0.9, image)
    assert torch.allclose(fill_hole(dark, mask, margin=3), image, atol=1e-5)
    assert fill_hole(dark, mask, margin=0).amin() < 0.3  # the rim bleeds in: what the margin is for


def test_a_ramp_goes_on_through_the_hole():
    """A plane solves Laplace's equation, so the membrane over a hole in a plane is that plane."""
    for size in (24, 64, 100):
        x = torch.linspace(-1, 1, size)
        ramp = (0.5 * x[:, None] + 0.3 * x[None, :]).expand(1, 3, size, size)
        quarter = size // 4
        mask = hole(size, quarter, quarter, 3 * quarter, 3 * quarter)
        filled = fill_hole(torch.where(mask > 0, 5.0, ramp), mask, margin=1)
        assert (filled - ramp).abs().max() < 0.03, size


def test_skin_is_kept_to_the_bit_and_nothing_exceeds_it():
    torch.manual_seed(0)
    image = torch.rand(1, 3, 40, 40) * 2 - 1
    mask = hole(40, 0, 12, 17, 40)  # open to two edges
    filled = fill_hole(image, mask, margin=2)
    outside = torch.nn.functional.max_pool2d(mask, 7, stride=1, padding=3).expand_as(image) == 0
    assert torch.equal(filled[outside], image[outside])
    assert filled.amax() <= image[outside].amax()  # the maximum principle
    assert filled.amin() >= image[outside].amin()


def test_each_image_has_its_own_hole():
    torch.manual_seed(1)
    images = torch.rand(3, 3, 32, 32)
    masks = torch.cat([hole(32, 4, 4, 20, 12), hole(32, 10, 16, 30, 32), hole(32, 0, 0, 32, 32)])
    together = fill_hole(images, masks)
    for row in range(3):
        alone = fill_hole(images[row : row + 1], masks[row : row + 1])
        assert torch.allclose(together[row : row + 1], alone, atol=1e-6)


def test_without_skin_there_is_a_mean():
    image = torch.rand(1, 3, 16, 16)
    everything = torch.ones(1, 1, 16, 16)
    assert torch.allclose(fill_hole(image, everything), image.mean((2, 3), keepdim=True).expand_as(image), atol=1e-6)
    nearly = everything.clone()
    nearly[..., 0, 0] = 0  # the margin would take the last bit of skin: no margin then
    filled = fill_hole(image, nearly, margin=4)
    assert torch.allclose(filled, image[..., :1, :1].expand_as(image), atol=1e-3)
    assert torch.equal(fill_hole(image, torch.zeros(1, 1, 16, 16)), image)
