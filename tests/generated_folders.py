"""Prepared and generated folders written in a second: discs on skin, with the files that evaluation reads."""

import numpy as np

from lfvar.data.generated import GeneratedRow, write_generated
from lfvar.data.imageio import write_png
from lfvar.data.manifest import Manifest, ManifestHeader, ManifestRow

CLASSES = ("mel", "nv", "df")
COLOURS = {"mel": (70, 45, 40), "nv": (140, 90, 60), "df": (180, 120, 110)}


def draw(label, seed, size=32):
    """A noisy disc of the type's colour, and where it is."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    centre, radius = rng.uniform(0.4, 0.6, 2), rng.uniform(0.18, 0.3)
    mask = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2
    skin, lesion = rng.normal((215, 165, 145), 8), rng.normal(COLOURS[label], 12)
    texture = rng.normal(0, 6, (size, size, 1)) + rng.normal(0, 2, (size, size, 3))
    image = np.where(mask[..., None], lesion, skin) + texture
    return np.clip(image, 0, 255).round().astype(np.uint8), mask


def write_folder(folder, images, *, splits=("train",), size=32, name="toys", classes=CLASSES, settings=None):
    """Write images as a prepared folder.

    Args:
        folder: Where to.
        images: (label, image, mask) each.
        splits: Taken in turn.
    """
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    rows = []
    for index, (label, image, mask) in enumerate(images):
        image_id = f"{name}_{index:04d}"
        hashes = [
            write_png(folder / part / f"{image_id}.png", pixels)
            for part, pixels in (("images", image), ("masks", mask))
        ]
        rows.append(
            ManifestRow(
                image_id,
                label,
                f"L{index}",
                None,
                splits[index % len(splits)],
                None,
                f"images/{image_id}.png",
                f"masks/{image_id}.png",
                size,
                size,
                0,
                0,
                size,
                size,
                float(mask.mean()),
                1.0,
                *hashes,
                *hashes,
            )
        )
    header = ManifestHeader(name, tuple(classes), size, settings or {"source": {}}, "0", None, "remake it", "0")
    manifest = Manifest(header, tuple(rows))
    manifest.write(folder)
    return manifest


def many(count, seed=0, labels=CLASSES, size=32):
    """Images of the types in turn."""
    return [(label, *draw(label, seed + i, size)) for i in range(count) for label in [labels[i % len(labels)]]]


def write_edits(folder, real, real_manifest, source_rows, seed=100, asked=None, raw=True):
    """Write a generated folder: each source gets the lesion of another type inside its own mask."""
    images, rows = [], []
    for index, number in enumerate(source_rows):
        source, (source_label, image, mask) = real_manifest.rows[number], real[number]
        label = CLASSES[index % len(CLASSES)]
        rng = np.random.default_rng(seed + index)
        value = rng.normal(COLOURS[label], 12)
        edited = image.copy()
        edited[mask] = np.clip(value + rng.normal(0, 6, (int(mask.sum()), 3)), 0, 255).round()
        images.append((label, edited, mask))
        rows.append(
            GeneratedRow(
                f"generated_{index:04d}",
                "inter",
                source.image_id,
                source_label,
                source.split,
                label,
                index,
                0,
                None,
                "source",
                None,
                asked(value) if asked else {},
            )
        )
    settings = {"source": {"kind": "generated", "source_manifest": real_manifest.hash}}
    manifest = write_folder(folder, images, name="generated", settings=settings)
    write_generated(folder, rows, {"command": "python -m lfvar.generate", "settings": {}})
    if raw:
        (folder / "raw").mkdir()
        for row, (_, image, mask) in zip(manifest.rows, images, strict=True):
            pixels = image.copy()
            pixels[~mask] = np.clip(pixels[~mask].astype(int) + 5, 0, 255)
            write_png(folder / "raw" / f"{row.image_id}.png", pixels)
    return manifest
