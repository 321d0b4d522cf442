import pytest
import torch

from lfvar.losses.diffaug import NUM_DRAWS, DiffAugConfig, augment, diffaug, draw, translate

OFF = {"translation": 0.0, "cutout": 0.0}


def images(seed=0):
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def draws(**columns):
    """Draws of one image in which all is in the middle, except the columns given."""
    uniform = torch.full((1, NUM_DRAWS), 0.5)
    names = ("shift_y", "shift_x", "cut_y", "cut_x", "brightness", "saturation", "contrast")
    for name, value in columns.items():
        uniform[0, names.index(name)] = value
    return uniform


def test_everything_off_is_the_identity():
    assert torch.equal(diffaug(images(), DiffAugConfig(**OFF)), images())


@pytest.mark.parametrize(("uniform", "shift"), [(0.0, -4), (0.5, 0), (0.999, 4), (0.12, -3)])
def test_translation_by_hand(uniform, shift):
    image = images()[:1]
    policy = DiffAugConfig(translation=0.25, cutout=0)
    moved = augment(image, policy, draws(shift_y=uniform, shift_x=1 - 1e-6 - uniform))
    expected = torch.zeros_like(image)
    for y in range(16):
        for x in range(16):
            if 0 <= y - shift < 16 and 0 <= x + shift < 16:
                expected[..., y, x] = image[..., y - shift, x + shift]
    assert torch.equal(moved, expected)


def test_translation_moves_maps_like_their_images():
    image, uniform = images(), draw(4, torch.Generator().manual_seed(1))
    policy = DiffAugConfig(translation=0.5, cutout=0)
    moved = augment(image, policy, uniform)
    assert not torch.equal(moved, image)
    assert torch.equal(translate(image[:, :1], policy, uniform), moved[:, :1])


@pytest.mark.parametrize(("centre", "rows"), [(0.5, range(6, 10)), (0.0, range(2)), (0.999, range(13, 16))])
def test_cutout_by_hand(centre, rows):
    image = torch.ones(1, 3, 16, 16)
    cut = augment(image, DiffAugConfig(translation=0, cutout=0.25), draws(cut_y=centre))[0, 0]
    zeros = {(int(y), int(x)) for y, x in (cut == 0).nonzero()}
    assert zeros == {(y, x) for y in rows for x in range(6, 10)}


def test_each_image_has_its_own_draw_and_the_generator_decides():
    same = images()[:1].expand(4, 3, 16, 16)
    out = diffaug(same, DiffAugConfig(), torch.Generator().manual_seed(0))
    assert not any(torch.equal(out[0], other) for other in out[1:])
    assert torch.equal(out, diffaug(same, DiffAugConfig(), torch.Generator().manual_seed(0)))
    assert not torch.equal(out, diffaug(same, DiffAugConfig(), torch.Generator().manual_seed(1)))


def test_a_part_of_the_batch_with_its_part_of_the_draws():
    image, uniform = images(), draw(4, torch.Generator().manual_seed(3))
    policy = DiffAugConfig(0.3, 0.3, 0.2, 0.2, 0.2)
    assert torch.equal(augment(image, policy, uniform)[1:3], augment(image[1:3], policy, uniform[1:3]))


def test_default_leaves_colours_alone():
    out = diffaug(images(), DiffAugConfig(), torch.Generator().manual_seed(0))
    colours = {tuple(pixel) for pixel in images().permute(0, 2, 3, 1).reshape(-1, 3).tolist()} | {(0.0, 0.0, 0.0)}
    assert {tuple(pixel) for pixel in out.permute(0, 2, 3, 1).reshape(-1, 3).tolist()} <= colours


def test_what_each_colour_change_keeps():
    image, generator = images(), torch.Generator().manual_seed(0)
    brighter = diffaug(image, DiffAugConfig(**OFF, brightness=0.5), generator)
    change = (brighter - image).flatten(1)
    assert torch.allclose(change, change[:, :1].expand_as(change), atol=1e-6)
    assert 0 < change.abs().max() <= 0.5
    saturated = diffaug(image, DiffAugConfig(**OFF, saturation=1.0), generator)
    assert torch.allclose(saturated.mean(1), image.mean(1), atol=1e-6)  # grey of each pixel
    assert not torch.allclose(saturated, image)
    contrasted = diffaug(image, DiffAugConfig(**OFF, contrast=0.5), generator)
    assert torch.allclose(contrasted.mean((1, 2, 3)), image.mean((1, 2, 3)), atol=1e-6)  # mean of each image
    ratio = contrasted.flatten(1).std(1) / image.flatten(1).std(1)
    assert ((ratio >= 0.5) & (ratio <= 1.5)).all()
    assert (ratio - 1).abs().max() > 0.05


def test_colour_by_hand():
    image = images()[:1]
    policy = DiffAugConfig(**OFF, brightness=0.5, saturation=1.0, contrast=0.5)
    out = augment(image, policy, draws(brightness=0.75, saturation=0.25, contrast=1.0))
    expected = image + 0.25
    expected = expected.mean(1, keepdim=True) + (expected - expected.mean(1, keepdim=True)) * 0.5
    expected = expected.mean() + (expected - expected.mean()) * 1.5
    assert torch.allclose(out, expected, atol=1e-6)


def test_gradients_are_those_of_finite_differences():
    image = images()[:2, :, :6, :6].double().requires_grad_()
    policy, uniform = DiffAugConfig(0.3, 0.4, 0.5, 0.5, 0.5), draw(2, torch.Generator().manual_seed(2)).double()
    assert torch.autograd.gradcheck(lambda x: augment(x, policy, uniform), image)


@pytest.mark.parametrize("name", ["translation", "cutout", "brightness", "saturation", "contrast"])
def test_policy_is_checked(name):
    with pytest.raises(ValueError, match=name):
        DiffAugConfig(**{name: 1.5})
