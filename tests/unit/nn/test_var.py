from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml

from lfvar.nn.conditioning import Condition
from lfvar.nn.quantiser import MultiScaleQuantiser
from lfvar.nn.scale_inputs import scale_inputs, teacher_inputs
from lfvar.nn.transformer_block import FeedForward, drop_path, modulated_norm
from lfvar.nn.var import VAR, VARConfig
from lfvar.scales import ScaleSchedule

CONFIG = VARConfig(
    depth=3, width=24, num_heads=2, patch_nums=(1, 2, 3, 4), vocab_size=20, latent_channels=4, num_classes=3,
    num_measurements=5, measurement_width=4, mask_aware=True, skin_aware=True,
    adaln_gain_init=1.0,
)  # fmt: skip


def lively(config=CONFIG):
    """A net none of whose parts is at zero, so that nothing hides behind an initial value."""
    torch.manual_seed(0)
    net = VAR(config)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net.eval()


def some_condition(config=CONFIG, size=2):
    num_tokens = ScaleSchedule(config.patch_nums).num_tokens
    return Condition(
        torch.arange(size) % config.num_classes,
        torch.randn(size, config.num_measurements),
        torch.rand(size, config.num_measurements) > 0.5,
        torch.randint(3, (size, num_tokens)),
        torch.randn(size, config.latent_channels, config.patch_nums[-1], config.patch_nums[-1]),
        torch.arange(size) % 2 == 0,
    )


@pytest.mark.parametrize("changes", [{}, {"shared_adaln": True}, {"attn_l2_norm": False}, {"patch_nums": (2, 3, 5)}])
def test_cached_steps_equal_teacher_forcing(changes):
    config = replace(CONFIG, **changes)
    net, condition = lively(config), some_condition(config)
    first, slices = net.schedule.lengths[0], net.schedule.slices
    inputs = torch.randn(2, net.schedule.num_tokens - first, 4)
    with torch.no_grad():
        whole = net(inputs, condition)
        prepared, cache = net.prepare(condition), net.new_cache(2)
        steps = [net.step(0, None, prepared, cache)]
        for k in range(1, len(slices)):
            place = slice(slices[k].start - first, slices[k].stop - first)
            steps.append(net.step(k, inputs[:, place], prepared, cache))
    assert whole.std() > 0.3
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, atol=1e-4, rtol=0)


def test_dense_and_grouped_attention_are_one_net():
    net, condition = lively(), some_condition()
    dense = VAR(replace(CONFIG, num_unmasked_scales=0)).eval()
    dense.load_state_dict(net.state_dict())
    inputs = torch.randn(2, net.schedule.num_tokens - 1, 4)
    torch.testing.assert_close(net(inputs, condition), dense(inputs, condition), atol=1e-5, rtol=0)


def test_no_token_sees_a_finer_scale():
    net, condition = lively(), some_condition()
    inputs = torch.randn(2, net.schedule.num_tokens - 1, 4)
    before = net(inputs, condition)
    for place in net.schedule.slices[1:]:
        changed = inputs.clone()
        changed[:, place.start - 1 : place.stop - 1] += 1
        after = net(changed, condition)
        assert torch.equal(after[:, : place.start], before[:, : place.start])
        moved = (after - before)[:, place.start :].abs().amax(dim=-1)
        assert (moved > 1e-6).all()  # its own scale and every finer one


@pytest.mark.parametrize("part", [field.name for field in fields(Condition)])
def test_every_part_of_the_condition_reaches_the_logits(part):
    net, condition = lively(), some_condition()
    inputs = torch.randn(2, net.schedule.num_tokens - 1, 4)
    other = {
        "label_B": (condition.label_B + 1) % 3,
        "measurements_BM": condition.measurements_BM + 0.5,
        "present_BM": ~condition.present_BM,
        "region_BL": (condition.region_BL + 1) % 3,
        "skin_BChw": condition.skin_BChw + 0.5,
        "told_skin_B": ~condition.told_skin_B,
    }
    changed = replace(condition, **{part: other[part]})
    assert (net(inputs, changed) - net(inputs, condition)).abs().max() > 1e-3


def test_new_conditions_start_without_effect():
    torch.manual_seed(0)
    net = VAR(CONFIG).eval()
    inputs, condition = torch.randn(2, net.schedule.num_tokens - 1, 4), some_condition()
    plain = Condition(condition.label_B)
    assert torch.equal(net(inputs, condition), net(inputs, plain))


def test_checkpointing_changes_no_gradient():
    net, condition = lively(), some_condition()
    frugal = VAR(replace(CONFIG, checkpointing=True))
    frugal.load_state_dict(net.state_dict())
    inputs, ids = torch.randn(2, net.schedule.num_tokens - 1, 4), torch.randint(20, (2, net.schedule.num_tokens))
    for model in (net.train(), frugal.train()):
        F.cross_entropy(model(inputs, condition).flatten(0, 1), ids.flatten()).backward()
    for ours, theirs in zip(frugal.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=0)


@pytest.mark.parametrize("changes", [{}, {"shared_adaln": True}, {"measurement_kind": "piecewise"}, {"num_classes": 0}])
def test_every_weight_gets_a_gradient_whatever_is_absent(changes):
    """DDP waits for every weight, also in a batch without masks and measurements."""
    config = replace(CONFIG, **changes)
    net = lively(config).train()
    condition = Condition(torch.zeros(2, dtype=torch.int64))
    net(torch.randn(2, net.schedule.num_tokens - 1, 4), condition).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_logits_are_float32_under_autocast():
    net, condition = lively(), some_condition()
    inputs = torch.randn(2, net.schedule.num_tokens - 1, 4)
    with torch.no_grad():
        exact = net(inputs, condition)
        with torch.autocast("cpu", torch.bfloat16):
            logits, cache = net(inputs, condition), net.new_cache(2)
            step = net.step(0, None, net.prepare(condition), cache)
    assert logits.dtype == step.dtype == torch.float32
    assert cache.extend(0, *(torch.zeros(2, 2, 1, 12),) * 2)[0].dtype == torch.bfloat16
    assert not torch.equal(logits, exact)  # autocast was on
    assert (logits - exact).abs().mean() < 0.05 * exact.std()
    assert (step - exact[:, :1]).abs().mean() < 0.05 * exact.std()


def test_teacher_inputs_are_what_steps_get():
    torch.manual_seed(0)
    quantiser = MultiScaleQuantiser(ScaleSchedule((1, 2, 4)), 16, 4)
    torch.nn.init.normal_(quantiser.codebook.weight)
    ids = [torch.randint(16, (2, n)) for n in quantiser.schedule.lengths]
    partials = quantiser.decode_partials(ids)
    inputs = teacher_inputs(partials, quantiser.schedule)
    assert inputs.shape == (2, 20, 4)
    assert torch.equal(inputs[:, :4], scale_inputs(partials[0], 2))
    mean = partials[0][:, :, :2, 2:].mean(dim=(2, 3))  # second token: the upper right quarter
    torch.testing.assert_close(inputs[:, 1], mean)
    assert torch.equal(inputs[:, 4:], partials[1].flatten(2).transpose(1, 2))
    assert torch.equal(inputs, teacher_inputs(partials[:2], quantiser.schedule))
    with pytest.raises(ValueError, match="1 partial sums given, 2 scales need one"):
        teacher_inputs(partials[:1], quantiser.schedule)


def test_block_parts_are_their_formulas():
    torch.manual_seed(0)
    x, scale, shift = torch.randn(2, 3, 6), torch.randn(2, 1, 6), torch.randn(2, 1, 6)
    normed = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(modulated_norm(x, scale, shift), normed * (1 + scale) + shift, atol=1e-6, rtol=0)
    mlp = FeedForward(6, 12)
    h = mlp.fc1(x)
    gelu = 0.5 * h * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (h + 0.044715 * h**3)))
    torch.testing.assert_close(mlp(x), mlp.fc2(gelu), atol=1e-6, rtol=0)


def test_one_batch_is_learned_from_the_initial_weights():
    torch.manual_seed(0)
    net = VAR(replace(CONFIG, width=64, adaln_gain_init=1e-3)).train()
    inputs, condition = torch.randn(4, net.schedule.num_tokens - 1, 4), some_condition(size=4)
    ids = torch.randint(20, (4, net.schedule.num_tokens))
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(120):
        loss = F.cross_entropy(net(inputs, condition).flatten(0, 1), ids.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(3.0, abs=0.05)  # log of 20 codes: nothing known yet
    assert losses[-1] < 0.1


def test_drop_path_keeps_the_mean():
    torch.manual_seed(0)
    dropped = drop_path(torch.ones(20000, 1, 1), 0.3)
    assert sorted(dropped.unique().tolist()) == pytest.approx([0, 1 / 0.7])
    assert dropped.mean() == pytest.approx(1, abs=0.02)


def test_steps_out_of_turn_and_wrong_inputs_are_refused():
    net, condition = lively(), some_condition()
    prepared, cache = net.prepare(condition), net.new_cache(2)
    with pytest.raises(ValueError, match="scale 1 follows 1 tokens"):
        net.step(1, torch.randn(2, 4, 4), prepared, cache)
    with pytest.raises(ValueError, match="takes no input"):
        net.step(0, torch.randn(2, 1, 4), prepared, cache)
    with pytest.raises(ValueError, match="do not fit the schedule"):
        net(torch.randn(2, 3, 4), condition)
    with pytest.raises(ValueError, match="without mask_aware"):
        VAR(replace(CONFIG, mask_aware=False)).prepare(condition)
    with pytest.raises(ValueError, match="5 measurements given to a net for 0"):
        VAR(replace(CONFIG, num_measurements=0, mask_aware=False)).prepare(replace(condition, region_BL=None))
    with pytest.raises(ValueError, match="without skin_aware"):
        VAR(replace(CONFIG, skin_aware=False)).prepare(condition)


def test_each_token_is_told_the_skin_at_its_place_and_scale():
    """What a naive loop makes of it; samples that are told none get nothing, bias included."""
    net, condition = lively(), some_condition()
    told_BLD = net.prepare(condition).skin_BLD
    expected = []
    for side in CONFIG.patch_nums:
        pooled_CPP = F.adaptive_avg_pool2d(condition.skin_BChw[0], side)
        expected += [net.conditioning.skin(pooled_CPP[:, row, column]) for row in range(side) for column in range(side)]
    torch.testing.assert_close(told_BLD[0], torch.stack(expected))
    assert not told_BLD[1].any()


def test_config_is_plain_data_and_checked():
    data = asdict(CONFIG) | {"patch_nums": list(CONFIG.patch_nums)}
    assert VARConfig(**data) == CONFIG
    for changes, message in [
        ({"num_heads": 5}, "num_heads must divide width"),
        ({"patch_nums": (4, 2)}, "patch_nums must grow strictly"),
        ({"measurement_kind": "linear"}, "measurement_kind is one of"),
        ({"drop_path": 1.0}, "drop_path is a probability"),
        ({"num_classes": -1}, "num_classes must be at least 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            replace(CONFIG, **changes)


def test_builds_without_memory():
    with torch.device("meta"):
        assert sum(p.numel() for p in VAR(VARConfig()).parameters()) > 3e8


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[3] / "conf/model").glob("var_*.yaml")), ids=lambda path: path.stem
)
def test_shipped_sizes_mirror_the_config(path):
    data = yaml.safe_load(path.read_text())
    assert data.pop("_target_") == "lfvar.nn.var.VARConfig"
    assert list(data) == [field.name for field in fields(VARConfig)]
    config = VARConfig(**data)
    assert config.width == 64 * config.num_heads
