"""What pulls features and codes together, with and without lesion focus."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lfvar.losses.focus import pool_mask


def quantisation_loss(
    f_BChw: Tensor,
    partials: Sequence[Tensor],
    *,
    beta: float,
    weight_B1hw: Tensor | None = None,
    kept_KB: Tensor | None = None,
) -> Tensor:
    """Mean over scales of β‖sg(f̂ₖ) − f‖² + ‖f̂ₖ − sg(f)‖² (VAR, arXiv 2404.02905, eq. 5, per scale).

    Args:
        f_BChw: Encoder features.
        partials: f̂ after each scale, as `Quantised.partials`.
        beta: Weight of the commitment term, which pulls the encoder; the other pulls codebook and φ.
        weight_B1hw: Per-position weights of mean 1 (`focus_weight` of the pooled mask); None: plain means.
        kept_KB: bool, the scales of each image that count (quantiser dropout); None: all.
    """
    f_BChw = f_BChw.float()
    fixed_BChw = f_BChw.detach()
    terms = []
    for k, f_hat_BChw in enumerate(partials):
        error_BChw = beta * (f_hat_BChw.detach() - f_BChw).square() + (f_hat_BChw - fixed_BChw).square()
        if weight_B1hw is not None:
            error_BChw = error_BChw * weight_B1hw
        terms.append(_mean_over_kept(error_BChw.mean(dim=(1, 2, 3)), kept_KB, k))
    return torch.stack(terms).mean()


def lesion_residual_loss(
    residuals: Sequence[Tensor],
    codes: Sequence[Tensor],
    mask_B1HW: Tensor,
    *,
    beta: float,
    kept_KB: Tensor | None = None,
) -> Tensor:
    """LF-VAR's lesion term: the error of each scale between its residual and the codes chosen, inside the lesion.

    The paper (arXiv 2508.19626) adds Σ_k ‖(1 − M_k) ⊙ (R_k − R̂_k)‖₂, its M being 1 on what is kept, so the error counts
    inside the lesion. Ours differs in two ways that training needs: the squared norm is averaged over lesion area and
    scales, so its strength does not depend on lesion size or on K; and it is split by stop-gradient like the
    quantisation loss, so that codes follow residuals and features follow codes, by β.

    Args:
        residuals: R_k, as `Quantised.residuals`.
        codes: R̂_k, as `Quantised.codes`.
        mask_B1HW: {0, 1}, 1 = lesion, at pixel resolution; pooled to each scale by area.
        beta: Weight of the part that moves the encoder.
        kept_KB: bool, the scales of each image that count (quantiser dropout); None: all.

    Returns:
        Scalar; an image without lesion contributes 0.
    """
    terms = []
    for k, (residual_BCkk, codes_BCkk) in enumerate(zip(residuals, codes, strict=True)):
        mask_B1kk = pool_mask(mask_B1HW, residual_BCkk.shape[-1])
        error_BCkk = beta * (codes_BCkk.detach() - residual_BCkk).square()
        error_BCkk = error_BCkk + (codes_BCkk - residual_BCkk.detach()).square()
        area_B = mask_B1kk.sum(dim=(1, 2, 3)).clamp_min(1e-6)
        inside_B = (mask_B1kk * error_BCkk).mean(dim=1).sum(dim=(1, 2)) / area_B
        terms.append(_mean_over_kept(inside_B, kept_KB, k))
    return torch.stack(terms).mean()


def _mean_over_kept(value_B: Tensor, kept_KB: Tensor | None, k: int) -> Tensor:
    """Mean over the images that kept scale k; 0 where none did."""
    if kept_KB is None:
        return value_B.mean()
    kept_B = kept_KB[k].float()
    return (value_B * kept_B).sum() / kept_B.sum().clamp_min(1)
