import copy

import pytest
import torch
from torch import nn

from lfvar.nn.vqvae import VQVAE, VQVAEConfig
from lfvar.nn.winograd import WinogradConv2d, is_available

pytestmark = pytest.mark.skipif(not is_available(), reason="this build of torch or this CPU has no NNPACK")


@pytest.fixture
def calls(monkeypatch):
    """Shapes that went through the fast kernel."""
    seen, fast = [], torch._nnpack_spatial_convolution
    monkeypatch.setattr(
        torch, "_nnpack_spatial_convolution", lambda x, *rest: (seen.append(tuple(x.shape)), fast(x, *rest))[1]
    )
    return seen


def pair(in_channels=5, out_channels=7, **options):
    torch.manual_seed(0)
    ours = WinogradConv2d(in_channels, out_channels, 3, padding=1, **options)
    plain = nn.Conv2d(in_channels, out_channels, 3, padding=1, **options)
    plain.load_state_dict(ours.state_dict())
    return ours, plain


@pytest.mark.parametrize("shape", [(1, 5, 48, 48), (3, 5, 50, 61)])
@pytest.mark.parametrize("bias", [True, False])
def test_the_sum_is_the_same(shape, bias, calls):
    ours, plain = pair(bias=bias)
    x = torch.randn(shape)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), plain(x), atol=1e-4, rtol=0)
        alone = ours(x[-1:])
        assert torch.equal(ours(x)[-1:], alone)  # no image depends on its neighbours
        torch.testing.assert_close(ours(x.to(memory_format=torch.channels_last)), plain(x), atol=1e-4, rtol=0)
    assert calls == [(1, *shape[1:])] * len(calls) != []


def test_only_where_it_is_meant(calls):
    ours, plain = pair()
    x = torch.randn(1, 5, 48, 48)
    assert torch.equal(ours(x), plain(x))  # gradients are wanted
    with torch.no_grad():
        assert torch.equal(ours(x[..., :40]), plain(x[..., :40]))  # too small
        assert torch.equal(ours.double()(x.double()), plain.double()(x.double()))
        strided, _ = pair(stride=2)
        strided(x)
        with torch.autocast("cpu", torch.bfloat16):
            pair()[0](x)
    assert calls == []


@torch.no_grad()
def test_the_decoder_uses_it_and_token_ids_do_not(calls):
    config = VQVAEConfig(
        channels=16, channel_multipliers=(1, 2), num_res_blocks=1, patch_nums=(1, 4, 32), vocab_size=64
    )
    tokenizer = VQVAE(config).eval()
    nn.init.normal_(tokenizer.quantiser.codebook.weight)
    ids = tokenizer.encode_ids(torch.rand(1, 3, 64, 64) * 2 - 1)
    assert calls == []
    image_BCHW = tokenizer.decode_ids(ids)
    assert {shape[-1] for shape in calls} == {64}
    plain = copy.deepcopy(tokenizer)
    for module in plain.modules():
        if isinstance(module, WinogradConv2d):
            module.__class__ = nn.Conv2d
    torch.testing.assert_close(image_BCHW, plain.decode_ids(ids), atol=1e-3, rtol=0)
