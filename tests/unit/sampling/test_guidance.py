import pytest
import torch

from lfvar.errors import ConfigError
from lfvar.nn.conditioning import Condition, Conditioning
from lfvar.sampling.guidance import Branch, Guidance, branch_conditions, combine_branches, guidance_branches

BOTH = Conditioning(8, 7, 5)


def guided(guidance, conditioning, logits, share=1.0):
    """Combine logits given per (type there, measurements there)."""
    branches = guidance_branches(guidance, conditioning)
    stacked = torch.cat([logits[not b.drop_label, not b.drop_measurements] for b in branches])
    return combine_branches(stacked, branches, share)


@pytest.mark.parametrize(("s_c", "s_m"), [(0.0, 0.0), (1.5, 1.5), (2.0, 0.0), (0.0, 3.0), (1.0, 4.0)])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_two_weights_as_in_the_formula(s_c, s_m, share):
    torch.manual_seed(0)
    logits = {key: torch.randn(2, 3, 6) for key in [(True, True), (True, False), (False, False)]}
    w_c, w_m = 1 + share * s_c, 1 + share * s_m
    nothing, label, full = logits[False, False], logits[True, False], logits[True, True]
    expected = nothing + w_c * (label - nothing) + w_m * (full - label)
    torch.testing.assert_close(guided(Guidance(s_c, s_m), BOTH, logits, share), expected, atol=1e-5, rtol=0)


def test_no_evaluation_is_wasted():
    def count(guidance, conditioning=BOTH):
        return len(guidance_branches(guidance, conditioning))

    assert count(Guidance()) == 1
    assert count(Guidance(1.5)) == 2  # one strength for both
    assert count(Guidance(1.5, 0.0)) == 3
    assert count(Guidance(0.0, 2.0)) == 2
    assert count(Guidance(1.5), Conditioning(8, 7, 0)) == 2
    assert count(Guidance(1.5, 0.0), Conditioning(8, 7, 0)) == 2
    assert count(Guidance(1.5), Conditioning(8, 0, 5)) == 2


def test_one_strength_is_ordinary_guidance():
    assert guidance_branches(Guidance(1.5), BOTH) == [Branch(False, False, 1.5), Branch(True, True, -1.5)]


def test_a_type_cannot_be_guided_where_there_is_none():
    assert guidance_branches(Guidance(1.5, 0.0), Conditioning(8, 0, 5)) == [Branch(False, False, 0.0)]


def test_measurements_that_cannot_be_dropped_are_not_guided():
    lfvar = Conditioning(8, 7, 5, kind="lfvar")
    assert guidance_branches(Guidance(2.0), lfvar) == [Branch(False, False, 2.0), Branch(True, False, -2.0)]
    for conditioning in (lfvar, Conditioning(8, 7, 0)):
        with pytest.raises(ConfigError, match="measurement_strength=1 needs"):
            guidance_branches(Guidance(2.0, 1.0), conditioning)


def test_branches_see_what_they_should():
    condition = Condition(torch.tensor([2, 4]), torch.randn(2, 5))
    stacked = branch_conditions(condition, guidance_branches(Guidance(1.0, 2.0), BOTH), BOTH)
    assert stacked.label_B.tolist() == [2, 4, 2, 4, 7, 7]
    assert stacked.present_BM.any(dim=1).tolist() == [True, True, False, False, False, False]


def test_strength_grows_over_the_scales():
    assert [Guidance(1.0).share(k, 5) for k in range(5)] == [0, 0.25, 0.5, 0.75, 1]
    assert [Guidance(1.0, ramp="constant").share(k, 5) for k in range(5)] == [1] * 5
    assert Guidance(1.0).share(0, 1) == 0
    with pytest.raises(ValueError, match="ramp is one of"):
        Guidance(1.0, ramp="cosine")
