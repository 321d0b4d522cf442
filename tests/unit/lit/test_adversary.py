"""The tokenizer's opponent, with a decoder of one convolution and discriminators of a few channels."""

import copy
import io
import math
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from lfvar.lit.adversary import Adversary, AdversaryConfig
from lfvar.losses.diffaug import DiffAugConfig
from lfvar.nn.discriminator import PatchDiscriminatorConfig

CONF = Path(__file__).parents[3] / "conf"
TINY = PatchDiscriminatorConfig(channels=4, num_layers=1)
STILL = DiffAugConfig(translation=0, cutout=0)
CONFIG = AdversaryConfig(
    discriminator=TINY, start_fraction=0, ramp_fraction=0, warmup_steps=0, lesion_weight=0.5, lr=3e-3
)


def scene(seed=0, count=4, size=16):
    """Images, blurred-looking reconstructions with a graph, masks, and the decoder they come from."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(count, 3, size, size, generator=generator) * 2 - 1
    mask = torch.zeros(count, 1, size, size)
    for index in range(count):
        mask[index, :, 2 + index % 5 : 9, 3:10] = 1
    decoder = nn.Conv2d(3, 3, 3, padding=1)
    nn.init.normal_(decoder.weight, std=0.3, generator=generator)
    nn.init.zeros_(decoder.bias)
    return image, decoder(0.5 * image), mask, decoder


def opponent(**changes):
    return Adversary(replace(CONFIG, **changes), image_size=16, seed=1)


def test_generator_term_is_the_naive_one():
    image, recon, mask, decoder = scene()
    adversary = opponent(diffaug=STILL, weight=0.3, ramp_fraction=0.5, cap=1e6)
    rec_loss = (recon - image).square().mean()
    term, logs = adversary.generator_term(recon, mask, rec_loss, decoder.weight, step=10, total_steps=100)
    whole, lesion = adversary.views["image"], adversary.views["lesion"]
    naive = -whole.discriminator(recon).mean() - 0.5 * lesion.discriminator(lesion.look(recon, mask)).mean()
    norms = [torch.autograd.grad(x, decoder.weight, retain_graph=True)[0].norm() for x in (rec_loss, naive)]
    weight = 0.3 * (11 / 50) * norms[0] / (norms[1] + 1e-6)
    assert logs["weight"].item() == pytest.approx(weight.item(), rel=1e-4)
    assert logs["g_loss"].item() == pytest.approx(naive.item(), rel=1e-4)
    assert term.item() == pytest.approx((weight * naive).item(), rel=1e-4)
    expected = torch.autograd.grad(weight.detach() * naive, list(decoder.parameters()), retain_graph=True)
    found = torch.autograd.grad(term, list(decoder.parameters()))
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-7)


def test_generator_term_reaches_the_decoder_and_leaves_the_discriminators():
    image, recon, mask, decoder = scene()
    adversary = opponent()
    before = copy.deepcopy(adversary.state_dict())
    rec_loss = (recon - image).square().mean()
    term, _ = adversary.generator_term(recon, mask, rec_loss, decoder.weight, 0, 100)
    (rec_loss + term).backward()
    assert decoder.weight.grad.abs().max() > 0
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in adversary.parameters())
    assert all(torch.equal(value, before[name]) for name, value in adversary.state_dict().items())


def test_cap_limits_the_weight():
    image, recon, mask, decoder = scene()
    rec_loss = 1e6 * (recon - image).square().mean()
    _, logs = opponent(weight=0.4, cap=3.0).generator_term(recon, mask, rec_loss, decoder.weight, 0, 100)
    assert logs["weight"].item() == pytest.approx(1.2)


def test_focus_pulls_inside_the_lesion():
    _, recon, mask, _ = scene(size=32)
    pulls = []
    for focus in (0.0, 50.0):
        adversary = Adversary(replace(CONFIG, lesion_weight=0, focus=focus, diffaug=STILL), 32)
        leaf = recon.detach().requires_grad_()
        last = torch.ones(1, requires_grad=True)
        term, _ = adversary.generator_term(leaf * last, mask, last.sum(), last, 0, 100)
        (pull,) = torch.autograd.grad(term, leaf)
        pulls.append((pull.abs() * mask).sum() / pull.abs().sum())
    assert pulls[1] > 1.5 * pulls[0]


def test_nothing_happens_before_the_start():
    image, recon, mask, decoder = scene()
    adversary = opponent(start_fraction=0.2)
    before = copy.deepcopy(adversary.state_dict())
    rec_loss = recon.mean()
    assert adversary.generator_term(recon, mask, rec_loss, decoder.weight, 19, 100) is None
    assert adversary.discriminator_step(recon, image, mask, 19, 100) == {}
    assert all(torch.equal(value, before[name]) for name, value in adversary.state_dict().items())
    assert adversary.generator_term(recon, mask, rec_loss, decoder.weight, 20, 100) is not None
    logs = adversary.discriminator_step(recon, image, mask, 20, 100)
    assert set(logs) == {"d_loss", "d_real", "d_fake", "d_real_lesion", "d_fake_lesion", "d_grad_norm"}
    assert not any(value.requires_grad for value in logs.values())


def test_schedule_by_hand():
    config = replace(CONFIG, start_fraction=0.2, ramp_fraction=0.1)
    assert [config.ramp(step, 100) for step in (0, 19, 20, 24, 29, 90)] == pytest.approx([0, 0, 0.1, 0.5, 1, 1])
    assert config.start_step(7) == 2
    assert replace(config, ramp_fraction=0).ramp(20, 100) == 1
    assert replace(config, start_fraction=1.0).ramp(99, 100) == 0


def test_learning_rate_starts_with_the_discriminators():
    image, recon, mask, _ = scene()
    adversary = opponent(start_fraction=0.5, warmup_steps=10, lr=1e-3, every=2, final_fraction=0.2)
    rates = {}
    for step in (98, 100, 101, 104, 110, 154):
        if adversary.discriminator_step(recon, image, mask, step, 200):
            rates[step] = adversary.optimizer.param_groups[0]["lr"]
    halfway = 0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * 44 / 90))
    assert rates == pytest.approx({100: 1e-4, 104: 5e-4, 110: 1e-3, 154: halfway * 1e-3})


def test_two_distributions_are_told_apart():
    adversary = opponent(lesion_weight=1.0)
    generator = torch.Generator().manual_seed(0)
    mask = scene(count=8)[2]
    for step in range(60):
        real = torch.randn(8, 3, 16, 16, generator=generator).clamp(-1, 1)
        fake = torch.nn.functional.avg_pool2d(real, 3, 1, 1)  # the same, blurred
        logs = adversary.discriminator_step(fake, real, mask, step, 100)
    assert logs["d_real"] - logs["d_fake"] > 1
    assert logs["d_real_lesion"] - logs["d_fake_lesion"] > 0.5  # the crop to half the size blurs both
    lecam = adversary.views["image"].lecam
    assert lecam.real > lecam.fake


def test_the_lesion_view_sees_nothing_else():
    image, recon, mask, _ = scene()
    outside = recon.detach().clone()
    outside[:, :, 13:] += 1.0  # below every box
    logs = [opponent(diffaug=STILL).discriminator_step(fake, image, mask, 0, 100) for fake in (recon, outside)]
    assert logs[0]["d_fake_lesion"] == logs[1]["d_fake_lesion"]
    assert logs[0]["d_fake"] != logs[1]["d_fake"]


def test_micro_batches_make_one_step():
    image, recon, mask, _ = scene()
    joined, split = opponent(diffaug=STILL), opponent(diffaug=STILL)
    for step in range(3):
        joined.discriminator_step(recon, image, mask, step, 100)
        for part in (slice(0, 2), slice(2, 4)):
            split.discriminator_step(
                recon[part], image[part], mask[part], step, 100, last_micro_batch=part.stop == 4, scale=0.5
            )
    assert_same(joined.state_dict(), split.state_dict(), atol=1e-5)


def test_other_micro_batches_draw_other_augmentations():
    image, recon, mask, _ = scene()
    adversary = opponent()
    logs = [adversary.discriminator_step(recon, image, mask, 0, 100, last_micro_batch=False) for _ in range(3)]
    assert logs[1]["d_real"] != logs[2]["d_real"]  # both with the same weights and power iteration


def test_float16_is_never_used_and_bfloat16_is():
    image, recon, mask, decoder = scene()
    results = {}
    for dtype in (None, torch.float16, torch.bfloat16):
        adversary = opponent()
        with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            term, _ = adversary.generator_term(recon, mask, recon.mean(), decoder.weight, 0, 100)
            adversary.discriminator_step(recon, image, mask, 0, 100)
        results[dtype] = (term, *adversary.state_dict().values())
        assert all(value.dtype == torch.float32 for value in results[dtype])
    assert all(map(torch.equal, results[None], results[torch.float16]))
    assert not all(map(torch.equal, results[None], results[torch.bfloat16]))
    assert results[torch.bfloat16][0].item() == pytest.approx(results[None][0].item(), rel=0.1)


def test_an_overflow_of_the_tokenizer_does_not_poison_the_discriminators():
    image, recon, mask, _ = scene()
    adversary = opponent()
    adversary.discriminator_step(recon, image, mask, 0, 100)
    before = copy.deepcopy((adversary.state_dict(), adversary.optimizer_state()))
    broken = recon.detach().half()
    broken[0, 0, 3, 3] = torch.inf
    logs = adversary.discriminator_step(broken, image, mask, 1, 100)
    assert not torch.isfinite(logs["d_grad_norm"])
    weights = {name: value for name, value in adversary.state_dict().items() if "._" not in name}
    assert all(torch.equal(value, before[0][name]) for name, value in weights.items())
    assert all(map(torch.equal, *(moments(state) for state in (before[1], adversary.optimizer_state()))))
    assert torch.isfinite(adversary.discriminator_step(recon, image, mask, 2, 100)["d_grad_norm"])


def moments(state):
    return [value for moments in state["state"].values() for value in moments.values()]


def test_resumed_training_is_bit_identical():
    image, recon, mask, decoder = scene()
    whole = opponent()
    for step in range(3):
        whole.discriminator_step(recon, image, mask, step, 100)
    file = io.BytesIO()
    torch.save({"state_dict": whole.state_dict(), "adversary": whole.optimizer_state()}, file)
    file.seek(0)
    stored = torch.load(file, weights_only=True)
    resumed = Adversary(whole.config, 16, seed=1)
    resumed.load_state_dict(stored["state_dict"])
    resumed.load_optimizer_state(stored["adversary"])
    torch.manual_seed(7)  # the global state decides nothing
    for step in range(3, 6):
        terms = [
            one.generator_term(recon, mask, recon.mean(), decoder.weight, step, 100)[0] for one in (whole, resumed)
        ]
        assert torch.equal(*terms)
        for one in (whole, resumed):
            one.discriminator_step(recon, image, mask, step, 100)
    assert_same(whole.state_dict(), resumed.state_dict(), atol=0)


def test_optimizer_moves_with_its_module():
    image, recon, mask, _ = scene()
    adversary = opponent()
    adversary.discriminator_step(recon, image, mask, 0, 100)
    parent = nn.ModuleDict({"adversary": adversary}).double()  # stands for a move to another device
    states = adversary.optimizer.state
    assert {id(parameter) for parameter in states} == {id(parameter) for parameter in parent.parameters()}
    for state in states.values():
        assert state["exp_avg"].dtype == state["exp_avg_sq"].dtype == torch.float64
        assert state["step"].dtype == torch.float32


def test_names_for_ddp_are_those_of_the_wrapped_module():
    parent = nn.ModuleDict({"net": nn.Linear(2, 2), "adversary": opponent()})
    names = parent["adversary"].names_to_ignore("adversary")
    everything = [name for name, _ in (*parent.named_parameters(), *parent.named_buffers())]
    assert sorted([*names, "net.weight", "net.bias"]) == sorted(everything)


def train_part(rank, world_size, address, folder):
    """A process of `test_two_processes_equal_one`: its part of each batch, from weights of its own."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=world_size)
    adversary = Adversary(CONFIG, 16, seed=1)
    if rank:
        for parameter in adversary.parameters():
            parameter.data.add_(rank)
    adversary.broadcast()
    weights = train(adversary, slice(4 * rank // world_size, 4 * (rank + 1) // world_size))
    torch.save((adversary.state_dict(), weights), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def train(adversary, part):
    weights = []
    for step in range(4):
        image, recon, mask, decoder = scene(seed=step)
        image, recon, mask = image[part], recon[part], mask[part]
        rec_loss = (recon - image).square().mean()
        weights.append(adversary.generator_term(recon, mask, rec_loss, decoder.weight, step, 100)[1]["weight"])
        adversary.discriminator_step(recon, image, mask, step, 100)
    return torch.stack(weights)


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    spawn = mp.get_context("spawn")
    address = f"file://{tmp_path}/meeting"
    workers = [spawn.Process(target=train_part, args=(rank, 2, address, str(tmp_path))) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    (first, weights), (second, other_weights) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert_same(first, second, atol=0)
    assert torch.equal(weights, other_weights)
    alone = Adversary(CONFIG, 16, seed=1)
    alone_weights = train(alone, slice(None))
    assert torch.allclose(weights, alone_weights, rtol=1e-4)
    assert_same(first, alone.state_dict(), atol=1e-5)


def assert_same(one, other, atol):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.allclose(value, other[name], rtol=0, atol=atol), name


def test_small_images_are_refused_before_training():
    with pytest.raises(ValueError, match=r"whole images: .*num_layers=3.*24×24 pixels or more, got 16×16"):
        Adversary(AdversaryConfig(), 16)
    config = AdversaryConfig(lesion_weight=1.0)
    with pytest.raises(ValueError, match=r"lesion crops of 0\.5 of the image's side: .*got 16×16"):
        Adversary(config, 32)


@pytest.mark.parametrize(
    "change",
    [
        {"weight": -1},
        {"cap": -1},
        {"start_fraction": 2},
        {"ramp_fraction": -1},
        {"lecam_decay": 1},
        {"lesion_size_fraction": 0},
        {"every": 0},
        {"lr": 0},
        {"clip_norm": -1},
    ],
)
def test_nonsense_settings_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        AdversaryConfig(**change)


@pytest.mark.parametrize(("name", "lesion_weight"), [("patchgan", 0.0), ("patchgan_lesion", 1.0)])
def test_shipped_settings(name, lesion_weight):
    from hydra import compose, initialize_config_dir

    from lfvar.config import build

    with initialize_config_dir(str(CONF), version_base="1.3"):
        node = compose(f"adversary/{name}").adversary
    config = build(node)
    assert config.lesion_weight == lesion_weight
    assert set(node) - {"_target_"} == {field.name for field in fields(AdversaryConfig)}
    small = PatchDiscriminatorConfig(channels=24, num_layers=2, stem_stride=2)
    assert replace(config, discriminator=PatchDiscriminatorConfig(), lesion_weight=0.0) == AdversaryConfig()
    assert config.discriminator == small
    Adversary(config, 64)
