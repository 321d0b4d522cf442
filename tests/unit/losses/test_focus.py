"""The three lesion-focus terms, where the right answer is known by hand."""

import pytest
import torch

from lfvar.losses.focus import focus_weight, pool_mask, weighted_mean
from lfvar.losses.quantisation import lesion_residual_loss, quantisation_loss
from lfvar.losses.tokenizer import TokenizerLoss, TokenizerLossConfig
from lfvar.nn.vqvae import VQVAE, VQVAEConfig

HALF = torch.zeros(1, 1, 4, 4)
HALF[..., :2] = 1  # left half is lesion


def test_weight_has_mean_one_and_the_right_ratio():
    weight = focus_weight(HALF, 3.0)
    assert weight.mean() == pytest.approx(1)
    assert weight[0, 0, 0, 0] / weight[0, 0, 0, 3] == pytest.approx(4)
    assert torch.equal(focus_weight(HALF, 0.0), torch.ones_like(HALF))
    assert torch.equal(focus_weight(torch.zeros(1, 1, 4, 4), 5.0), torch.ones(1, 1, 4, 4))


def test_gradient_ratio_is_the_weight_ratio():
    value = torch.ones(1, 3, 4, 4, requires_grad=True)
    weighted_mean(value, focus_weight(HALF, 3.0)).backward()
    grad = value.grad[0, 0]
    assert (grad[:, 0] / grad[:, 3]).tolist() == pytest.approx([4.0] * 4)
    assert grad.sum() * 3 == pytest.approx(1.0)  # the same total as an unweighted mean


def test_small_lesions_leave_a_trace_at_every_scale():
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 37, 11] = 1
    assert all((pool_mask(mask, side) > 0).sum() == 1 for side in (1, 2, 3, 4, 6, 8))


def test_quantisation_loss_by_hand():
    f = torch.zeros(1, 1, 4, 4, requires_grad=True)
    partials = [torch.ones(1, 1, 4, 4, requires_grad=True), torch.full((1, 1, 4, 4), 2.0, requires_grad=True)]
    loss = quantisation_loss(f, partials, beta=0.25)
    assert loss.item() == pytest.approx(1.25 * (1 + 4) / 2)
    loss.backward()
    assert f.grad.flatten()[0].item() == pytest.approx(-0.25 * 2 * (1 + 2) / 16 / 2)  # β pulls the encoder
    assert partials[0].grad.flatten()[0].item() == pytest.approx(2 * 1 / 16 / 2)  # the rest pulls the codes


def test_weighted_quantisation_loss_moves_the_gradient_not_the_sum():
    f = torch.zeros(1, 1, 4, 4, requires_grad=True)
    loss = quantisation_loss(f, [torch.ones(1, 1, 4, 4)], beta=1.0, weight_B1hw=focus_weight(HALF, 3.0))
    assert loss.item() == pytest.approx(2.0)  # a uniform error costs the same
    loss.backward()
    assert (f.grad[0, 0, 0, 0] / f.grad[0, 0, 0, 3]).item() == pytest.approx(4)


def test_lesion_term_counts_inside_only_whatever_the_area():
    residual = torch.zeros(1, 2, 4, 4)
    codes = torch.zeros(1, 2, 4, 4)
    codes[..., 2:] = 7.0  # error outside the lesion only
    assert lesion_residual_loss([residual], [codes], HALF, beta=0.25).item() == 0
    codes[..., :2] = 2.0
    assert lesion_residual_loss([residual], [codes], HALF, beta=0.25).item() == pytest.approx(1.25 * 4)
    small = torch.zeros(1, 1, 4, 4)
    small[..., 0, 0] = 1
    assert lesion_residual_loss([residual], [codes], small, beta=0.25).item() == pytest.approx(1.25 * 4)
    assert lesion_residual_loss([residual], [codes], torch.zeros(1, 1, 4, 4), beta=0.25).item() == 0


def test_lesion_term_gradients():
    residual = torch.zeros(1, 1, 4, 4, requires_grad=True)
    codes = torch.ones(1, 1, 4, 4, requires_grad=True)
    lesion_residual_loss([residual], [codes], HALF, beta=0.5).backward()
    assert residual.grad[0, 0, 0].tolist() == pytest.approx([-0.5 * 2 / 8] * 2 + [0, 0])
    assert codes.grad[0, 0, 0].tolist() == pytest.approx([2 / 8] * 2 + [0, 0])


@pytest.mark.parametrize("term", ["focus_pixel", "focus_quantisation", "focus_residual"])
def test_each_strength_acts_alone(term):
    torch.manual_seed(0)
    net = VQVAE(VQVAEConfig(16, (1, 2), 1, 4, 16, (1, 2, 4)))
    image, mask = torch.rand(2, 3, 8, 8) * 2 - 1, torch.zeros(2, 1, 8, 8)
    mask[..., :3] = 1
    recon, f, quantised = net(image)
    plain = TokenizerLoss(TokenizerLossConfig())(recon, image, mask, f, quantised)
    focused = TokenizerLoss(TokenizerLossConfig(**{term: 2.0}))(recon, image, mask, f, quantised)
    changed = {name for name in focused if name not in plain or not torch.equal(focused[name], plain[name])}
    assert (
        changed
        == {
            "focus_pixel": {"l1", "l2"},
            "focus_quantisation": {"quantisation"},
            "focus_residual": {"focus_residual"},
        }[term]
    )


def test_negative_strength_is_refused():
    with pytest.raises(ValueError, match="focus_pixel is a strength"):
        TokenizerLossConfig(focus_pixel=-1)
    with pytest.raises(ValueError, match="quantisation must be above 0"):
        TokenizerLossConfig(quantisation=0)
