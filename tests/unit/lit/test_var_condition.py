import pytest
import torch

from lfvar.lit import var_condition
from lfvar.lit.var_condition import ConditionSource
from lfvar.lit.var_config import ConditionConfig
from lfvar.nn.conditioning import ConditionDropConfig, Conditioning, Region
from lfvar.scales import ScaleSchedule
from lfvar.types import Batch
from var_examples import MEANING, NOTHING_DROPPED, image_batch

SCHEDULE = ScaleSchedule((1, 2, 4))


def source(config, *, num_classes=3, num_measurements=4, mask=True, skin=0, kind="periodic", seed=0):
    options = {"kind": kind, "feature_width": 4, "mask_aware": mask, "skin_channels": skin}
    conditioning = Conditioning(8, num_classes, num_measurements, **options)
    return ConditionSource(conditioning, config, SCHEDULE, MEANING.feature_names[:num_measurements], seed)


def rows(batch, index):
    return Batch(
        batch.image_BCHW[index], batch.mask_B1HW[index], batch.label_B[index], batch.measurements_BM[index],
        batch.present_BM[index], batch.image_id[index],
    )  # fmt: skip


def test_validation_tells_everything():
    batch = image_batch()
    conditions = source(ConditionConfig(mask=True))
    inside = conditions.inside(batch)
    full = conditions.full(batch, inside)
    assert torch.equal(full.label_B, batch.label_B)
    assert torch.equal(full.measurements_BM, batch.measurements_BM)
    assert torch.equal(full.present_BM, batch.present_BM)
    for row in range(len(batch)):  # the finest map has cells of 4 × 4 pixels
        cells = batch.mask_B1HW[row, 0].view(4, 4, 4, 4).amax(dim=(1, 3)).flatten() > 0
        assert torch.equal(inside[row, 5:], cells)
    assert torch.equal(full.region_BL == Region.INSIDE, inside)
    assert torch.equal(full.region_BL == Region.OUTSIDE, ~inside)


def test_what_the_net_has_no_input_for_is_left_out():
    batch = image_batch()
    conditions = source(ConditionConfig(), num_classes=0, num_measurements=0, mask=False)
    drawn = conditions.draw(batch, conditions.inside(batch), (0, 0))
    assert not drawn.shares
    assert not drawn.condition.label_B.any()
    assert drawn.condition.measurements_BM is drawn.condition.present_BM is drawn.condition.region_BL is None


def test_shares_are_those_of_the_config():
    batch = image_batch(4000)
    rates = ConditionDropConfig(joint=0.1, label=0.2, measurements=0.05, sparse=0.1, group=0.3)
    conditions = source(ConditionConfig(mask=True, drop=rates, own_mask=0.5, other_mask=0.2))
    inside = conditions.inside(batch)
    drawn = conditions.draw(batch, inside, (3, 0))
    lost = drawn.condition.label_B == 3
    assert lost.float().mean() == pytest.approx(0.3, abs=0.03)
    assert torch.equal(drawn.condition.label_B[~lost], batch.label_B[~lost])
    assert drawn.shares["label_dropped"] == lost.float().mean()
    kept = drawn.condition.present_BM
    assert not (kept & ~batch.present_BM).any()
    assert drawn.shares["measurements_dropped"] == (~kept.any(dim=1)).float().mean()
    assert drawn.shares["measurements_kept"] == kept.sum() / batch.present_BM.sum()
    assert 0.45 < drawn.shares["measurements_kept"] < 0.65  # 0.85 × 0.7, and few of a tenth
    region = drawn.condition.region_BL
    unknown = (region == Region.UNKNOWN).all(dim=1)
    own = ((region == Region.INSIDE) == inside).all(dim=1) & ~unknown
    assert unknown.float().mean() == pytest.approx(0.3, abs=0.03)
    assert drawn.shares["own_mask"] == pytest.approx(0.5, abs=0.03)
    assert drawn.shares["other_mask"] == pytest.approx(0.2, abs=0.03)
    assert own.float().mean() > drawn.shares["own_mask"] - 1e-6  # another mask may look the same
    assert own.float().mean() < drawn.shares["own_mask"] + 0.1
    masks = {tuple(row) for row in inside.tolist()}
    assert {tuple(row) for row in (region == Region.INSIDE)[~unknown].tolist()} <= masks


def test_skin_is_told_to_some_of_those_that_know_their_own_mask():
    batch = image_batch(2000)
    config = ConditionConfig(mask=True, skin=True, own_mask=0.6, other_mask=0.2, own_skin=0.25)
    conditions = source(config, skin=4)
    inside, skin = conditions.inside(batch), torch.randn(2000, 4, 4, 4)
    drawn = conditions.draw(batch, inside, (1, 0), skin)
    told = drawn.condition.told_skin_B
    assert drawn.shares["own_skin"] == told.float().mean() == pytest.approx(0.25, abs=0.03)
    assert torch.equal((drawn.condition.region_BL == Region.INSIDE)[told], inside[told])
    assert torch.equal(drawn.condition.skin_BChw, skin)
    assert conditions.full(batch, inside, skin).told_skin_B.all()


def test_nothing_is_taken_where_all_rates_are_zero():
    batch = image_batch()
    config = ConditionConfig(mask=True, skin=True, drop=NOTHING_DROPPED, own_mask=1.0, other_mask=0.0, own_skin=1.0)
    conditions = source(config, skin=4)
    inside, skin = conditions.inside(batch), torch.randn(len(batch), 4, 4, 4)
    drawn, full = conditions.draw(batch, inside, (0, 0), skin).condition, conditions.full(batch, inside, skin)
    assert all(torch.equal(getattr(drawn, name), getattr(full, name)) for name in vars(full))


def test_other_masks_are_of_other_samples():
    batch = image_batch()
    conditions = source(ConditionConfig(mask=True, own_mask=0.0, other_mask=1.0))
    numbered = torch.arange(len(batch))[:, None].bitwise_and(2 ** torch.arange(21)[None]) > 0  # row in binary
    for step in range(5):
        region = conditions.draw(batch, numbered, (step, 0)).condition.region_BL
        whose = ((region == Region.INSIDE) * 2 ** torch.arange(21)).sum(dim=1)
        assert (whose != torch.arange(len(batch))).all()
        assert whose.unique().numel() == len(batch)


def test_step_and_seed_decide_the_draw():
    batch = image_batch(64)
    config = ConditionConfig(mask=True)

    def draw(seed, step):
        conditions = source(config, seed=seed)
        return conditions.draw(batch, conditions.inside(batch), step).condition.present_BM

    assert torch.equal(draw(0, (5, 1)), draw(0, (5, 1)))
    for seed, step in [(1, (5, 1)), (0, (6, 1)), (0, (5, 0))]:
        assert not torch.equal(draw(0, (5, 1)), draw(seed, step))


def test_two_processes_draw_what_one_does(monkeypatch):
    batch = image_batch(16)
    conditions = source(ConditionConfig(mask=True, skin=True, own_mask=0.3, other_mask=0.5, own_skin=0.2), skin=4)
    inside, skin = conditions.inside(batch), torch.randn(16, 4, 4, 4)
    one = conditions.draw(batch, inside, (7, 0), skin).condition
    monkeypatch.setattr(var_condition, "_gather_rows", lambda _: inside)
    for rank, part in enumerate((slice(0, 8), slice(8, 16))):
        monkeypatch.setattr(var_condition, "place_among_processes", lambda rank=rank: (rank, 2))
        half = conditions.draw(rows(batch, part), inside[part], (7, 0), skin[part]).condition
        for name, tensor in vars(one).items():
            assert torch.equal(getattr(half, name), tensor[part]), name


def test_lfvar_measurements_are_never_taken_away():
    batch = image_batch()
    conditions = source(ConditionConfig(drop=ConditionDropConfig(0.5, 0, 0.5, 0, 0)), kind="lfvar", mask=False)
    drawn = conditions.draw(batch, conditions.inside(batch), (0, 0))
    assert torch.equal(drawn.condition.present_BM, batch.present_BM)
    assert list(drawn.shares) == ["label_dropped"]


def test_a_single_sample_has_no_other_mask():
    batch = image_batch(1)
    conditions = source(ConditionConfig(mask=True, own_mask=0.0, other_mask=1.0))
    inside = conditions.inside(batch)
    region = conditions.draw(batch, inside, (0, 0)).condition.region_BL
    assert torch.equal(region == Region.INSIDE, inside)
