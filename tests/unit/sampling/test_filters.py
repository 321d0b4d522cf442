import pytest
import torch

from lfvar.sampling.filters import Filters, filter_logits


def naive_filter(logits, filters):
    """One distribution, by sorting and adding up."""
    logits = logits / filters.temperature
    order = logits.argsort(descending=True).tolist()
    kept = order[: filters.top_k] if filters.top_k else order
    if 0 < filters.top_p < 1:
        p, total, chosen = logits[kept].double().softmax(0), 0.0, []
        for index, share in zip(kept, p.tolist(), strict=True):
            if total >= filters.top_p:
                break
            chosen.append(index)
            total += share
        kept = chosen
    out = torch.full_like(logits, -torch.inf)
    out[kept] = logits[kept]
    return out


@pytest.mark.parametrize("top_k", [0, 1, 5, 50])
@pytest.mark.parametrize("top_p", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_equals_the_naive_filter(top_k, top_p, temperature):
    logits = 2 * torch.randn(2, 7, 30, generator=torch.Generator().manual_seed(0))
    filters = Filters(temperature, top_k, top_p)
    ours = filter_logits(logits, filters)
    expected = torch.stack([naive_filter(row, filters) for row in logits.flatten(0, 1)]).view_as(logits)
    assert torch.equal(ours, expected)


def test_ties_stay_together():
    logits = torch.tensor([[[3.0, 1.0, 2.0, 2.0, 0.0]]])
    assert (filter_logits(logits, Filters(top_k=2)) > -torch.inf).tolist() == [[[True, False, True, True, False]]]


def test_tiny_top_p_is_greedy():
    logits = torch.tensor([[[0.0, 5.0, 1.0]]])
    assert filter_logits(logits, Filters(top_p=1e-9)).isfinite().tolist() == [[[False, True, False]]]


def test_settings_are_checked():
    for wrong in ({"temperature": 0.0}, {"top_k": -1}, {"top_p": 1.5}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Filters(**wrong)
