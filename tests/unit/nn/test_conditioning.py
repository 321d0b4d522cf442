import pytest
import torch

from lfvar.nn.conditioning import (
    Condition,
    ConditionDropConfig,
    Conditioning,
    drop_condition,
    measurement_groups,
)

NAMES = ["shape_area", "shape_sphericity", "histogram_mean", "texture_glcm_contrast", "clinical_redness"]


def dropped(rates, size=20000, seed=0, groups=()):
    label, present = torch.zeros(size, dtype=torch.int64), torch.ones(size, 5, dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    return drop_condition(label, present, generator, rates, groups, null_class=7)


def test_groups_follow_names():
    assert measurement_groups(NAMES) == {"shape": (0, 1), "histogram": (2,), "texture": (3,), "clinical": (4,)}


def test_shares_are_as_asked():
    rates = ConditionDropConfig(joint=0.1, label=0.2, measurements=0.15, sparse=0.0, group=0.0)
    label, present = dropped(rates)
    no_label, no_values = label == 7, ~present.any(dim=1)
    assert (present.all(dim=1) | no_values).all()
    assert (no_label & no_values).float().mean() == pytest.approx(0.1, abs=0.01)
    assert (no_label & ~no_values).float().mean() == pytest.approx(0.2, abs=0.01)
    assert (~no_label & no_values).float().mean() == pytest.approx(0.15, abs=0.01)


def test_groups_go_together_and_apart_from_each_other():
    rates = ConditionDropConfig(joint=0, label=0, measurements=0, sparse=0, group=0.3)
    _, present = dropped(rates, groups=measurement_groups(NAMES).values())
    assert torch.equal(present[:, 0], present[:, 1])
    lost = (~present).float()
    assert lost.mean(dim=0).tolist() == pytest.approx([0.3] * 5, abs=0.02)
    assert (lost[:, 0] * lost[:, 2]).mean() == pytest.approx(0.09, abs=0.01)  # independent


def test_sparse_samples_keep_any_number_of_measurements():
    rates = ConditionDropConfig(joint=0, label=0, measurements=0, sparse=1, group=0)
    _, present = dropped(rates)
    counts = present.sum(dim=1).bincount(minlength=6)
    assert counts[0] == 0
    share = torch.log(torch.tensor([2.0, 1.5, 4 / 3, 1.25])) / torch.log(torch.tensor(5.0))
    assert (counts[1:5] / 20000).tolist() == pytest.approx(share.tolist(), abs=0.02)
    assert present.float().mean(dim=0).std() < 0.02  # no measurement is preferred


def test_dropping_only_takes_away_and_is_repeatable():
    rates = ConditionDropConfig(0.2, 0.1, 0.1, 0.3, 0.2)
    label, present = torch.arange(500) % 7, torch.rand(500, 5) > 0.3
    draws = [
        drop_condition(label, present, torch.Generator().manual_seed(s), rates, [(0, 1)], null_class=7)
        for s in (1, 1, 2)
    ]
    assert all(map(torch.equal, draws[0], draws[1]))
    assert not torch.equal(draws[0][1], draws[2][1])
    assert not (draws[0][1] & ~present).any()
    assert ((draws[0][0] == label) | (draws[0][0] == 7)).all()
    no_values = drop_condition(label, None, torch.Generator().manual_seed(1), rates, null_class=7)
    assert torch.equal(no_values[0], draws[0][0])
    assert no_values[1] is None


def test_rates_are_checked():
    with pytest.raises(ValueError, match="at most 1"):
        ConditionDropConfig(joint=0.6, label=0.6)
    with pytest.raises(ValueError, match="group is a share"):
        ConditionDropConfig(group=-0.1)


@pytest.mark.parametrize("kind", ["periodic", "piecewise"])
def test_missing_values_are_not_read(kind):
    torch.manual_seed(0)
    net = Conditioning(16, 7, 5, kind=kind)
    torch.nn.init.normal_(net.measurements.out.weight)
    label, present = torch.zeros(2, dtype=torch.int64), torch.tensor([[1, 1, 0, 1, 0]] * 2).bool()
    values = torch.randn(1, 5).repeat(2, 1)
    values[1, 2], values[1, 4] = torch.nan, 1e9
    out = net(Condition(label, values, present))
    assert torch.equal(out[0], out[1])
    assert not torch.equal(out[0], net(Condition(label, values.nan_to_num()))[0])  # missing is not zero
    nothing = net(net.without(Condition(label, values, present), measurements=True))
    assert torch.equal(nothing, net(Condition(label)))
    out.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


def test_lfvar_encoder_needs_all_and_cannot_drop():
    net = Conditioning(16, 7, 5, kind="lfvar")
    label = torch.tensor([1, 7])
    assert not net.can_drop_measurements
    values = torch.rand(2, 5)
    linear, norm, _ = net.measurements
    expected = net.classes(label) + torch.nn.functional.silu(norm(linear(values)))
    torch.testing.assert_close(net(Condition(label, values)), expected)
    with pytest.raises(ValueError, match="needs measurements for every sample"):
        net(Condition(label))


def test_usable_leaves_out_what_the_net_cannot_take():
    full = Condition(torch.tensor([3]), torch.randn(1, 5), region_BL=torch.ones(1, 4, dtype=torch.int64))
    plain = Conditioning(8, 7, 0).usable(full)
    assert plain == Condition(full.label_B)
    only_values = Conditioning(8, 0, 5)
    assert only_values.usable(full).label_B.tolist() == [only_values.null_class] == [0]
    assert only_values.usable(full).measurements_BM is full.measurements_BM
    assert Conditioning(8, 7, 0, mask_aware=True).usable(full).region_BL is full.region_BL
    with_skin = Condition(torch.tensor([3]), skin_BChw=torch.randn(1, 4, 2, 2))
    assert plain == Conditioning(8, 7, 0).usable(with_skin)
    assert Conditioning(8, 7, 0, skin_channels=4).usable(with_skin).told_skin_B.tolist() == [True]


def test_conditions_stack_and_select():
    a = Condition(torch.tensor([1, 2]), torch.randn(2, 5))
    both = Condition.cat([a, a])
    assert len(both) == 4
    assert torch.equal(both.rows(slice(2, 4)).measurements_BM, a.measurements_BM)
    assert both.present_BM.all()
    with pytest.raises(ValueError, match="do not fit together"):
        Condition(torch.tensor([1]), torch.randn(2, 5))
