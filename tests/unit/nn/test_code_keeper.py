"""Statistics of codes, restarts and quantiser dropout, where the right answer is known."""

import pytest
import torch

from lfvar.nn.code_keeper import CodeKeeper, draw_depth
from lfvar.nn.quantiser import MultiScaleQuantiser
from lfvar.scales import ScaleSchedule

SCHEDULE = ScaleSchedule((1, 2, 4))
K, V, C = 3, 12, 3


def same(tensor):
    return tensor


def alone(tensor):
    return tensor[None]


@pytest.fixture
def quantiser():
    torch.manual_seed(0)
    net = MultiScaleQuantiser(SCHEDULE, V, C, scale_gains=True)
    torch.nn.init.normal_(net.codebook.weight)
    return net


def test_share_follows_the_lookups_of_all_scales(quantiser):
    quantised = quantiser(torch.randn(5, C, 4, 4))
    keeper = CodeKeeper(K, V, C, decay=0.0)
    keeper.observe(quantiser, quantised, same)
    counts = torch.bincount(torch.cat([ids.flatten() for ids in quantised.ids]), minlength=V)
    assert torch.allclose(keeper.share_V, counts / (5 * (1 + 4 + 16)))


def test_scales_that_dropout_left_out_do_not_count(quantiser):
    quantised = quantiser(torch.randn(2, C, 4, 4), depth_B=torch.tensor([1, 3]))
    keeper = CodeKeeper(K, V, C, decay=0.0)
    keeper.observe(quantiser, quantised, same)
    ids = [quantised.ids[0][0], *(ids[1] for ids in quantised.ids)]
    assert torch.allclose(keeper.share_V, torch.bincount(torch.cat(ids), minlength=V) / (1 + 21))


def test_two_processes_see_the_sum_of_both(quantiser):
    f = torch.randn(6, C, 4, 4)
    whole, half = CodeKeeper(K, V, C, moving_average=True), CodeKeeper(K, V, C, moving_average=True)
    whole.observe(quantiser, quantiser(f), same)
    # What the other half's process would contribute to the sum, in the order in which `observe` asks for it.
    recorded = []
    CodeKeeper(K, V, C, moving_average=True).observe(quantiser, quantiser(f[3:]), lambda t: recorded.append(t) or t)
    half.observe(quantiser, quantiser(f[:3]), lambda t: t + recorded.pop(0))
    for name in ("share_V", "count_V", "sum_VC"):
        assert torch.allclose(getattr(whole, name), getattr(half, name), atol=1e-6), name


def test_gains_follow_the_size_of_residuals(quantiser):
    keeper = CodeKeeper(K, V, C, decay=0.0)
    quantised = quantiser(7 * torch.randn(4, C, 4, 4))
    keeper.update_gains(quantiser, quantised, same)
    rms = torch.stack([residual.square().mean().sqrt() for residual in quantised.residuals])
    assert torch.allclose(quantiser.gain_K, rms / rms[-1])


def test_moving_average_is_the_mean_of_what_a_code_was_chosen_for(quantiser):
    keeper = CodeKeeper(K, V, C, decay=0.0, moving_average=True)
    quantised = quantiser(torch.randn(8, C, 4, 4))
    before = quantiser.codebook.weight.detach().clone()
    keeper.observe(quantiser, quantised, same)
    keeper.follow(quantiser)
    ids = torch.cat([ids.flatten() for ids in quantised.ids])
    vectors = torch.cat(
        [r.permute(0, 2, 3, 1).reshape(-1, C) / quantiser.gain_K[k] for k, r in enumerate(quantised.residuals)]
    )
    for code in range(V):
        expected = vectors[ids == code].mean(0) if (ids == code).any() else before[code]
        assert torch.allclose(quantiser.codebook.weight[code], expected, atol=1e-5)


def test_dead_codes_come_back_where_the_error_is(quantiser):
    with torch.no_grad():
        quantiser.codebook.weight[:2] = 1e4  # nobody's nearest
    f = torch.randn(16, C, 4, 4)
    keeper = CodeKeeper(K, V, C, decay=0.0)
    quantised = quantiser(f)
    error = (quantised.f_hat_BChw - f).square().mean()
    keeper.observe(quantiser, quantised, same)
    kept = quantiser.codebook.weight[2:].clone()
    rows = keeper.restart(
        quantiser, quantised, below=0.01, generator=torch.Generator().manual_seed(0), gather=alone, broadcast=same
    )
    assert rows.tolist() == [0, 1]
    assert torch.equal(quantiser.codebook.weight[2:], kept)
    again = quantiser(f)
    assert {0, 1} <= set(torch.cat([ids.flatten() for ids in again.ids]).tolist())
    assert (again.f_hat_BChw - f).square().mean() < error
    assert keeper.share_V[:2].tolist() == pytest.approx([1 / V] * 2)  # a new code is not dead at once


def test_restart_takes_the_first_process_s_vectors(quantiser):
    with torch.no_grad():
        quantiser.codebook.weight[0] = 1e4
    keeper = CodeKeeper(K, V, C, decay=0.0)
    quantised = quantiser(torch.randn(4, C, 4, 4))
    keeper.observe(quantiser, quantised, same)
    theirs = torch.full((1, C), 3.0)
    keeper.restart(
        quantiser, quantised, below=0.01, generator=torch.Generator(), gather=alone, broadcast=lambda t: theirs
    )
    assert torch.equal(quantiser.codebook.weight[:1], theirs)


def test_two_processes_restart_codes_as_one(quantiser):
    with torch.no_grad():
        quantiser.codebook.weight[:5] = 1e4
    f, before = torch.randn(6, C, 4, 4), quantiser.codebook.weight.detach().clone()

    def restarted(f, gather):
        quantiser.set_codes(torch.arange(V), before)
        keeper = CodeKeeper(K, V, C, decay=0.0)
        keeper.share_V[:5] = 0
        generator = torch.Generator().manual_seed(3)
        keeper.restart(quantiser, quantiser(f), below=0.01, generator=generator, gather=gather, broadcast=same)
        return quantiser.codebook.weight.detach().clone()

    told = []
    restarted(f[3:], lambda t: told.append(t) or t[None])  # what the second process tells the first
    together = restarted(f[:3], lambda t: torch.stack([t, told[0]]))
    assert torch.allclose(together, restarted(f, alone), atol=1e-5)
    assert (together[:5] < 100).all()


def test_draw_depth_keeps_the_first_scales_and_most_images():
    torch.manual_seed(0)
    depth = draw_depth(6, 3, 0.25, 4000, torch.device("cpu"))
    assert set(depth.tolist()) == {3, 4, 5, 6}
    assert (depth < 6).float().mean() == pytest.approx(0.25, abs=0.03)
    assert (draw_depth(6, 3, 0.0, 100, torch.device("cpu")) == 6).all()
    assert (draw_depth(2, 3, 1.0, 100, torch.device("cpu")) >= 2).all()  # fewer scales than asked for: all are kept
