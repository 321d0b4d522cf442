import pytest

from lfvar.scales import ScaleSchedule


def test_counts_and_slices():
    schedule = ScaleSchedule((1, 2, 4))
    assert schedule.num_tokens == 21
    assert schedule.latent_size == 4
    assert schedule.lengths == (1, 4, 16)
    assert schedule.slices == (slice(0, 1), slice(1, 5), slice(5, 21))


@pytest.mark.parametrize(
    ("patch_nums", "words"), [((4, 2), "grow strictly, got 4 before 2"), ((), "at least one"), ((0, 1), ">= 1")]
)
def test_nonsense_is_refused(patch_nums, words):
    with pytest.raises(ValueError, match=words):
        ScaleSchedule(patch_nums)
