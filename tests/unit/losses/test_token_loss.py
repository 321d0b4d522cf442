import math

import pytest
import torch
import torch.nn.functional as F

from lfvar.losses.tokens import TokenLoss, TokenLossConfig, scale_shares
from lfvar.nn.conditioning import Region
from lfvar.scales import ScaleSchedule

SCHEDULE = ScaleSchedule((1, 2, 3))


def example(size=4, vocab=7):
    torch.manual_seed(0)
    logits = torch.randn(size, SCHEDULE.num_tokens, vocab, requires_grad=True)
    return logits, torch.randint(vocab, (size, SCHEDULE.num_tokens)), torch.rand(size, SCHEDULE.num_tokens) > 0.6


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_default_is_the_plain_mean(smoothing):
    logits, ids, inside = example()
    losses = TokenLoss(SCHEDULE, TokenLossConfig(label_smoothing=smoothing))(logits, ids, inside)
    expected = F.cross_entropy(logits.flatten(0, 1), ids.flatten(), label_smoothing=smoothing)
    torch.testing.assert_close(losses.loss, expected)
    plain = F.cross_entropy(logits.flatten(0, 1), ids.flatten(), reduction="none").view_as(ids)
    torch.testing.assert_close(losses.nll_BL, plain)
    assert not losses.nll_BL.requires_grad
    assert torch.equal(losses.correct_BL, logits.argmax(-1) == ids)
    ours = torch.autograd.grad(losses.loss, logits)[0]
    theirs = torch.autograd.grad(
        F.cross_entropy(logits.flatten(0, 1), ids.flatten(), label_smoothing=smoothing), logits
    )[0]
    torch.testing.assert_close(ours, theirs)


def naive_loss(logits, ids, inside, region, config):
    """Token by token."""
    shares, total = scale_shares(SCHEDULE, config).tolist(), 0.0
    for row in range(len(ids)):
        for share, place in zip(shares, SCHEDULE.slices, strict=True):
            weights, terms = [], []
            for token in range(place.start, place.stop):
                weight = 1 + config.focus * bool(inside[row, token])
                if region is not None and region[row, token] == Region.OUTSIDE:
                    weight *= config.outside
                weights.append(weight)
                terms.append(F.cross_entropy(logits[row, token], ids[row, token]).item())
            if not sum(weights):
                weights = [1.0] * len(weights)
            total += share * sum(w * t for w, t in zip(weights, terms, strict=True)) / sum(weights)
    return total / len(ids)


@pytest.mark.parametrize(
    "config",
    [
        TokenLossConfig(focus=3.0),
        TokenLossConfig(outside=0.1),
        TokenLossConfig(outside=0.0, focus=1.0, scale_weights="lognormal"),
    ],
)
@pytest.mark.parametrize("told", [False, True])
def test_weights_are_what_they_say(config, told):
    logits, ids, inside = example()
    region = torch.where(inside, int(Region.INSIDE), int(Region.OUTSIDE)) if told else None
    if told:
        region[0] = Region.UNKNOWN
        region[1] = Region.OUTSIDE  # an empty mask
    losses = TokenLoss(SCHEDULE, config)(logits, ids, inside, region)
    assert losses.loss.item() == pytest.approx(naive_loss(logits, ids, inside, region, config), rel=1e-5)


def test_masked_samples_learn_from_the_inside():
    logits, ids, inside = example()
    inside[:, 1] = inside[:, 5] = True
    region = torch.where(inside, int(Region.INSIDE), int(Region.OUTSIDE))
    losses = TokenLoss(SCHEDULE, TokenLossConfig(outside=0.0))(logits, ids, inside, region)
    gradient = torch.autograd.grad(losses.loss, logits)[0].abs().sum(-1)
    assert (gradient[:, 1:][inside[:, 1:]] > 0).all()
    assert (gradient[:, 1:][~inside[:, 1:]] == 0).all()


def test_even_shares_count_every_map_alike():
    schedule = ScaleSchedule((1, 2, 5))
    loss = TokenLoss(schedule, TokenLossConfig(scale_weights="even"))
    weights_L = loss.weights(1)[0]
    assert [float(weights_L[part].sum()) for part in schedule.slices] == pytest.approx([1 / 3] * 3)
    assert scale_shares(ScaleSchedule((1, 2, 3, 4, 6, 8)), TokenLossConfig(scale_weights="lognormal"))[0] < 0.011


def test_lognormal_shares_by_hand():
    schedule, config = ScaleSchedule((1, 2, 3, 4)), TokenLossConfig(scale_weights="lognormal", lognormal_peak=0.5)
    mu, sigma = math.log(2) + 0.25, 0.5
    density = [math.exp(-((math.log(k) - mu) ** 2) / (2 * sigma**2)) / k for k in (1, 2, 3, 4)]
    torch.testing.assert_close(scale_shares(schedule, config), torch.tensor(density) / sum(density))
    assert scale_shares(schedule, config).argmax() == 1  # the peak is at the second of four
    uniform = scale_shares(schedule, TokenLossConfig())
    torch.testing.assert_close(uniform, torch.tensor([1, 4, 9, 16]) / 30)


@pytest.mark.parametrize(
    "change",
    [
        {"label_smoothing": 1.0},
        {"scale_weights": "odd"},
        {"lognormal_peak": 0.0},
        {"lognormal_spread": 0.0},
        {"focus": -1.0},
        {"outside": 1.5},
    ],
)
def test_a_wrong_setting_is_named(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        TokenLossConfig(**change)
