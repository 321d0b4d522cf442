import pytest

from lfvar.data.stream import SampleStream, ShardSampler


def draws(stream, batches):
    """Batches across passes, as a loader takes them."""
    out = []
    while len(out) < batches:
        for batch in stream:
            stream.next_draw += stream.global_batch_size
            out.append(batch)
            if len(out) == batches:
                break
    return out


@pytest.mark.parametrize(("num_images", "batch_size"), [(10, 4), (8, 4), (3, 8), (1, 2)])
def test_every_image_once_per_pass(num_images, batch_size):
    stream = SampleStream(num_images, batch_size, seed=0)
    seen = [image for batch in draws(stream, 30) for image, _ in batch]
    for start in range(0, len(seen) - num_images, num_images):
        assert sorted(seen[start : start + num_images]) == list(range(num_images))
    assert seen[:num_images] != seen[num_images : 2 * num_images] or num_images < 4


@pytest.mark.parametrize("killed_after", [1, 2, 3, 7])
def test_entering_anywhere_gives_the_same_draws(killed_after):
    whole = draws(SampleStream(10, 4, seed=1), 12)
    resumed = SampleStream(10, 4, seed=1)
    resumed.next_draw = killed_after * 4
    assert draws(resumed, 12 - killed_after) == whole[killed_after:]


def test_two_processes_see_what_one_does():
    one = draws(SampleStream(11, 4, seed=2), 6)
    pair = [draws(SampleStream(11, 2, seed=2, rank=rank, world_size=2), 6) for rank in (0, 1)]
    assert [a + b for a, b in zip(*pair, strict=True)] == one


def test_seeds_differ():
    assert draws(SampleStream(50, 4, seed=0), 3) != draws(SampleStream(50, 4, seed=1), 3)


def test_shards_cover_once():
    shards = [list(ShardSampler(7, rank, 3)) for rank in range(3)]
    assert sorted(index for shard in shards for index in shard) == list(range(7))
    assert [len(ShardSampler(7, rank, 3)) for rank in range(3)] == [3, 2, 2]
