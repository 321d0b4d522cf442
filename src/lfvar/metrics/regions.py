"""Reconstruction quality inside and outside the lesion, and over the whole image."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.image import structural_similarity_index_measure
from torchmetrics.utilities.data import dim_zero_cat

from lfvar.nn.precision import float32_exact

REGIONS = ("inside", "outside", "all")


def psnr(mse: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB for images in [0, 1]; 100 dB at most, which stands for "identical"."""
    return -10 * torch.log10(mse.clamp_min(1e-10))


def region_values(recon_BCHW: Tensor, image_BCHW: Tensor, mask_B1HW: Tensor) -> dict[str, Tensor]:
    """L1, PSNR and SSIM of each image in each region.

    L1 is the mean absolute difference in units of the full range (images taken to [0, 1]); PSNR is that of the region's
    mean squared error over its pixels and channels; SSIM is the mean over the region of the SSIM map (11×11 Gaussian
    window, σ 1.5, Wang et al. 2004), so values near the border see both regions.

    Args:
        recon_BCHW: In [-1, 1]; clamped here.
        image_BCHW: In [-1, 1].
        mask_B1HW: {0, 1}, 1 = lesion.

    Returns:
        `l1_inside`, `psnr_outside`, `ssim_all`, … each (B,); infinite where an image lacks the region, and NaN where
        the reconstruction is.
    """
    with float32_exact(image_BCHW.device):  # SSIM subtracts nearly equal numbers: in bf16 it is noise
        return _region_values(recon_BCHW, image_BCHW, mask_B1HW)


def _region_values(recon_BCHW: Tensor, image_BCHW: Tensor, mask_B1HW: Tensor) -> dict[str, Tensor]:
    a_BCHW, b_BCHW = (recon_BCHW.float().clamp(-1, 1) + 1) / 2, (image_BCHW.float() + 1) / 2
    error_BHW = (a_BCHW - b_BCHW).abs().mean(1)
    square_BHW = (a_BCHW - b_BCHW).square().mean(1)
    _, ssim_BCHW = structural_similarity_index_measure(
        a_BCHW, b_BCHW, data_range=1.0, reduction="none", return_full_image=True
    )
    ssim_BHW = ssim_BCHW.mean(1)
    mask_BHW = mask_B1HW[:, 0].float()
    values = {}
    for name, region_BHW in zip(REGIONS, (mask_BHW, 1 - mask_BHW, torch.ones_like(mask_BHW)), strict=True):
        area_B = region_BHW.sum(dim=(1, 2))
        for measure, value_BHW in (("l1", error_BHW), ("psnr", square_BHW), ("ssim", ssim_BHW)):
            mean_B = (value_BHW * region_BHW).sum(dim=(1, 2)) / area_B.clamp_min(1)
            mean_B = psnr(mean_B) if measure == "psnr" else mean_B
            # infinity marks a missing region, to tell it from the NaN of a diverged net, which must not be hidden
            values[f"{measure}_{name}"] = mean_B.where(area_B > 0, torch.inf)
    return values


class RegionQuality(Metric):
    """Mean and median over images of `region_values`.

    Per-image values are kept and sorted before averaging, so the result does not depend on batch size, order or the
    number of processes.
    """

    full_state_update = False
    NAMES = tuple(f"{measure}_{region}" for measure in ("l1", "psnr", "ssim") for region in REGIONS)

    def __init__(self) -> None:
        super().__init__()
        for name in self.NAMES:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, recon_BCHW: Tensor, image_BCHW: Tensor, mask_B1HW: Tensor) -> None:
        """Add a batch; arguments as in `region_values`."""
        for name, values_B in region_values(recon_BCHW, image_BCHW, mask_B1HW).items():
            getattr(self, name).append(values_B)

    def compute(self) -> dict[str, Tensor]:
        """`psnr_inside` (mean over images), `psnr_inside_median`, … for each name."""
        result = {}
        for name in self.NAMES:
            values_N = dim_zero_cat(getattr(self, name))
            values_N = values_N[~values_N.isinf()].sort().values
            if values_N.numel():
                result[name] = values_N.mean()
                result[f"{name}_median"] = values_N.quantile(0.5)  # NaN if any value is
        return result
