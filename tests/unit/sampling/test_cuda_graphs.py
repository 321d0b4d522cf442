from dataclasses import replace

import pytest
import torch

from lfvar.nn.conditioning import Condition
from lfvar.sampling.cuda_graphs import Graph, SampleGraphs
from lfvar.sampling.filters import Filters
from lfvar.sampling.masking import Kept
from lfvar.sampling.sampler import sample
from sampling_examples import CONFIG, SCHEDULE, SETTINGS, conditions, lively_net, lively_quantiser


def rerun(run):
    """Stands in for recording: what is replayed reads and writes the same tensors as a CUDA graph does."""
    result = run()
    return lambda: result.copy_(run()), result


def assert_same(ours, theirs):
    assert all(map(torch.equal, ours, theirs))


@pytest.fixture(scope="module")
def quantiser():
    return lively_quantiser()


def test_recorded_scales_draw_the_same_ids(quantiser):
    net = lively_net()
    graphs = SampleGraphs(net, capture=rerun)
    condition = conditions(6)
    for seeds, rows in (([1, 2], [0, 1]), ([3, 4], [5, 2]), ([5], [3]), ([6, 7], [4, 4])):
        some = condition.rows(torch.tensor(rows))
        plain = sample(net, quantiser, some, seeds=seeds, **SETTINGS)
        assert_same(sample(net, quantiser, some, seeds=seeds, graphs=graphs, **SETTINGS), plain)


def test_recorded_scales_keep_masks_and_regions_apart(quantiser):
    net = lively_net(replace(CONFIG, mask_aware=True, skin_aware=True))
    graphs = SampleGraphs(net, capture=rerun)
    torch.manual_seed(4)
    for seeds in ([1, 2], [3, 4]):
        condition = replace(
            conditions(2),
            region_BL=torch.randint(1, 3, (2, SCHEDULE.num_tokens)),
            skin_BChw=torch.randn(2, 4, 4, 4),
            told_skin_B=torch.tensor([True, seeds == [3, 4]]),
        )
        source = [torch.randint(50, (2, n)) for n in SCHEDULE.lengths]
        keep = Kept(source, [torch.rand(2, n) > 0.5 for n in SCHEDULE.lengths])
        plain = sample(net, quantiser, condition, seeds=seeds, keep=keep, **SETTINGS)
        assert_same(sample(net, quantiser, condition, seeds=seeds, keep=keep, graphs=graphs, **SETTINGS), plain)


def test_weights_changed_in_place_are_seen(quantiser):
    net, condition = lively_net(), conditions(2)
    graphs = SampleGraphs(net, capture=rerun)
    before = sample(net, quantiser, condition, seeds=[1, 2], graphs=graphs, **SETTINGS)
    with torch.no_grad():
        net.head.weight.neg_()
    after = sample(net, quantiser, condition, seeds=[1, 2], graphs=graphs, **SETTINGS)
    assert not torch.equal(torch.cat(before, dim=1), torch.cat(after, dim=1))
    assert_same(after, sample(net, quantiser, condition, seeds=[1, 2], **SETTINGS))


def test_recordings_are_kept_by_what_they_depend_on(quantiser):
    net = lively_net()
    recorded = []
    graphs = SampleGraphs(net, num_kept=2, capture=lambda run: (recorded.append(1), rerun(run))[1])

    def draw(size, filters=SETTINGS["filters"]):
        recorded.clear()
        settings = SETTINGS | {"filters": filters}
        sample(net, quantiser, conditions(size), seeds=range(size), graphs=graphs, **settings)
        return len(recorded)

    scales = len(SCHEDULE)
    assert [draw(2), draw(2), draw(1), draw(2)] == [scales, 0, scales, 0]
    assert [draw(2, Filters(top_k=3)), draw(2), draw(1)] == [scales, 0, scales]  # the third pushed batch 1 out
    with torch.autocast("cpu", torch.bfloat16):
        assert draw(1) == scales


def test_misfits_are_refused(quantiser):
    net, other = lively_net(), lively_net()
    graphs = SampleGraphs(net, capture=rerun)
    with pytest.raises(ValueError, match="recorded for another net"):
        sample(other, quantiser, conditions(1), seeds=[1], graphs=graphs, **SETTINGS)
    with pytest.raises(ValueError, match="num_kept"):
        SampleGraphs(net, num_kept=0)
    double = Graph(lambda x: 2 * x, [torch.ones(3)], rerun)
    first, second = double(torch.full((3,), 2.0)), double(torch.zeros(3))
    assert first.tolist() == [4, 4, 4]  # a tensor of its own, which the second call left alone
    assert second.tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="recorded for arguments of shapes"):
        double(torch.ones(1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("mixed", [False, True])
def test_cuda_graphs_equal_plain_calls(quantiser, mixed):
    net, quantiser = lively_net().cuda(), lively_quantiser().cuda()
    graphs = SampleGraphs(net)
    with torch.autocast("cuda", torch.bfloat16, enabled=mixed):
        for seeds in ([1, 2, 3], [4, 5, 6]):
            condition = Condition(torch.tensor([0, 1, 2]), torch.randn(3, 5)).to("cuda")
            plain = sample(net, quantiser, condition, seeds=seeds, **SETTINGS)
            assert_same(sample(net, quantiser, condition, seeds=seeds, graphs=graphs, **SETTINGS), plain)
    image_BCHW = torch.randn(2, 4, 4, 4, device="cuda")
    convolution = torch.nn.Conv2d(4, 3, 3, padding=1).cuda()
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16, enabled=mixed):
        graph = Graph(convolution, [torch.zeros_like(image_BCHW)])
        assert torch.equal(graph(image_BCHW), convolution(image_BCHW))
