import math

import numpy as np
import pytest

from lfvar.metrics.editing import MAX_PSNR, background_psnr, seam_ratio


def test_background_psnr_looks_outside_only():
    source = np.full((16, 16, 3), 100, np.uint8)
    painted = np.zeros((16, 16), bool)
    painted[4:12, 4:12] = True
    edit = source.copy()
    edit[painted] = 255
    assert background_psnr(edit, source, painted) == MAX_PSNR
    edit[~painted] += 10
    assert background_psnr(edit, source, painted) == pytest.approx(20 * math.log10(255 / 10))
    assert math.isnan(background_psnr(edit, source, np.ones_like(painted)))


def test_a_ramp_has_no_seam_and_a_step_has_one():
    y, x = np.mgrid[:40, :40]
    ramp = np.repeat((2 * x + 2 * y)[..., None], 3, axis=-1)
    mask = (x - 20) ** 2 + (y - 18) ** 2 < 81
    assert seam_ratio(ramp, mask) == pytest.approx(1)
    stepped = ramp + 20 * mask[..., None]
    assert seam_ratio(stepped, mask) > 5
    far = ramp + 50 * ((x > 36) & (y > 36))[..., None]  # out of reach
    assert seam_ratio(far, mask) == pytest.approx(1)


def test_what_cannot_be_said():
    flat = np.zeros((8, 8, 3))
    none, half = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
    half[:4] = True
    assert math.isnan(seam_ratio(flat, none))
    assert math.isnan(seam_ratio(flat, ~none))
    assert seam_ratio(flat, half) == 1
    assert seam_ratio(flat + half[..., None], half) == math.inf
