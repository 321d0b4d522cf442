"""What discriminator and decoder want of each other: hinge losses, LeCam regularisation, VQGAN's adaptive weight."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lfvar.nn.resize import area_resize


def hinge_discriminator(real_B1hw: Tensor, fake_B1hw: Tensor) -> Tensor:
    """½ E[max(0, 1 - D(x))] + ½ E[max(0, 1 + D(x̂))] (Lim and Ye, arXiv 1705.02894; the halves are VQGAN's).

    Args:
        real_B1hw: Logits of images.
        fake_B1hw: Logits of reconstructions.

    Returns:
        float32 scalar; 1 for a discriminator that says 0 everywhere, 0 for one that is sure and right.
    """
    return 0.5 * (F.relu(1 - real_B1hw.float()).mean() + F.relu(1 + fake_B1hw.float()).mean())


def hinge_generator(fake_B1hw: Tensor, weight_B1HW: Tensor | None = None) -> Tensor:
    """-E[D(x̂)], each patch counted with its weight.

    Args:
        fake_B1hw: Logits of reconstructions, square.
        weight_B1HW: Per-pixel weights >= 0 of square images, pooled by area to the logits and brought to mean 1 per
            image, so that they move the attention and do not add to it; None: all 1.

    Returns:
        float32 scalar.
    """
    fake_B1hw = fake_B1hw.float()
    if weight_B1HW is None:
        return -fake_B1hw.mean()
    weight_B1hw = area_resize(weight_B1HW.float(), fake_B1hw.shape[-1])
    weight_B1hw = weight_B1hw / weight_B1hw.mean(dim=(-2, -1), keepdim=True).clamp_min(1e-6)
    return -(fake_B1hw * weight_B1hw).mean()


class LeCam(nn.Module):
    """Keeps logits near where those of the other kind have been (Tseng et al., arXiv 2104.03310).

    R = E[(D(x) - α_F)²] + E[(D(x̂) - α_R)²], where the anchors α_R and α_F are moving averages of the mean logit of
    images and of reconstructions. With few images it keeps the discriminator from learning them by heart. The anchors
    are buffers, so a resumed run has them, and move only in `update`, so that processes can average their means first.

    Args:
        decay: Share of the old anchor kept at each update, in [0, 1).
    """

    real: Tensor
    fake: Tensor

    def __init__(self, decay: float = 0.99) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        self.decay = decay
        self.register_buffer("real", torch.zeros(()))
        self.register_buffer("fake", torch.zeros(()))

    def forward(self, real_B1hw: Tensor, fake_B1hw: Tensor) -> Tensor:
        """R of these logits, from the anchors as they are; float32."""
        return (real_B1hw.float() - self.fake).square().mean() + (fake_B1hw.float() - self.real).square().mean()

    @torch.no_grad()
    def update(self, real_mean: Tensor, fake_mean: Tensor) -> None:
        """Move the anchors towards the mean logits of a step."""
        self.real.lerp_(real_mean.to(self.real), 1 - self.decay)
        self.fake.lerp_(fake_mean.to(self.fake), 1 - self.decay)


def adaptive_weight(
    rec_loss: Tensor,
    gan_loss: Tensor,
    last_layer: Tensor,
    *,
    cap: float,
    scale: float = 1.0,
    reduce: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """How much louder the reconstruction loss is than the adversarial one where both enter the decoder.

    ‖∇_L L_rec‖ / (‖∇_L L_GAN‖ + δ) with L the last layer and δ = 1e-6 (Esser et al., arXiv 2012.09841, eq. 7).

    Args:
        rec_loss: Scalar, before any scaling for float16. Its graph is kept.
        gan_loss: Scalar, likewise.
        last_layer: The decoder's last weight.
        cap: Largest value. A discriminator that is sure has no gradient left, and an uncapped ratio would amplify what
            remains of it.
        scale: Multiplies both losses here and leaves the ratio as it is: above 1 it keeps float16 gradients of means
            over many pixels from vanishing. Infinite gradients give 0.
        reduce: Averages a vector over processes, so that all of them find the ratio of the whole batch; None: one.

    Returns:
        float32 scalar in [0, cap], without gradient.

    Raises:
        ValueError: When the last layer takes no gradient.
    """
    if not last_layer.requires_grad:
        raise ValueError("last_layer takes no gradient: an adversarial loss cannot train a frozen decoder")
    gradients = [
        torch.autograd.grad(loss * scale, last_layer, retain_graph=True)[0].detach().float().flatten()
        for loss in (rec_loss, gan_loss)
    ]
    both_2N = torch.stack(gradients)
    if reduce is not None:
        both_2N = reduce(both_2N)
    rec_norm, gan_norm = both_2N.norm(dim=1)
    ratio = rec_norm / (gan_norm + 1e-6 * scale)
    return torch.where(torch.isfinite(rec_norm + gan_norm), ratio.clamp_max(cap), 0.0)
