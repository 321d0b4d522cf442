"""The perceptual loss that needs no weights: edges and local structure at several scales."""

from __future__ import annotations

import torch
from torch import Tensor

from lfvar.losses.focus import weighted_mean
from lfvar.losses.perceptual import PerceptualLoss, weight_at
from lfvar.losses.ssim import ssim_map, window_reach
from lfvar.nn.precision import float32_exact
from lfvar.nn.resize import area_resize

# Full-range Y'CbCr of ITU-R BT.601: luminance, blue - luminance and red - luminance, the latter two scaled to the range
# of the first.
_YCC = (
    (0.299, 0.587, 0.114),
    (-0.168736, -0.331264, 0.5),
    (0.5, -0.418688, -0.081312),
)


class StructureLoss(PerceptualLoss):
    """Mean over an image pyramid of gradient differences and of 1 - SSIM.

    At each scale s of the pyramid (area means of 2 × 2):

        gradient · mean(|∂ₓe| + |∂ᵧe|)  +  ssim · mean(1 - SSIM(Y(recon), Y(image)))  +  chroma · mean(|e_chroma|)

    e is the reconstruction's error as luminance Y and two chroma channels, in the range [-1, 1] of images, ∂ the
    difference of neighbours: edges that are missing, moved, or of another colour. Absolute values keep one strong edge
    from outweighing all texture. SSIM compares luminance in [0, 1] in a small Gaussian window: local contrast and
    pattern, which a mean of pixel errors gives away by blurring. At the defaults both pull about equally hard on a
    slightly blurred dermoscopy image (norms of the gradient).

    Args:
        gradient: Strength of the gradient term.
        ssim: Strength of the SSIM term.
        chroma: Strength of the colour term. Hue varies little beside lightness, so pixel terms learn it last: without
            this term a young tokenizer can lack a whole colour axis.
        scales: Levels of the pyramid at most.
        smallest: Side in pixels below which a level is left out; the first is always there.
        sigma: Of the SSIM window in pixels of each level (1: 9 × 9 taps).

    Raises:
        ValueError: When a strength is negative or all are 0, there is no scale, or the window does not fit `smallest`.
    """

    def __init__(
        self,
        *,
        gradient: float = 1.0,
        ssim: float = 0.25,
        chroma: float = 0.0,
        scales: int = 3,
        smallest: int = 16,
        sigma: float = 1.0,
    ) -> None:
        super().__init__()
        if min(gradient, ssim, chroma) < 0 or not gradient + ssim + chroma:
            raise ValueError(
                f"gradient, ssim and chroma are strengths >= 0, one above it, got {gradient}, {ssim} and {chroma}"
            )
        if scales < 1:
            raise ValueError(f"scales must be at least 1, got {scales}")
        if sigma <= 0 or smallest <= window_reach(sigma):
            raise ValueError(f"sigma must be above 0 and reach less than smallest={smallest} pixels, got {sigma}")
        self.gradient = gradient
        self.ssim = ssim
        self.chroma = chroma
        self.scales = scales
        self.smallest = smallest
        self.sigma = sigma
        self.register_buffer("ycc", torch.tensor(_YCC), persistent=False)

    def forward(self, recon_BCHW: Tensor, image_BCHW: Tensor, weight_B1HW: Tensor | None = None) -> Tensor:
        """As `PerceptualLoss`."""
        with float32_exact(recon_BCHW.device):
            image_BCHW = image_BCHW.detach().float()
            ycc: Tensor = self.get_buffer("ycc").float()
            # Everything but SSIM is linear, so only the error and the original's luminance go down the pyramid.
            error_BCHW = torch.einsum("dc,bchw->bdhw", ycc, recon_BCHW.float() - image_BCHW)
            luminance_B1HW = torch.einsum("dc,bchw->bdhw", ycc[:1], image_BCHW)
            levels = []
            for scale in range(self.scales):
                side = image_BCHW.shape[-1] >> scale
                if scale and side < self.smallest:
                    break
                error_BCHW, luminance_B1HW = area_resize(error_BCHW, side), area_resize(luminance_B1HW, side)
                levels.append(self._level(error_BCHW, luminance_B1HW, weight_at(weight_B1HW, side)))
            return torch.stack(levels).mean()

    def _level(self, error_BCHW: Tensor, luminance_B1HW: Tensor, weight_B1HW: Tensor | None) -> Tensor:
        terms = []
        if self.gradient:
            terms.append(self.gradient * sum_of_gradients(error_BCHW, weight_B1HW))
        if self.ssim:
            image_B1HW = (luminance_B1HW + 1) / 2
            recon_B1HW = image_B1HW + error_BCHW[:, :1] / 2
            ssim_B1HW = ssim_map(recon_B1HW, image_B1HW, sigma=self.sigma)
            terms.append(self.ssim * weighted_mean(1 - ssim_B1HW, weight_B1HW))
        if self.chroma:
            terms.append(self.chroma * weighted_mean(error_BCHW[:, 1:].abs(), weight_B1HW))
        return torch.stack(terms).sum()


def sum_of_gradients(error_BCHW: Tensor, weight_B1HW: Tensor | None) -> Tensor:
    """Mean absolute difference of neighbours along rows plus that along columns.

    Args:
        error_BCHW: Any values.
        weight_B1HW: A difference counts with the mean weight of its two pixels, taken to mean 1 per image.
    """
    total = error_BCHW.new_zeros(())
    for axis in (-1, -2):
        difference = error_BCHW.diff(dim=axis).abs()
        if weight_B1HW is None:
            total = total + difference.mean()
            continue
        count = weight_B1HW.shape[axis] - 1
        between = weight_B1HW.narrow(axis, 0, count) + weight_B1HW.narrow(axis, 1, count)
        total = total + weighted_mean(difference, between / between.mean(dim=(-2, -1), keepdim=True))
    return total
