import torch

from lfvar.nn.scale_inputs import scale_inputs
from lfvar.sampling.filters import Filters
from lfvar.sampling.guidance import Guidance
from lfvar.sampling.noise import SampleNoise
from lfvar.sampling.scale_sampler import ScaleSampler
from sampling_examples import SCHEDULE, SETTINGS, conditions, lively_net


def draw_scales(scales, count, free=None):
    """Maps of the first scales under made-up inputs, and how many rows the head saw for each."""
    rows = []
    hook = scales.net.head.register_forward_pre_hook(lambda _, args: rows.append(args[0].numel() // args[0].shape[-1]))
    noise, inputs = SampleNoise([5, 6], "cpu"), torch.Generator().manual_seed(9)
    scales.start(conditions(2))
    ids = []
    for k, side in enumerate(SCHEDULE.patch_nums[:count]):
        inputs_BlC = scale_inputs(torch.randn(2, 4, 4, 4, generator=inputs), side) if k else None
        ids.append(scales.draw(k, inputs_BlC, noise.exponential(side * side, 50), None if free is None else free[k]))
    hook.remove()
    return ids, rows


def test_the_head_sees_what_is_asked_for_and_counts():
    net = lively_net()
    whole, rows = draw_scales(ScaleSampler(net, *SETTINGS.values()), 3)
    assert rows == [2, 3 * 2 * 4, 3 * 2 * 9]  # three branches, but none of them counts at the first scale
    free = [torch.tensor([1]), torch.tensor([0, 3, 6]), torch.zeros(0, dtype=torch.int64)]
    some, rows = draw_scales(ScaleSampler(net, *SETTINGS.values()), 3, free)
    assert rows == [1, 9, 0]
    for ids, all_ids, free_n in zip(some, whole, free, strict=True):
        expected = torch.zeros_like(all_ids)
        expected.view(-1)[free_n] = all_ids.view(-1)[free_n]
        assert torch.equal(ids, expected)
    assert sum(int(ids.count_nonzero()) for ids in some) >= 3


def test_without_guidance_there_is_one_branch():
    net = lively_net()
    _, rows = draw_scales(ScaleSampler(net, Guidance(), Filters()), 2)
    assert rows == [2, 8]
    _, rows = draw_scales(ScaleSampler(net, Guidance(1.0, ramp="constant"), Filters()), 2)
    assert rows == [4, 16]
