from dataclasses import replace

import pytest
import torch

from lfvar.nn.quantiser import MultiScaleQuantiser
from lfvar.nn.scale_inputs import scale_inputs, teacher_inputs
from lfvar.nn.var import VAR
from lfvar.sampling.filters import Filters, filter_logits
from lfvar.sampling.guidance import Guidance
from lfvar.sampling.masking import Kept
from lfvar.sampling.noise import SampleNoise
from lfvar.sampling.sampler import sample
from lfvar.sampling.scale_sampler import ScaleSampler
from sampling_examples import CONFIG, SCHEDULE, SETTINGS, conditions, lively_net, lively_quantiser


@pytest.fixture(scope="module")
def net():
    return lively_net()


@pytest.fixture(scope="module")
def quantiser():
    return lively_quantiser()


def scores(net, quantiser, condition, ids, seed):
    """Guided, filtered logits plus noise of one sample, teacher-forced: what each of its tokens had to win against."""
    inputs = teacher_inputs(quantiser.decode_partials(ids), SCHEDULE)
    null = net.conditioning.without
    full, label, nothing = (
        net(inputs, c)
        for c in (condition, null(condition, measurements=True), null(condition, label=True, measurements=True))
    )
    noise, pieces = SampleNoise([seed], "cpu"), []
    for k, place in enumerate(SCHEDULE.slices):
        w_c, w_m = 1 + 1.0 * k / 3, 1 + 2.0 * k / 3
        logits = (nothing + w_c * (label - nothing) + w_m * (full - label))[:, place]
        drawn = noise.exponential(SCHEDULE.lengths[k], 50)
        pieces.append(filter_logits(logits, SETTINGS["filters"]) - drawn.log())
    return torch.cat(pieces, dim=1)


def test_samples_are_what_teacher_forcing_would_choose(net, quantiser):
    condition = conditions(4)
    ids = sample(net, quantiser, condition, seeds=[7, 8, 9, 10], **SETTINGS)
    assert [tuple(ids_Bl.shape) for ids_Bl in ids] == [(4, n) for n in SCHEDULE.lengths]
    assert len(torch.cat(ids, dim=1).unique()) > 10
    for row in range(4):
        one = [ids_Bl[row : row + 1] for ids_Bl in ids]
        with torch.no_grad():
            score = scores(net, quantiser, condition.rows(slice(row, row + 1)), one, 7 + row)
        chosen = score.gather(-1, torch.cat(one, dim=1)[..., None])[..., 0]
        assert (chosen >= score.amax(dim=-1) - 1e-4).all()  # the winner, or tied with it up to rounding


def test_a_seed_gives_the_same_ids_in_any_company(net, quantiser):
    condition = conditions(6)
    seeds = [11, 12, 13, 14, 15, 16]
    together = torch.cat(sample(net, quantiser, condition, seeds=seeds, **SETTINGS), dim=1)
    order = torch.tensor([4, 0, 2])
    some = sample(net, quantiser, condition.rows(order), seeds=[seeds[i] for i in order], **SETTINGS)
    assert torch.equal(torch.cat(some, dim=1), together[order])
    for row in (1, 5):
        alone = sample(net, quantiser, condition.rows(slice(row, row + 1)), seeds=seeds[row : row + 1], **SETTINGS)
        assert torch.equal(torch.cat(alone, dim=1)[0], together[row])
    assert not torch.equal(together[0], together[3])
    twins = sample(net, quantiser, condition.rows(torch.tensor([0, 0])), seeds=[11, 11], **SETTINGS)
    assert all(torch.equal(ids[0], ids[1]) for ids in twins)


def test_kept_tokens_stay_and_the_rest_is_sampled(net, quantiser):
    condition = conditions(2)
    torch.manual_seed(4)
    source = [torch.randint(50, (2, n)) for n in SCHEDULE.lengths]
    keep = [torch.rand(2, n) > 0.5 for n in SCHEDULE.lengths]
    ids = sample(net, quantiser, condition, seeds=[1, 2], keep=Kept(source, keep), **SETTINGS)
    for ours, theirs, stays in zip(ids, source, keep, strict=True):
        assert torch.equal(ours[stays], theirs[stays])
    assert not torch.equal(ids[-1], source[-1])
    nothing = [torch.zeros_like(k) for k in keep]
    free = sample(net, quantiser, condition, seeds=[1, 2], keep=Kept(source, nothing), **SETTINGS)
    assert all(map(torch.equal, free, sample(net, quantiser, condition, seeds=[1, 2], **SETTINGS)))


def test_kept_tokens_change_no_other_draw(net, quantiser):
    """Whatever is kept gets no logits; the free tokens are those of drawing all of them and putting the kept over."""
    condition, seeds = conditions(3), [1, 2, 3]
    torch.manual_seed(4)
    source = [torch.randint(50, (3, n)) for n in SCHEDULE.lengths]
    keep = [torch.rand(3, n) > 0.5 for n in SCHEDULE.lengths]
    for keep_Bl in keep:
        keep_Bl[1], keep_Bl[2] = True, False
    keep[1][:] = True
    edited = sample(net, quantiser, condition, seeds=seeds, keep=Kept(source, keep), **SETTINGS)

    scales, noise = ScaleSampler(net, *SETTINGS.values()), SampleNoise(seeds, "cpu")
    scales.start(condition)
    f_hat = torch.zeros(3, 4, 4, 4)
    for k, side in enumerate(SCHEDULE.patch_nums):
        drawn = scales.draw(k, scale_inputs(f_hat, side) if k else None, noise.exponential(side * side, 50))
        ids = torch.where(keep[k], source[k], drawn)
        assert torch.equal(ids, edited[k])
        f_hat = f_hat + quantiser.contribution_of_ids(k, ids)


def test_requantised_editing_ends_nearer_to_the_source(net, quantiser):
    """Half of the map is kept: with tokens chosen again, that half of f̂ is nearer to f than with the stored ones."""
    torch.manual_seed(5)
    f = quantiser.decode_partials([torch.randint(50, (16, n)) for n in SCHEDULE.lengths])[-1]
    source = quantiser(f).ids
    keep = [torch.zeros(16, p, p, dtype=torch.bool) for p in SCHEDULE.patch_nums]
    for level in keep[1:]:
        level[:, :, : level.shape[-1] // 2] = True
    keep = [level.flatten(1) for level in keep]
    errors = []
    for features in (None, f):
        kept = Kept(source, keep, features)
        ids = sample(net, quantiser, conditions(16), seeds=range(16), keep=kept, **SETTINGS)
        f_hat = quantiser.decode_partials(ids)[-1]
        errors.append((f_hat - f)[..., :2].square().mean())
    assert errors[1] < errors[0]


def test_greedy_ignores_the_seed(net, quantiser):
    greedy = {"guidance": Guidance(), "filters": Filters(top_k=1)}
    first, second = (sample(net, quantiser, conditions(2), seeds=seeds, **greedy) for seeds in ([1, 2], [3, 4]))
    assert all(map(torch.equal, first, second))


def test_sampling_leaves_nothing_behind(net, quantiser):
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    attributes = set(vars(net))
    state = torch.get_rng_state()
    sample(net, quantiser, conditions(2), seeds=[1, 2], **SETTINGS)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert set(vars(net)) == attributes
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is nobody's business


def test_misfits_are_named(net, quantiser):
    condition = conditions(2)
    with pytest.raises(ValueError, match="numbers of samples differ"):
        sample(net, quantiser, condition, seeds=[1], **SETTINGS)
    with pytest.raises(ValueError, match="net and tokenizer do not fit"):
        sample(net, MultiScaleQuantiser(SCHEDULE, 51, 4), condition, seeds=[1, 2], **SETTINGS)
    with pytest.raises(ValueError, match=r"call net.eval\(\)"):
        sample(VAR(replace(CONFIG, depth=1)), quantiser, condition, seeds=[1, 2], **SETTINGS)
