import pytest
import torch
import torch.nn.functional as F

from lfvar.nn.precision import _switches
from lfvar.nn.quantiser import MultiScaleQuantiser, nearest_codes, nearest_phi
from lfvar.scales import ScaleSchedule

SCHEDULE = ScaleSchedule((1, 2, 3, 5))


@pytest.fixture
def quantiser():
    torch.manual_seed(0)
    net = MultiScaleQuantiser(SCHEDULE, vocab_size=40, latent_channels=6, num_phi=3)
    torch.nn.init.normal_(net.codebook.weight)
    return net


def naive_quantise(net, f):
    """One image, one position, one code at a time, from the paper's algorithm 1."""
    all_ids, f_hat = [[] for _ in SCHEDULE.patch_nums], torch.zeros_like(f)
    for b in range(f.shape[0]):
        rest = f[b].clone()
        for k, side in enumerate(SCHEDULE.patch_nums):
            small = F.interpolate(rest[None], size=(side, side), mode="area")[0]
            ids = torch.zeros(side, side, dtype=torch.int64)
            codes = torch.zeros_like(small)
            for y in range(side):
                for x in range(side):
                    distances = [(small[:, y, x] - code).square().sum() for code in net.codebook.weight]
                    ids[y, x] = int(torch.stack(distances).argmin())
                    codes[:, y, x] = net.codebook.weight[ids[y, x]]
            up = codes[None]
            if side != SCHEDULE.latent_size:
                up = F.interpolate(up, size=(SCHEDULE.latent_size,) * 2, mode="bicubic", align_corners=False)
            phi = net.phi[nearest_phi(len(SCHEDULE), 3)[k]]
            part = 0.5 * up + 0.5 * F.conv2d(up, phi.weight, phi.bias, padding=1)
            rest = rest - part[0]
            f_hat[b] += part[0]
            all_ids[k].append(ids.flatten())
    return [torch.stack(ids) for ids in all_ids], f_hat


def test_equals_the_naive_loop(quantiser):
    f = torch.randn(2, 6, 5, 5)
    with torch.no_grad():
        ids, f_hat = naive_quantise(quantiser, f)
    ours = quantiser(f)
    assert all(map(torch.equal, ours.ids, ids))
    torch.testing.assert_close(ours.f_hat_BChw, f_hat, atol=1e-5, rtol=0)


def test_decoding_retraces_encoding(quantiser):
    quantised = quantiser(torch.randn(3, 6, 5, 5))
    for ours, theirs in zip(quantiser.decode_partials(quantised.ids), quantised.partials, strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(quantiser.decode_partials(quantised.ids[:2])[-1], quantised.partials[1])


def test_autocast_changes_no_id(quantiser):
    f = torch.randn(16, 6, 5, 5)
    plain = quantiser(f)
    with torch.autocast("cpu", torch.bfloat16):
        lowered = quantiser(f)
        naive = (f.flatten(2).transpose(1, 2) @ quantiser.codebook.weight.T).dtype
    assert naive == torch.bfloat16  # autocast was really on
    assert all(map(torch.equal, lowered.ids, plain.ids))
    assert torch.equal(lowered.f_hat_BChw, plain.f_hat_BChw)


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_reduced_float32_is_off_inside_and_restored(quantiser, monkeypatch, precision):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        outside = [getattr(place, name) for place, name, _ in _switches()]
        seen = []
        monkeypatch.setattr(
            quantiser, "nearest", lambda z, k: seen.append([getattr(p, n) for p, n, _ in _switches()]) or _zeros(z)
        )
        quantiser(torch.randn(1, 6, 5, 5))
        assert seen == [[exact for _, _, exact in _switches()]] * len(SCHEDULE)
        assert [getattr(place, name) for place, name, _ in _switches()] == outside
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)


def test_unused_phi_wait_for_no_gradient():
    net = MultiScaleQuantiser(ScaleSchedule((1, 2)), vocab_size=8, latent_channels=4, num_phi=4)
    net(torch.randn(2, 4, 2, 2)).f_hat_BChw.sum().backward()
    assert all(p.grad is not None for p in net.parameters() if p.requires_grad)
    assert sum(not conv.weight.requires_grad for conv in net.phi) == 2


def test_search_in_pieces_is_the_same_search():
    z, codes = torch.randn(1000, 6), torch.randn(40, 6)
    expected = torch.cdist(z.double(), codes.double()).argmin(1)
    assert torch.equal(nearest_codes(z, codes, chunk=64), expected)


def _zeros(z):
    return torch.zeros(z.shape[0], z.shape[2] * z.shape[3], dtype=torch.int64)


def test_gradients_reach_what_they_should(quantiser):
    f = torch.randn(2, 6, 5, 5, requires_grad=True)
    quantised = quantiser(f)
    st = quantised.straight_through(f)
    assert torch.allclose(st, quantised.f_hat_BChw)
    (grad,) = torch.autograd.grad(st.sum(), f, retain_graph=True)
    assert torch.equal(grad, torch.ones_like(f))  # past the search, to the encoder
    (grad,) = torch.autograd.grad(quantised.partials[-1].sum(), quantiser.codebook.weight, retain_graph=True)
    used = torch.cat([ids.flatten() for ids in quantised.ids]).unique()
    assert set(grad.abs().sum(1).nonzero().flatten().tolist()) <= set(used.tolist())
    assert grad.abs().sum() > 0
    assert torch.autograd.grad(quantised.partials[-1].sum(), f, retain_graph=True, allow_unused=True)[0] is None


def test_codebook_starts_on_the_features(quantiser):
    f = 3 + 2 * torch.randn(64, 6, 5, 5)
    before = (quantiser(f).f_hat_BChw - f).square().mean()
    quantiser.init_codebook(f, torch.Generator().manual_seed(0))
    after = quantiser(f)
    assert (after.f_hat_BChw - f).square().mean() < before / 2
    used = torch.cat([ids.flatten() for ids in after.ids]).unique()
    assert len(used) == 40  # every code is somebody's nearest


def test_codebook_larger_than_the_data_still_fills():
    net = MultiScaleQuantiser(ScaleSchedule((1, 2)), vocab_size=300, latent_channels=4)
    net.init_codebook(torch.randn(3, 4, 2, 2))
    assert net.codebook.weight.isfinite().all()
    assert len(net.codebook.weight.unique(dim=0)) == 300


def test_wrong_sizes_are_named(quantiser):
    with pytest.raises(ValueError, match=r"\(4, 4\) positions do not fit"):
        quantiser(torch.randn(1, 6, 4, 4))
    with pytest.raises(ValueError, match="do not fit the schedule"):
        quantiser.decode_partials([torch.zeros(1, 3, dtype=torch.int64)])


def test_phi_assignment_of_the_published_models():
    # k = 2 and k = 7 of ten lie half-way between two φ; float64 rounding sends both to the finer one
    assert nearest_phi(10, 4) == (0, 0, 1, 1, 1, 2, 2, 3, 3, 3)
    assert nearest_phi(4, 4) == (0, 1, 2, 3)
    assert nearest_phi(6, 1) == (0,) * 6


def test_gain_is_the_same_as_codes_of_that_length():
    torch.manual_seed(0)
    schedule = ScaleSchedule((1, 2))
    with_gain = MultiScaleQuantiser(schedule, 20, 4, scale_gains=True)
    with_gain.gain_K.data[:] = 3.0
    plain = MultiScaleQuantiser(schedule, 20, 4)
    plain.load_state_dict({name: t for name, t in with_gain.state_dict().items() if name != "gain_K"})
    plain.codebook.weight.data *= 3.0
    f = torch.randn(3, 4, 2, 2)
    ours, theirs = with_gain(f), plain(f)
    assert all(map(torch.equal, ours.ids, theirs.ids))
    assert torch.allclose(ours.f_hat_BChw, theirs.f_hat_BChw, atol=1e-6)
    assert torch.allclose(with_gain.decode_partials(ours.ids)[-1], ours.f_hat_BChw, atol=1e-6)


@pytest.mark.parametrize("normalise", ["none", "z", "l2"])
@pytest.mark.parametrize("code_channels", [None, 2, 4])
def test_every_kind_of_code_searches_what_it_looks_up(normalise, code_channels):
    torch.manual_seed(0)
    net = MultiScaleQuantiser(
        ScaleSchedule((1, 2, 4)), 30, 4, scale_gains=True, normalise=normalise, code_channels=code_channels
    )
    f = torch.randn(20, 4, 4, 4)
    net.init_codebook(f, torch.Generator().manual_seed(0))
    quantised = net(f)
    assert torch.allclose(net.decode_partials(quantised.ids)[-1], quantised.f_hat_BChw, atol=1e-5)
    for k, (residual, codes) in enumerate(zip(quantised.residuals, quantised.codes, strict=True)):
        z = residual.permute(0, 2, 3, 1).reshape(-1, 4)
        table = net.codes() * net.gain(k)
        nearest = torch.cdist(z, table).min(1).values
        chosen = (z - codes.permute(0, 2, 3, 1).reshape(-1, 4)).norm(dim=1)
        assert torch.allclose(chosen, nearest, atol=1e-4)
    lengths = net.codes().norm(dim=1)
    assert (lengths.std() < 0.02) == (normalise != "none")  # layer norm has an ε
    assert torch.linalg.matrix_rank(net.codes().detach(), rtol=1e-4) <= (code_channels or 4)
    quantised.f_hat_BChw.square().sum().backward()
    assert net.codebook.weight.grad.abs().sum() > 0


def test_dropout_leaves_the_first_scales():
    torch.manual_seed(0)
    net = MultiScaleQuantiser(ScaleSchedule((1, 2, 4)), 30, 4)
    torch.nn.init.normal_(net.codebook.weight)
    f = torch.randn(3, 4, 4, 4)
    dropped = net(f, depth_B=torch.tensor([1, 2, 3]))
    whole = net(f)
    assert dropped.kept_KB.tolist() == [[True, True, True], [False, True, True], [False, False, True]]
    for image, kept in enumerate((1, 2, 3)):
        assert torch.allclose(dropped.f_hat_BChw[image], whole.partials[kept - 1][image], atol=1e-6)
