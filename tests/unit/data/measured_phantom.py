"""A prepared phantom dataset with its measurements, and a tokenizer for it."""

import shutil

import torch

from lfvar.data.dataset import LesionDataset
from lfvar.data.manifest import Manifest
from lfvar.measure.run import measure_manifest, read_table, write_table
from lfvar.measure.settings import MeasureSettings
from lfvar.measure.statistics import write_statistics
from lfvar.nn.vqvae import VQVAE, VQVAEConfig


def measure_copy(prepared, folder):
    """A copy of a prepared folder, measured."""
    shutil.copytree(prepared, folder)
    manifest = Manifest.read(folder)
    settings, cache = MeasureSettings(), folder / "measurements.sqlite"
    measure_manifest(folder, manifest, settings, cache, workers=1)
    write_table(folder, manifest, cache, settings)
    write_statistics(folder, manifest, read_table(folder, manifest))
    return folder


def tiny_tokenizer(folder, seed=0):
    """A tokenizer of 16-px images whose codes are what its features look like, so that ids differ."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = VQVAE(
            VQVAEConfig(
                channels=16,
                channel_multipliers=(1, 2),
                num_res_blocks=1,
                latent_channels=4,
                vocab_size=48,
                patch_nums=(1, 2, 4),
                stem_stride=2,
            )
        ).eval()
        manifest = Manifest.read(folder)
        images = LesionDataset(folder, manifest.rows, manifest.header.classes, 16)
        with torch.no_grad():
            net.quantiser.init_codebook(net.encode(torch.stack([images[i].image_CHW for i in range(40)])))
    return net
