"""Every metric that should notice a corruption does, on toys; docs/evaluation.md has the table on real images."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from generated_folders import draw

pytestmark = pytest.mark.slow

PATH = Path(__file__).parents[3] / "benchmarks" / "corrupted_sets.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("corrupted_sets", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["corrupted_sets"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def toys(benchmark, count, seed):
    rows = [(label, *draw(label, seed + 10 * i + k)) for i in range(count) for k, label in enumerate(("mel", "nv"))]
    labels, images, masks = zip(*rows, strict=True)
    return benchmark.Images(np.stack(images), np.stack(masks), np.array(labels))


def features(pixels, masks):
    """Mean colours inside and outside, and how rough the image is."""
    rows = []
    for image, mask in zip(pixels.astype(float), masks, strict=True):
        rough = np.abs(np.diff(image, axis=0)).mean()
        rows.append([*image[mask].mean(0), *image[~mask].mean(0), 10 * rough])
    return np.array(rows)


@pytest.fixture(scope="module")
def table(benchmark):
    clean, reference, train = (toys(benchmark, n, seed) for n, seed in ((30, 0), (60, 10_000), (30, 20_000)))
    return benchmark.run(clean, reference, train, {"toy": features})


def test_clean_images_are_at_the_floor(table):
    assert not table[table["strength"] == 0]["noticed"].any()


def test_all_that_should_notice_do(benchmark, table):
    found = benchmark.judge(table)
    missed = found[~found["noticed"]]
    assert missed.empty, missed
    distances = found[found["metric"].isin(("fd", "near copies", "MS-SSIM"))]
    assert distances["worse with each step"].all(), distances


def test_strengths_share_what_they_spoil(benchmark):
    clean, train = toys(benchmark, 10, 0), toys(benchmark, 10, 500)
    for how in benchmark.CORRUPTIONS:
        assert np.array_equal(benchmark.spoil(clean, train, how, 0).image_NHWC, clean.image_NHWC)
        changed = [
            (benchmark.spoil(clean, train, how, s).image_NHWC != clean.image_NHWC).any(axis=(1, 2, 3)) for s in (1, 3)
        ]
        assert changed[1].sum() >= changed[0].sum() > 0
    with pytest.raises(KeyError):
        benchmark.spoil(clean, train, "rust", 1)
