import pytest
import torch

from lfvar.losses.adversarial import LeCam, adaptive_weight, hinge_discriminator, hinge_generator


def test_hinge_by_hand():
    real, fake = torch.tensor([[[[2.0, 0.5]]]]), torch.tensor([[[[-3.0, 0.25]]]])
    assert hinge_discriminator(real, fake).item() == pytest.approx(0.5 * (0.5 / 2 + 1.25 / 2))
    assert hinge_generator(fake).item() == pytest.approx(2.75 / 2)
    zero = torch.zeros(1, 1, 2, 2)
    assert hinge_discriminator(zero, zero).item() == 1


def test_hinge_stops_pulling_what_is_sure():
    real = torch.tensor([[[[1.5, 0.5]]]], requires_grad=True)
    fake = torch.tensor([[[[-1.5, -0.5]]]], requires_grad=True)
    hinge_discriminator(real, fake).backward()
    assert real.grad.flatten().tolist() == [0, -0.25]
    assert fake.grad.flatten().tolist() == [0, 0.25]


def test_weight_moves_the_generators_attention_and_adds_nothing():
    fake = torch.zeros(2, 1, 2, 2, requires_grad=True)
    weight = torch.ones(2, 1, 8, 8)
    weight[0, :, :, :4] = 3
    weight[1] = 5  # uniform: no effect
    loss = hinge_generator(fake, weight)
    loss.backward()
    assert fake.grad[0, 0, 0].tolist() == pytest.approx([-1.5 / 8, -0.5 / 8])
    assert fake.grad[1].flatten().tolist() == pytest.approx([-1 / 8] * 4)
    assert hinge_generator(torch.ones(2, 1, 2, 2), weight).item() == pytest.approx(-1)


def test_losses_are_float32_whatever_comes_in():
    logits = torch.randn(1, 1, 4, 4).bfloat16()
    assert hinge_discriminator(logits, logits).dtype == torch.float32
    assert hinge_generator(logits, torch.ones(1, 1, 8, 8)).dtype == torch.float32
    assert LeCam()(logits, logits).dtype == torch.float32


def test_lecam_by_hand():
    lecam = LeCam(decay=0.9)
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([-1.0, -1.0])
    assert lecam(real, fake).item() == pytest.approx((1 + 9) / 2 + 1)  # anchors start at 0
    lecam.update(torch.tensor(2.0), torch.tensor(-1.0))
    assert lecam.real.item() == pytest.approx(0.2)
    assert lecam.fake.item() == pytest.approx(-0.1)
    expected = ((1 + 0.1) ** 2 + (3 + 0.1) ** 2) / 2 + (-1 - 0.2) ** 2  # real meets α_F, fake meets α_R
    assert lecam(real, fake).item() == pytest.approx(expected)
    lecam.update(torch.tensor(2.0), torch.tensor(-1.0))
    assert lecam.real.item() == pytest.approx(0.9 * 0.2 + 0.1 * 2)
    assert set(lecam.state_dict()) == {"real", "fake"}


def toy():
    """recon = W x with W 1×2: ∇_W of c·recon is c·x."""
    last = torch.tensor([[1.0, 2.0]], requires_grad=True)
    recon = last @ torch.tensor([3.0, 4.0])
    return last, recon


def test_adaptive_weight_by_hand():
    last, recon = toy()
    ratio = adaptive_weight(7 * recon.sum(), -2 * recon.sum(), last, cap=100)
    assert ratio.item() == pytest.approx(35 / (10 + 1e-6))
    assert not ratio.requires_grad
    assert last.grad is None
    assert adaptive_weight(7 * recon.sum(), 2 * recon.sum(), last, cap=3).item() == 3
    assert adaptive_weight(7 * recon.sum(), 0 * recon.sum(), last, cap=3).item() == 3
    assert adaptive_weight(0 * recon.sum(), 2 * recon.sum(), last, cap=3).item() == 0
    recon.sum().backward()  # the graph is still there


def test_adaptive_weight_does_not_depend_on_its_scale():
    last, recon = toy()
    losses = (1e-5 * recon.sum(), 1e-6 * recon.sum(), last)
    plain, scaled = (adaptive_weight(*losses, cap=100, scale=scale).item() for scale in (1, 4096))
    assert scaled == pytest.approx(plain)
    assert plain == pytest.approx(5e-5 / (5e-6 + 1e-6))  # δ counts against small gradients


def test_scale_saves_what_float16_would_lose():
    last = torch.ones(1, 3, 1, 1, requires_grad=True)
    x = torch.rand(4, 3, 64, 64)
    ratios = {}
    for dtype, scale in ((torch.float32, 1.0), (torch.float16, 4096.0), (torch.float16, 2**-12)):
        recon = torch.nn.functional.conv2d(x.to(dtype), last.to(dtype)).float()
        ratios[dtype, scale] = adaptive_weight(recon.mean(), -0.5 * recon.mean(), last, cap=100, scale=scale).item()
    exact, kept, lost = ratios.values()
    assert kept == pytest.approx(exact, rel=1e-2)
    assert abs(lost - exact) > 0.1


def test_infinite_gradients_give_no_weight():
    last, recon = toy()
    assert adaptive_weight(recon.sum() * float("inf"), recon.sum(), last, cap=3).item() == 0
    assert adaptive_weight(recon.sum(), recon.sum() * float("nan"), last, cap=3).item() == 0


def test_reduce_averages_gradients_not_ratios():
    last, recon = toy()
    other = torch.tensor([[9.0, 12.0], [-3.0, -4.0]])  # what another process found for the two losses
    ratio = adaptive_weight(recon.sum(), recon.sum(), last, cap=100, reduce=lambda own: (own + other) / 2)
    assert ratio.item() == 100  # (3, 4) and (-3, -4) cancel
    ratio = adaptive_weight(recon.sum(), 3 * recon.sum(), last, cap=100, reduce=lambda own: (own + other) / 2)
    assert ratio.item() == pytest.approx(2, rel=1e-5)  # |(6, 8)| / |(3, 4)|


def test_frozen_decoder_is_refused():
    last, recon = toy()
    with pytest.raises(ValueError, match="frozen decoder"):
        adaptive_weight(recon.sum(), recon.sum(), last.detach(), cap=1)


def test_lecam_decay_is_checked():
    with pytest.raises(ValueError, match="decay"):
        LeCam(1.0)
