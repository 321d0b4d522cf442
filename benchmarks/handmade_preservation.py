"""How well a tokenizer keeps five hand-made measurements: `python benchmarks/handmade_preservation.py CKPT FOLDER`.

Mean grey level, its spread, contrast (mean grey outside minus inside), gradient strength (mean length of its gradient)
and redness (red minus the mean of green and blue), each inside the lesion: what a first prototype was judged by.
Prints Spearman's correlation between original and reconstruction over a split of a prepared FOLDER.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from scipy.stats import spearmanr

from lfvar.data.datamodule import LesionDataModule
from lfvar.data.loading import LoaderConfig
from lfvar.data.manifest import Manifest
from lfvar.interop.checkpoints import load_vqvae

LUMA = (0.299, 0.587, 0.114)


def handmade(image_CHW: torch.Tensor, mask_HW: np.ndarray) -> list[float]:
    """The five measurements of one image in [-1, 1] and its lesion."""
    rgb = ((image_CHW.clamp(-1, 1) + 1) * 127.5).round().numpy()
    grey = np.tensordot(LUMA, rgb, axes=1)
    rows, columns = np.gradient(grey)
    red = rgb[0] - (rgb[1] + rgb[2]) / 2
    inside = grey[mask_HW]
    return [
        inside.mean(),
        inside.std(),
        grey[~mask_HW].mean() - inside.mean(),
        np.hypot(rows, columns)[mask_HW].mean(),
        red[mask_HW].mean(),
    ]


def main(checkpoint: str, folder: str, split: str = "test") -> None:
    net = load_vqvae(checkpoint)
    data = LesionDataModule(folder, Manifest.read(folder), LoaderConfig())
    dataset = data.test_dataset if split == "test" else data.val_dataset
    before, after = [], []
    for index in range(len(dataset)):
        sample = dataset[index]
        mask_HW = sample.mask_1HW[0].numpy() > 0.5
        recon_CHW = net.decode_ids(net.encode_ids(sample.image_CHW[None]))[0]
        before.append(handmade(sample.image_CHW, mask_HW))
        after.append(handmade(recon_CHW, mask_HW))
    names = ("mean grey", "spread", "contrast", "gradient", "redness")
    columns = zip(names, np.array(before).T, np.array(after).T, strict=True)
    print(f"{len(dataset)} images: " + ", ".join(f"{name} {spearmanr(a, b).statistic:.3f}" for name, a, b in columns))


if __name__ == "__main__":
    main(*sys.argv[1:])
