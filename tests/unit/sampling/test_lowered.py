import copy
from dataclasses import replace

import pytest
import torch

from lfvar.data.token_cache import TokenizerIdentity
from lfvar.nn.frozen import freeze
from lfvar.sampling.lowered import store_lowered
from lfvar.sampling.sampler import sample
from sampling_examples import CONFIG, SETTINGS, conditions, lively_net, lively_quantiser
from var_examples import tiny_tokenizer


@pytest.mark.parametrize("shared_adaln", [False, True])
def test_lowered_weights_sample_what_autocast_samples(shared_adaln):
    net, quantiser = lively_net(replace(CONFIG, shared_adaln=shared_adaln)), lively_quantiser()
    with torch.autocast("cpu", torch.bfloat16):
        expected = sample(net, quantiser, conditions(3), seeds=[1, 2, 3], **SETTINGS)
        store_lowered(net)
        ids = sample(net, quantiser, conditions(3), seeds=[1, 2, 3], **SETTINGS)
    assert all(map(torch.equal, ids, expected))
    halved = {name for name, weight in net.named_parameters() if weight.dtype == torch.bfloat16}
    assert {"head.weight", "embed.weight", "blocks.1.mlp.fc2.bias"} <= halved
    assert not any(name.startswith("conditioning.") for name in halved)
    assert next(iter(net.conditioning.parameters())).dtype == torch.float32


@pytest.mark.parametrize("frozen", [False, True])
def test_a_lowered_tokenizer_gives_the_same_ids_and_images(frozen):
    tokenizer = tiny_tokenizer().net
    if frozen:
        tokenizer = freeze(tokenizer)
    plain = copy.deepcopy(tokenizer)
    store_lowered(tokenizer=tokenizer)
    assert TokenizerIdentity.of(tokenizer) == TokenizerIdentity.of(plain)
    image_BCHW = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    ids = plain.encode_ids(image_BCHW)
    assert all(map(torch.equal, tokenizer.encode_ids(image_BCHW), ids))
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = tokenizer.decode_ids(ids), plain.decode_ids(ids)
    torch.testing.assert_close(ours, theirs, atol=0.02, rtol=0)  # another layout sums in another order
    assert (ours.float() - plain.decode_ids(ids)).abs().mean() < 0.02


def test_only_half_precision_is_a_lower_one():
    for wrong in (torch.float32, torch.int16):
        with pytest.raises(ValueError, match="dtype is torch"):
            store_lowered(lively_net(), dtype=wrong)
