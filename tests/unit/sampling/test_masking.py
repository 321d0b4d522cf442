import pytest
import torch

from lfvar.nn.quantiser import MultiScaleQuantiser
from lfvar.sampling.masking import Kept, keep_as_published, keep_outside
from lfvar.scales import ScaleSchedule

SCHEDULE = ScaleSchedule((1, 2, 4, 8))


def small_lesion():
    mask = torch.zeros(2, 1, 64, 64)
    mask[0, 0, 40:43, 10:13] = 1
    return mask


def test_our_pyramid_paints_a_small_lesion_at_every_scale():
    kept = keep_outside(small_lesion(), SCHEDULE)
    assert all(not keep[0].all() for keep in kept)
    assert all(keep[1].all() for keep in kept)  # the other sample's mask is its own
    assert kept[-1][0].view(8, 8).logical_not().nonzero().tolist() == [[y, x] for y in (4, 5, 6) for x in (0, 1, 2)]
    whole = keep_outside(small_lesion(), SCHEDULE, num_kept_scales=2)
    assert [keep[0].all().item() for keep in whole] == [True, True, False, False]


def test_the_published_pyramid_loses_it():
    assert all(keep.all() for keep in keep_as_published(small_lesion(), SCHEDULE))


def test_kept_tokens_are_put_back():
    quantiser = MultiScaleQuantiser(SCHEDULE, 16, 4)
    own, new = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[5, 6, 7, 8]])
    keep = torch.tensor([[True, False, False, True]])
    kept = Kept([own] * 4, [keep] * 4)
    assert kept.force(1, new, torch.zeros(1, 4, 8, 8), quantiser).tolist() == [[1, 6, 7, 4]]
    many = kept.rows(torch.zeros(3, dtype=torch.int64))
    assert len(many) == 3
    two = Kept.cat([kept, Kept([new] * 4, [~keep] * 4)])  # each its own
    assert two.force(1, torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, 4, 8, 8), quantiser).tolist() == [
        [1, 0, 0, 4],
        [0, 6, 7, 0],
    ]
    with pytest.raises(ValueError, match="kept alike"):
        Kept.cat([kept, Kept([own] * 4, [keep] * 4, torch.zeros(1, 4, 8, 8))])
    with pytest.raises(ValueError, match="scale 0 has ids"):
        Kept([own], [keep[:, :3]])


def test_requantising_follows_the_current_sum():
    """On the source's own path it changes nothing; off it, it chooses what brings f̂ back towards f."""
    torch.manual_seed(0)
    quantiser = MultiScaleQuantiser(SCHEDULE, 32, 4)
    torch.nn.init.normal_(quantiser.codebook.weight)
    f = torch.randn(1, 4, 8, 8)
    quantised = quantiser(f)
    everywhere = [torch.ones_like(ids, dtype=torch.bool) for ids in quantised.ids]
    stored, again = Kept(quantised.ids, everywhere), Kept(quantised.ids, everywhere, f)
    for k in range(1, 4):
        f_hat = quantised.partials[k - 1].detach()
        assert torch.equal(again.force(k, quantised.ids[k], f_hat, quantiser), quantised.ids[k])
    f_hat = quantised.partials[2].detach() + torch.randn(1, 4, 1, 1)  # something else was painted meanwhile
    errors = []
    for kept in (stored, again):
        ids = kept.force(3, quantised.ids[3], f_hat, quantiser)
        errors.append((f - f_hat - quantiser.contribution_of_ids(3, ids)).square().mean())
    assert errors[1] < 0.9 * errors[0]
