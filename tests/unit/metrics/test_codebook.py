import pytest
import torch

from lfvar.metrics.codebook import CodebookUsage
from lfvar.scales import ScaleSchedule


def test_uniform_use_is_full_at_every_scale():
    # 1×1 makes a sixteenth of the look-ups of 4×4; held to the finest scale's count it could not exceed 1/16
    metric = CodebookUsage(ScaleSchedule((1, 2, 4)), 64)
    for start in range(0, 64, 4):
        metric.update([(torch.arange(4 * p * p) + start).remainder(64).view(4, -1) for p in (1, 2, 4)])
    values = metric.compute()
    for name in ("1x1", "2x2", "4x4", "all"):
        assert values[f"usage_{name}"].item() == 1
        assert values[f"perplexity_{name}"].item() == pytest.approx(64, rel=1e-5)


def test_few_lookups_are_measured_against_what_was_possible():
    metric = CodebookUsage(ScaleSchedule((1, 2)), 100)
    metric.update([torch.tensor([[3], [3]]), torch.tensor([[0, 1, 2, 3], [0, 1, 2, 3]])])
    values = metric.compute()
    assert values["usage_1x1"].item() == 0.5  # one code in two look-ups
    assert values["usage_2x2"].item() == 0.5  # four in eight
    assert values["perplexity_1x1"].item() == pytest.approx(1)
    assert values["perplexity_2x2"].item() == pytest.approx(4, rel=1e-5)


def test_collapse_shows():
    metric = CodebookUsage(ScaleSchedule((4,)), 16)
    metric.update([torch.zeros(8, 16, dtype=torch.int64)])
    assert metric.compute()["usage_4x4"].item() == pytest.approx(1 / 16)
