import pytest
import torch

from lfvar.nn.vqvae import VQVAE, VQVAEConfig

TINY = VQVAEConfig(
    channels=16,
    channel_multipliers=(1, 2),
    num_res_blocks=1,
    latent_channels=4,
    vocab_size=32,
    patch_nums=(1, 2, 4),
    stem_stride=2,
)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return VQVAE(TINY).eval()


def test_published_size():
    with torch.device("meta"):
        net = VQVAE(VQVAEConfig())
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(108.9e6, rel=1e-3)
    assert (net.config.stride, net.config.image_size) == (16, 256)


@pytest.mark.parametrize(
    ("multipliers", "stem", "patch_nums", "size"),
    [((1, 1, 2, 2, 4), 1, (1, 2, 3), 48), ((1, 2), 4, (1, 2, 3, 4, 6, 8), 64), ((1,), 1, (2, 5), 5)],
)
def test_any_stride_and_schedule(multipliers, stem, patch_nums, size):
    config = VQVAEConfig(16, multipliers, 1, 4, 8, patch_nums, stem_stride=stem)
    image = torch.rand(2, 3, size, size) * 2 - 1
    recon, f, quantised = VQVAE(config)(image)
    assert recon.shape == image.shape
    assert f.shape == (2, 4, patch_nums[-1], patch_nums[-1])
    assert [ids.shape[1] for ids in quantised.ids] == [p * p for p in patch_nums]


def test_ids_ignore_the_surrounding_precision(net):
    image = torch.rand(4, 3, 16, 16) * 2 - 1
    plain = net.encode_ids(image)
    with torch.autocast("cpu", torch.bfloat16):
        assert all(map(torch.equal, net.encode_ids(image), plain))
        features = net.encode(image)
    assert features.dtype == torch.bfloat16  # autocast was really on


def test_last_scale_is_the_reconstruction(net):
    image = torch.rand(2, 3, 16, 16) * 2 - 1
    scales = net.reconstruct_scales(image)
    assert len(scales) == 3
    torch.testing.assert_close(scales[-1], net(image)[0].clamp(-1, 1), atol=1e-5, rtol=0)


def test_wrong_image_size_is_named(net):
    with pytest.raises(ValueError, match=r"takes 16×16 images.*got \(32, 32\)"):
        net.encode(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"channels": 0}, "channels must be at least 1"),
        ({"phi_ratio": 1.5}, "phi_ratio"),
        ({"patch_nums": (4, 2)}, "grow strictly"),
        ({"dropout": 1.0}, "dropout"),
        ({"channel_multipliers": ()}, "channel_multipliers"),
    ],
)
def test_nonsense_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        VQVAEConfig(**change)
