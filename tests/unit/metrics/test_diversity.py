import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as ms_ssim

from lfvar.metrics.diversity import alikeness, draw_pairs, inception_score, scale_weights


@pytest.mark.parametrize(
    ("side", "scales"), [(11, 1), (21, 1), (22, 2), (44, 3), (64, 3), (128, 4), (176, 5), (512, 5)]
)
def test_scales_fit_the_image(side, scales):
    weights = scale_weights(side)
    assert len(weights) == scales
    assert math.fsum(weights) == pytest.approx(1)
    images = torch.rand(1, 3, side, side)
    if scales > 1:  # torchmetrics takes it, and one more would not fit
        assert ms_ssim(images, images, betas=weights, data_range=1.0) == pytest.approx(1)
    with pytest.raises(ValueError, match="smaller than the window"):
        scale_weights(10)


def test_published_weights_at_full_size():
    a, b = torch.rand(2, 1, 3, 192, 192)
    pixels = (torch.cat([a, b]) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    found = alikeness(lambda index: pixels[index], [(0, 1)], num_bootstrap=0)
    expected = ms_ssim(*(torch.from_numpy(x)[None].permute(0, 3, 1, 2) / 255 for x in pixels), data_range=1.0)
    assert found.mean == pytest.approx(expected.item(), abs=1e-4)
    assert found.num_scales == 5


def test_copies_are_alike_and_noise_is_not():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    pixels[3:] = pixels[3]
    labels = ["a"] * 3 + ["b"] * 3
    same = alikeness(lambda index: pixels[index], draw_pairs(["b"] * 3, 20, 0), batch_size=7)
    assert same.num_pairs == 20
    different = alikeness(lambda index: pixels[index], [(0, 1), (1, 2), (0, 2)])
    copies = alikeness(lambda index: pixels[index], [(3, 4), (4, 5)])
    assert copies.mean == pytest.approx(1)
    assert different.mean < 0.1
    pairs = draw_pairs(labels, 200, seed=1)
    assert all(labels[i] == labels[j] and i != j for i, j in pairs)
    assert pairs == draw_pairs(labels, 200, seed=1)


def test_without_pairs_there_is_no_number():
    assert draw_pairs(["a", "b"], 10, 0) == []
    assert math.isnan(alikeness(lambda index: np.zeros((0, 8, 8, 3), np.uint8), []).mean)


def test_inception_score_by_hand():
    sure = 50 * np.eye(4)[np.arange(40) % 4]  # four classes, each image certain: exp(log 4)
    assert inception_score(sure, num_splits=1).mean == pytest.approx(4)
    assert inception_score(np.zeros((40, 4))).mean == pytest.approx(1)  # nobody knows anything
    assert inception_score(50 * np.eye(4)[np.zeros(40, int)]).mean == pytest.approx(1)  # always the same
    assert math.isnan(inception_score(np.zeros((0, 4))).mean)


def test_inception_score_equals_torchmetrics():
    from torchmetrics.image.inception import InceptionScore

    logits = torch.randn(60, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    class Pass(torch.nn.Module):
        def forward(self, image):
            return image

    metric = InceptionScore(Pass(), splits=1)
    metric.features = [logits]
    expected, _ = metric.compute()
    assert inception_score(logits.numpy(), num_splits=1).mean == pytest.approx(expected.item(), rel=1e-6)
