"""What a tokenizer starts from, and which parts of it then learn."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from lfvar.errors import ArtefactError, ConfigError
from lfvar.interop.checkpoints import describe_checkpoint
from lfvar.interop.published import PUBLISHED_512, translate_vqvae
from lfvar.lit.optim import OptimConfig, build_optimizer
from lfvar.lit.start import TokenizerModel, keep_frozen_in_eval, set_trained_parts, start_vqvae
from lfvar.nn.vqvae import VQVAE, VQVAEConfig
from published_layout import published_state, write_published

SIZES = VQVAEConfig(
    channels=16,
    channel_multipliers=(1, 2),
    num_res_blocks=1,
    latent_channels=4,
    vocab_size=32,
    patch_nums=(1, 2, 4, 8),
    dropout=0.3,
)


def model(sizes=SIZES, **options):
    return TokenizerModel(**{**asdict(sizes), **options})


@pytest.fixture
def published(tmp_path):
    return str(write_published(tmp_path / "vae.pth", SIZES))


@pytest.fixture
def make_checkpoint(tmp_path):
    """A checkpoint of ours whose average differs from its last weights."""

    def make(sizes=SIZES):
        torch.manual_seed(3)
        net = VQVAE(sizes)
        average = {name: parameter.detach() + 1 for name, parameter in net.named_parameters()}
        checkpoint = {
            "lfvar": describe_checkpoint("vqvae", sizes),
            "state_dict": {f"net.{name}": tensor for name, tensor in net.state_dict().items()},
            "ema": {"weights": average, "num_updates": 1, "decay": 0.9},
        }
        torch.save(checkpoint, tmp_path / "best.ckpt")
        return str(tmp_path / "best.ckpt"), average

    return make


def images(count=4, size=16):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


def copies(*parts):
    return [tensor.clone() for part in parts for tensor in part.state_dict().values()]


def test_the_layout_of_the_tests_is_the_published_one():
    net = VQVAE(SIZES)
    theirs = published_state(net)
    assert {
        "quantize.embedding.weight",
        "encoder.down.0.downsample.conv.weight",
        "decoder.up.1.upsample.conv.bias",
        "encoder.mid.attn_1.proj_out.weight",
        "decoder.up.0.block.0.nin_shortcut.weight",
    } <= set(theirs)
    assert translate_vqvae(theirs).keys() == net.state_dict().keys()


def test_published_weights_start_the_net(published):
    torch.manual_seed(7)
    expected = VQVAE(SIZES)
    net = start_vqvae(model(init="published", weights=published))
    assert type(net.config) is VQVAEConfig  # checkpoints store sizes, not where the weights came from
    assert net.config == SIZES
    assert all(torch.equal(a, b) for a, b in zip(copies(net), copies(expected), strict=True))
    other = start_vqvae(model(init="published", weights=published), read_weights=False)
    assert not torch.equal(other.quantiser.codebook.weight, net.quantiser.codebook.weight)


def test_the_same_published_weights_serve_a_longer_schedule(published):
    short = start_vqvae(model(init="published", weights=published))
    long = start_vqvae(model(init="published", weights=published, patch_nums=(1, 2, 4, 8, 16)))
    assert (short.config.image_size, long.config.image_size) == (16, 32)
    assert all(torch.equal(a, b) for a, b in zip(copies(short), copies(long), strict=True))
    assert [scale_ids.shape[1] for scale_ids in long.encode_ids(images(size=32))] == [1, 4, 16, 64, 256]


def test_every_difference_in_size_is_named(published):
    sizes = replace(SIZES, channels=32, vocab_size=64, stem_stride=2)
    with pytest.raises(ArtefactError) as caught:
        start_vqvae(model(sizes, init="published", weights=published))
    assert published in caught.value.message
    for phrase in ("channels is 16 there and 32 here", "vocab_size is 32 there and 64", "stem_stride is 1 there and 2"):
        assert phrase in caught.value.message
    assert "model.channels=16 model.vocab_size=32 model.stem_stride=1" in caught.value.cure
    with pytest.raises(ArtefactError, match=r"channel_multipliers is \[1,2\] there and \[1,2,2\] here") as caught:
        start_vqvae(model(replace(SIZES, channel_multipliers=(1, 2, 2)), init="published", weights=published))
    assert "model.channel_multipliers=[1,2]" in caught.value.cure
    with pytest.raises(ArtefactError, match=r"scale_gains is false there and true here"):
        start_vqvae(model(replace(SIZES, scale_gains=True), init="published", weights=published))


@pytest.mark.filterwarnings("ignore:.*no-op")  # nothing is copied to the meta device, and that is the point
def test_published_sizes_are_those_of_the_shipped_models(tmp_path):
    path = str(write_published(tmp_path / "vae.pth", VQVAEConfig(), fill=0.5))
    assert (tmp_path / "vae.pth").stat().st_size < 1e6  # every number is the same one
    with torch.device("meta"):
        net = start_vqvae(TokenizerModel(init="published", weights=path, patch_nums=PUBLISHED_512))
    assert net.config.image_size == 512


def test_a_checkpoint_of_ours_starts_from_its_average(make_checkpoint):
    path, average = make_checkpoint()
    net = start_vqvae(model(init="checkpoint", weights=path, patch_nums=(1, 2, 4), dropout=0.0))
    assert net.config.image_size == 8
    assert all(torch.equal(parameter, average[name]) for name, parameter in net.named_parameters())
    with pytest.raises(ArtefactError, match="latent_channels is 4 there and 8 here"):
        start_vqvae(model(replace(SIZES, latent_channels=8), init="checkpoint", weights=path))
    torch.save({}, path)
    with pytest.raises(ArtefactError, match=r"was not written by lfvar"):
        start_vqvae(model(init="checkpoint", weights=path))


def test_gains_follow_their_relative_scale(make_checkpoint):
    path, average = make_checkpoint(replace(SIZES, scale_gains=True))
    assert average["quantiser.gain_K"].shape == (4,)
    before = torch.tensor([2.0, 1.0, 0.5, 0.1])
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["ema"]["weights"]["quantiser.gain_K"] = before
    torch.save(checkpoint, path)
    sizes = replace(SIZES, scale_gains=True, patch_nums=(1, 2, 4, 6, 8, 16))
    gains = start_vqvae(model(sizes, init="checkpoint", weights=path)).quantiser.gain_K.detach()
    # relative sides 1/16, 1/8, 1/4, 3/8, 1/2, 1 among 1/8, 1/4, 1/2, 1
    between = 0.5 ** np.log2(1.5)
    torch.testing.assert_close(gains, torch.tensor([2.0, 2.0, 1.0, between, 0.5, 0.1], dtype=torch.float32))


def test_scratch_is_the_plain_net():
    torch.manual_seed(0)
    expected = copies(VQVAE(SIZES))
    for given in (model(), SIZES):
        torch.manual_seed(0)
        net = start_vqvae(given)
        assert all(torch.equal(a, b) for a, b in zip(copies(net), expected, strict=True))
        assert net.training
        set_trained_parts(net, given)
        keep_frozen_in_eval(net)
        assert all(part.training for part in net.children())


def train(net, steps, *, lr=1e-2):
    optimizer = build_optimizer(net, OptimConfig(lr=lr, betas=(0.5, 0.9), weight_decay=0.1))
    for _ in range(steps):
        net.train()
        keep_frozen_in_eval(net)
        recon, _, _ = net(images())
        optimizer.zero_grad()
        (recon - images()).square().mean().backward()
        optimizer.step()


def test_the_decoder_alone_learns_and_tokens_stay(published):
    given = model(init="published", weights=published)
    assert given.decoder_only
    net = start_vqvae(given)
    set_trained_parts(net, given)
    fixed = (net.encoder, net.to_latent, net.quantiser)
    before, moving = copies(*fixed), copies(net.from_latent, net.decoder)
    ids, loss = net.eval().encode_ids(images()), (net(images())[0] - images()).square().mean().item()
    train(net, 8)
    assert all(torch.equal(a, b) for a, b in zip(before, copies(*fixed), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(moving, copies(net.from_latent, net.decoder), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(ids, net.eval().encode_ids(images()), strict=True))
    assert (net(images())[0] - images()).square().mean().item() < 0.8 * loss


def test_everything_learns_when_asked_to(published):
    given = model(init="published", weights=published, train="all")
    net = start_vqvae(given)
    set_trained_parts(net, given)
    keep_frozen_in_eval(net)
    assert all(part.training for part in net.children())
    before = copies(net.encoder)
    train(net, 1)
    assert not any(torch.equal(a, b) for a, b in zip(before, copies(net.encoder), strict=True))
    decoder = model(init="checkpoint", weights="any.ckpt", train="decoder")
    assert decoder.decoder_only
    assert not model(init="checkpoint", weights="any.ckpt").decoder_only


def test_frozen_parts_have_no_dropout_and_unused_phi_stay_fixed(published):
    given = model(init="published", weights=published, patch_nums=(1, 8), train="all")
    net = start_vqvae(given)
    set_trained_parts(net, given)
    assert not net.quantiser.phi[1].weight.requires_grad  # two scales use the first and the last of four
    given = replace(given, train="decoder")
    set_trained_parts(net, given)
    net.train()
    assert net.encoder.training
    keep_frozen_in_eval(net)
    assert [name for name, part in net.named_children() if part.training] == ["from_latent", "decoder"]
    assert torch.equal(net.encode(images()), net.encode(images()))
    net.eval()
    keep_frozen_in_eval(net)
    assert not any(part.training for part in net.modules())


@pytest.mark.parametrize(
    ("options", "found", "cure"),
    [
        ({"init": "published"}, "weights names none", "model.weights=PATH"),
        ({"init": "checkpoint"}, "weights names none", "a .ckpt"),
        ({"weights": "vae.pth"}, "would not be read", "model.init=published"),
        ({"train": "decoder"}, "makes them random", "model.train=all"),
    ],
)
def test_contradictions_are_refused(options, found, cure):
    with pytest.raises(ConfigError, match=found) as caught:
        model(**options)
    assert cure in caught.value.cure


@pytest.mark.parametrize("options", [{"init": "magic", "weights": "x"}, {"train": "encoder"}, {"channels": 0}])
def test_other_values_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        model(**options)
