import math

import pytest
import torch

from lfvar.nn.attention import ScaleAttention, attention_groups, block_causal_attention, block_causal_mask
from lfvar.nn.kv_cache import KVCache
from lfvar.scales import ScaleSchedule

SCHEDULE = ScaleSchedule((1, 2, 3, 5))


def naive_attention(q, k, v, scale):
    """One query at a time, over the keys of its own and coarser scales."""
    out = torch.zeros_like(v)
    for place in SCHEDULE.slices:
        for i in range(place.start, place.stop):
            weights = (scale * torch.einsum("bnd,bnjd->bnj", q[:, :, i], k[:, :, : place.stop])).softmax(-1)
            out[:, :, i] = torch.einsum("bnj,bnjd->bnd", weights, v[:, :, : place.stop])
    return out


@pytest.mark.parametrize("num_unmasked", [0, 1, 3, 4, 9])
def test_groups_equal_the_naive_loop(num_unmasked):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, SCHEDULE.num_tokens, 4, requires_grad=True) for _ in range(3))
    groups = attention_groups(SCHEDULE, num_unmasked)
    mask = block_causal_mask(SCHEDULE, groups[0].queries.stop) if groups[0].masked else None
    ours = block_causal_attention(q, k, v, groups, mask, scale=0.7)
    expected = naive_attention(q, k, v, 0.7)
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)
    weight = torch.randn_like(v)
    ours_grads = torch.autograd.grad((ours * weight).sum(), (q, k, v))
    for ours_grad, grad in zip(ours_grads, torch.autograd.grad((expected * weight).sum(), (q, k, v)), strict=True):
        torch.testing.assert_close(ours_grad, grad, atol=1e-5, rtol=0)


def test_groups_cover_the_sequence_and_spare_the_mask():
    groups = attention_groups(SCHEDULE, 2)
    assert [(g.queries.start, g.queries.stop, g.masked) for g in groups] == [
        (0, 5, True),
        (5, 14, False),
        (14, 39, False),
    ]
    assert [g.masked for g in attention_groups(SCHEDULE, 3)] == [False] * 4  # one coarse scale needs no mask
    assert len(attention_groups(SCHEDULE, 0)) == 1


@pytest.mark.parametrize("l2_norm", [True, False])
def test_cached_steps_equal_one_pass(l2_norm):
    torch.manual_seed(0)
    attention = ScaleAttention(SCHEDULE, 12, 3, l2_norm=l2_norm, num_unmasked=2).eval()
    torch.nn.init.normal_(attention.q_bias_D)
    torch.nn.init.normal_(attention.v_bias_D)
    x = torch.randn(2, SCHEDULE.num_tokens, 12)
    cache = KVCache(1, 2, 3, SCHEDULE.num_tokens, 4)
    steps = []
    for place in SCHEDULE.slices:
        steps.append(attention(x[:, place], cache))
        cache.advance(place.stop - place.start)
    torch.testing.assert_close(torch.cat(steps, dim=1), attention(x), atol=1e-6, rtol=0)


def test_normalised_logits_are_bounded_by_the_factor():
    torch.manual_seed(0)
    attention = ScaleAttention(SCHEDULE, 12, 3)
    torch.nn.init.constant_(attention.log_scale_N11, 99.0)  # far above its limit
    q, k, _ = attention._heads(1e3 * torch.randn(2, SCHEDULE.num_tokens, 12))
    torch.testing.assert_close(q.norm(dim=-1), torch.full(q.shape[:-1], 100.0))
    torch.testing.assert_close(k.norm(dim=-1), torch.ones(k.shape[:-1]))
    assert math.isclose((q @ k.transpose(-1, -2)).abs().amax().item(), 100, rel_tol=0.2)


def test_the_cache_refuses_what_does_not_fit():
    cache = KVCache(2, 3, 1, 5, 4)
    assert cache.num_bytes == 2 * 2 * 3 * 5 * 4 * 4
    new = torch.randn(3, 1, 4, 4)
    keys, values = cache.extend(1, new, 2 * new)
    assert torch.equal(keys, new)
    assert torch.equal(values, 2 * new)
    assert cache.length == 0  # other blocks still have to store theirs
    cache.advance(4)
    with pytest.raises(ValueError, match="do not fit"):
        cache.extend(0, new, new)
    with pytest.raises(ValueError, match="do not fit"):
        cache.extend(0, new[:2, :, :1], new[:2, :, :1])
    cache.clear()
    cache.extend(0, new, new)
