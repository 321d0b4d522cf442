import pytest
import torch

from lfvar.metrics.tokens import TokenScores, scale_means
from lfvar.scales import ScaleSchedule

SCHEDULE = ScaleSchedule((1, 2, 4))


def example(size=12):
    torch.manual_seed(0)
    shape = (size, SCHEDULE.num_tokens)
    return torch.rand(shape) * 5, torch.rand(shape) > 0.5, torch.rand(shape) > 0.7


def test_means_over_tokens_whatever_the_batches():
    nll, correct, inside = example()
    scores = TokenScores(SCHEDULE)
    for rows in (slice(0, 5), slice(5, 6), slice(6, 12)):
        scores.update(nll[rows], correct[rows], inside[rows])
    values = scores.compute()
    assert values["loss"] == pytest.approx(nll.mean().item(), rel=1e-5)
    assert values["accuracy"] == pytest.approx(correct.float().mean().item())
    assert values["loss_inside"] == pytest.approx(nll[inside].mean().item(), rel=1e-5)
    assert values["accuracy_inside"] == pytest.approx(correct[inside].float().mean().item())
    for side, place in zip((1, 2, 4), SCHEDULE.slices, strict=True):
        assert values[f"loss_{side}x{side}"] == pytest.approx(nll[:, place].mean().item(), rel=1e-5)
        assert values[f"accuracy_{side}x{side}"] == pytest.approx(correct[:, place].float().mean().item())


def test_sums_of_two_processes_are_those_of_one():
    nll, correct, inside = example()
    one, first, second = (TokenScores(SCHEDULE) for _ in range(3))
    one.update(nll, correct, inside)
    first.update(nll[:7], correct[:7], inside[:7])
    second.update(nll[7:], correct[7:], inside[7:])
    for name, reduce in one._reductions.items():
        both = reduce(torch.stack([getattr(first, name), getattr(second, name)]))
        torch.testing.assert_close(both, getattr(one, name))


def test_images_without_lesions_have_no_inside():
    nll, correct, inside = example()
    scores = TokenScores(SCHEDULE)
    scores.update(nll, correct, torch.zeros_like(inside))
    assert not [name for name in scores.compute() if name.endswith("inside")]


def test_means_per_scale():
    nll, correct, _ = example()
    torch.testing.assert_close(scale_means(nll, SCHEDULE)[2], nll[:, 5:].mean())
    torch.testing.assert_close(scale_means(correct, SCHEDULE)[1], correct[:, 1:5].float().mean())
