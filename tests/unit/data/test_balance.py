from collections import Counter

import pytest

from lfvar.data.balance import BalancedStream

LABELS = ["nv"] * 20 + ["mel"] * 5 + ["df"] * 2 + ["bkl"]


def draws(stream, batches):
    out = []
    while len(out) < batches:
        for batch in stream:
            stream.next_draw += stream.global_batch_size
            out.append(batch)
            if len(out) == batches:
                break
    return out


def test_every_class_once_per_round():
    seen = [LABELS[image] for batch in draws(BalancedStream(LABELS, 6, seed=0), 40) for image, _ in batch]
    rounds = [seen[start : start + 4] for start in range(0, len(seen), 4)]
    assert all(sorted(names) == ["bkl", "df", "mel", "nv"] for names in rounds)
    assert len({tuple(names) for names in rounds}) > 10  # not always in the same order


def test_every_image_of_a_class_once_per_pass():
    seen = [image for batch in draws(BalancedStream(LABELS, 8, seed=1), 40) for image, _ in batch]  # 80 of each class
    for first, count in ((0, 20), (20, 5), (25, 2), (27, 1)):
        images = [image for image in seen if first <= image < first + count]
        passes = [images[start : start + count] for start in range(0, 80, count)]
        assert all(sorted(order) == list(range(first, first + count)) for order in passes)
        assert count == 1 or len({tuple(order) for order in passes}) > 1
    assert Counter(Counter(seen).values()) == {4: 20, 16: 5, 40: 2, 80: 1}


@pytest.mark.parametrize("killed_after", [1, 3, 8])
def test_entering_anywhere_gives_the_same_draws(killed_after):
    whole = draws(BalancedStream(LABELS, 3, seed=2), 30)
    resumed = BalancedStream(LABELS, 3, seed=2)
    resumed.next_draw = killed_after * 3
    assert draws(resumed, 30 - killed_after) == whole[killed_after:]


def test_two_processes_see_what_one_does():
    one = draws(BalancedStream(LABELS, 6, seed=3), 15)
    pair = [draws(BalancedStream(LABELS, 3, seed=3, rank=rank, world_size=2), 15) for rank in (0, 1)]
    assert [a + b for a, b in zip(*pair, strict=True)] == one


def test_a_pass_keeps_its_length_and_seeds_differ():
    assert len(BalancedStream(LABELS, 4, seed=0)) == 7
    assert draws(BalancedStream(LABELS, 4, seed=0), 5) != draws(BalancedStream(LABELS, 4, seed=1), 5)


def test_one_class_is_the_plain_case():
    seen = [image for batch in draws(BalancedStream(["a"] * 5, 5, seed=0), 4) for image, _ in batch]
    assert all(sorted(seen[start : start + 5]) == list(range(5)) for start in range(0, 20, 5))
