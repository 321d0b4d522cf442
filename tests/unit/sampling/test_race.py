import pytest
import torch

from lfvar.sampling.noise import SampleNoise, race


def test_winners_follow_the_distribution():
    logits = torch.tensor([1.0, 0.0, -1.0, 2.0, -torch.inf]).expand(1, 40000, 5)
    ids = race(logits, SampleNoise([0], "cpu").exponential(40000, 5))
    share = ids.flatten().bincount(minlength=5) / 40000
    assert share.tolist() == pytest.approx(logits[0, 0].softmax(0).tolist(), abs=0.01)
    assert share[4] == 0


def test_a_seed_draws_the_same_beside_any_neighbours():
    alone, among = SampleNoise([5], "cpu"), SampleNoise([1, 5, 2], "cpu")
    for length in (1, 4, 9):
        assert torch.equal(alone.exponential(length, 7)[0], among.exponential(length, 7)[1])
    drawn = among.exponential(4, 7)
    assert not torch.equal(drawn[0], drawn[2])


def test_noise_of_zero_does_not_win_for_an_excluded_token():
    noise = torch.tensor([[[1.0, torch.finfo(torch.float32).tiny]]])
    assert race(torch.tensor([[[0.0, -torch.inf]]]), noise).item() == 0
