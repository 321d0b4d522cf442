"""Tiny datasets with real JPEG and PNG files, made on the fly."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lfvar.data.records import HAM10000_CLASSES

WIDTH, HEIGHT = 60, 45


def draw_pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A brown disc on skin, and where it is."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    centre_x, centre_y = rng.uniform(18, WIDTH - 18), rng.uniform(14, HEIGHT - 14)
    mask = (x - centre_x) ** 2 + (y - centre_y) ** 2 < rng.uniform(5, 11) ** 2
    image = np.where(mask[..., None], (120, 70, 50), (220, 170, 150)) + rng.normal(0, 5, (HEIGHT, WIDTH, 3))
    return np.clip(image, 0, 255).astype(np.uint8), mask


def write_pair(image_path: Path, mask_path: Path, seed: int) -> None:
    image, mask = draw_pair(seed)
    for path in (image_path, mask_path):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(image_path, quality=92)
    Image.fromarray(mask.astype(np.uint8) * 255).save(mask_path)


def write_rows(path: Path, header: list[str], rows: list[list[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture
def make_ham(tmp_path: Path) -> Callable[..., Path]:
    """Make a dataset in the HAM10000 layout: `lesions` per type, the first of which has two images."""

    def make(lesions: int = 3, *, layout: str = "parts", root: Path | None = None) -> Path:
        root = root or tmp_path / "ham"
        rows = []
        for number, label in enumerate(label for label in HAM10000_CLASSES for _ in range(lesions)):
            for copy in range(2 if number % lesions == 0 else 1):
                index = len(rows)
                image_id = f"ISIC_{index:07d}"
                images, masks = {
                    "parts": (f"HAM10000_images_part_{1 + index % 2}", "HAM10000_segmentations_lesion_tschandl"),
                    "lower": (f"ham10000_images_part_{1 + index % 2}", "HAM10000_segmentations_lesion_tschandl"),
                    "one": ("HAM10000_images", "HAM10000_GroundTruth"),
                }[layout]
                mask_name = f"{image_id}.png" if layout == "one" and copy else f"{image_id}_segmentation.png"
                write_pair(root / images / f"{image_id}.jpg", root / masks / mask_name, seed=index)
                rows.append([f"HAM_{number:07d}", image_id, label, "histo"])
        write_rows(root / "HAM10000_metadata.csv", ["lesion_id", "image_id", "dx", "dx_type"], rows)
        return root

    return make


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Make a dataset for the `folder` source with types `a` and `b`."""

    def make(count: int = 12) -> Path:
        root = tmp_path / "mine"
        rows = []
        for index in range(count):
            write_pair(root / f"images/im{index}.jpg", root / f"masks/im{index}.png", seed=index)
            rows.append([f"im{index}", "ab"[index % 2], f"L{index // 2 * 2 + index % 2}"])
        write_rows(root / "labels.csv", ["image_id", "label", "lesion"], rows)
        return root

    return make


@pytest.fixture
def shared_ham() -> Path:
    """Real dermoscopy images, where they lie beside the checkout."""
    root = Path(__file__).parents[3] / "../shared/data/ham10000"
    if not root.is_dir():
        pytest.skip(f"no real images at {root}")
    return root
