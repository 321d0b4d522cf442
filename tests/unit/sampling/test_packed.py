import copy

import pytest
import torch

from lfvar.sampling.packed import PackedLinear, can_pack, store_packed
from lfvar.sampling.sampler import sample
from sampling_examples import SETTINGS, conditions, lively_net, lively_quantiser

pytestmark = pytest.mark.skipif(not can_pack(), reason="this build of torch has no oneDNN")


@torch.no_grad()
@pytest.mark.parametrize("rows", [0, 1, 7, 300])
def test_a_packed_layer_is_the_layer(rows):
    linear = torch.nn.Linear(24, 40)
    x, bias = torch.randn(rows, 1, 24), torch.randn(40)
    torch.testing.assert_close(PackedLinear(linear)(x), linear(x))
    torch.testing.assert_close(PackedLinear(linear)(x, bias), torch.nn.functional.linear(x, linear.weight, bias))
    expected = torch.nn.functional.gelu(linear(x), approximate="tanh")
    torch.testing.assert_close(PackedLinear(linear, gelu=True)(x), expected)


@pytest.mark.parametrize("rows", [slice(0, 5), slice(2, 3)])
def test_a_packed_net_draws_the_same_ids(rows):
    net, quantiser, seeds = lively_net(), lively_quantiser(), [4, 5, 6, 7, 8]
    expected = sample(net, quantiser, conditions(5), seeds=seeds, **SETTINGS)
    packed = copy.deepcopy(net).requires_grad_(False)
    store_packed(packed)
    assert not {"head.weight", "blocks.0.mlp.fc1.weight"} & set(dict(packed.named_parameters()))
    chosen = torch.arange(5)[rows]
    ids = sample(packed, quantiser, conditions(5).rows(chosen), seeds=[seeds[i] for i in chosen], **SETTINGS)
    assert all(torch.equal(ours, theirs[rows]) for ours, theirs in zip(ids, expected, strict=True))
