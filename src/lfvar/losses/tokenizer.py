"""The tokenizer's objective: a sum of named terms, each with its own strength."""

from __future__ import annotations

from dataclasses import dataclass, fields

from torch import Tensor, nn

from lfvar.losses.focus import focus_weight, pool_mask
from lfvar.losses.quantisation import lesion_residual_loss, quantisation_loss
from lfvar.losses.reconstruction import pixel_l1, pixel_l2
from lfvar.nn.quantiser import Quantised

RECONSTRUCTION_TERMS = ("l1", "l2", "perceptual")
"""Those that compare images; an adversarial term is weighed against them."""


@dataclass(frozen=True)
class TokenizerLossConfig:
    """Strengths of the terms. All three `focus_…` at zero is plain VAR."""

    l1: float = 0.2
    """Weight of the absolute pixel difference (images in [-1, 1])."""
    l2: float = 1.0
    """Weight of the squared pixel difference."""
    quantisation: float = 1.0
    """Weight of the quantisation loss."""
    beta: float = 0.25
    """Commitment: how strongly features follow codes, relative to codes following features."""
    focus_residual: float = 0.0
    """Weight of LF-VAR's lesion term (`lesion_residual_loss`)."""
    focus_quantisation: float = 0.0
    """λ of the per-position weight 1 + λ·m on the quantisation loss."""
    focus_pixel: float = 0.0
    """λ of the per-position weight 1 + λ·m on the pixel terms."""
    perceptual: float = 0.0
    """Weight of the perceptual distance."""
    focus_perceptual: float = 0.0
    """λ of the per-position weight 1 + λ·m on the perceptual distance."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 0:
                raise ValueError(f"{field.name} is a strength >= 0, got {getattr(self, field.name)}")
        if not self.quantisation:
            raise ValueError("quantisation must be above 0: the codebook learns from nothing else")


class TokenizerLoss(nn.Module):
    """Weighs and names the terms of one pass. An adversarial term joins the same dictionary.

    Args:
        config: Strengths.
        perceptual: `(recon_BCHW, image_BCHW, weight_B1HW) → scalar`, as in `lfvar.losses.perceptual`; used when
            `config.perceptual` is above 0.

    Raises:
        ValueError: When the perceptual term has a strength and nothing that computes it.
    """

    def __init__(self, config: TokenizerLossConfig, perceptual: nn.Module | None = None) -> None:
        super().__init__()
        if config.perceptual and perceptual is None:
            raise ValueError(
                f"perceptual={config.perceptual} needs a perceptual distance: choose one, e.g. perceptual=structure"
            )
        self.config = config
        self.perceptual = perceptual if config.perceptual else None

    def forward(
        self, recon_BCHW: Tensor, image_BCHW: Tensor, mask_B1HW: Tensor, f_BChw: Tensor, quantised: Quantised
    ) -> dict[str, Tensor]:
        """Terms whose sum is the loss.

        Args:
            recon_BCHW: Reconstruction, not clamped.
            image_BCHW: Original in [-1, 1].
            mask_B1HW: {0, 1}, 1 = lesion.
            f_BChw: Encoder features.
            quantised: The quantiser's trace.

        Returns:
            Scalars by name, already weighted; terms of strength zero are left out.
        """
        c = self.config
        pixel_B1HW = focus_weight(mask_B1HW, c.focus_pixel) if c.focus_pixel else None
        latent_B1hw = None
        if c.focus_quantisation:
            latent_B1hw = focus_weight(pool_mask(mask_B1HW, f_BChw.shape[-1]), c.focus_quantisation)
        terms: dict[str, Tensor] = {}
        if c.l1:
            terms["l1"] = c.l1 * pixel_l1(recon_BCHW, image_BCHW, pixel_B1HW)
        if c.l2:
            terms["l2"] = c.l2 * pixel_l2(recon_BCHW, image_BCHW, pixel_B1HW)
        if self.perceptual is not None:
            seen_B1HW = focus_weight(mask_B1HW, c.focus_perceptual) if c.focus_perceptual else None
            terms["perceptual"] = c.perceptual * self.perceptual(recon_BCHW, image_BCHW, seen_B1HW)
        if c.quantisation:
            terms["quantisation"] = c.quantisation * quantisation_loss(
                f_BChw, quantised.partials, beta=c.beta, weight_B1hw=latent_B1hw, kept_KB=quantised.kept_KB
            )
        if c.focus_residual:
            terms["focus_residual"] = c.focus_residual * lesion_residual_loss(
                quantised.residuals, quantised.codes, mask_B1HW, beta=c.beta, kept_KB=quantised.kept_KB
            )
        return terms
