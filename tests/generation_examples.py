"""What tests of generating share: a measured pool of tiny images, and a synthesiser that needs no net."""

import zlib
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from tests.var_examples import SIZES, tiny_tokenizer

from lfvar.data.manifest import Manifest
from lfvar.data.token_cache import TokenizerIdentity
from lfvar.generation.modes import make_plan
from lfvar.generation.planner import Planner
from lfvar.generation.pool import Pool
from lfvar.generation.settings import Wish
from lfvar.interop.checkpoints import describe_checkpoint
from lfvar.interop.tokenizers import hash_file
from lfvar.measure.profiles import Profiles
from lfvar.measure.statistics import read_standardiser
from lfvar.nn.var import VAR
from lfvar.sampling.editing import Result
from lfvar.sampling.vectors import Vectors

NAMES = (
    *("clinical_colour_lightness", "clinical_colour_redness", "histogram_mean", "histogram_entropy"),
    *("clinical_relative_area", "clinical_asymmetry_shape_max", "clinical_centroid_x", "clinical_centroid_y"),
)


def open_pool(folder):
    return Pool.read(folder, Manifest.read(folder))


def make_planner(pool, mode, names=NAMES, prompts=(), **settings):
    if prompts:
        settings["prompts"] = tuple(prompt.text for prompt in prompts)
    vectors = Vectors(names, Profiles.read(pool.folder / "profiles.parquet"))
    return Planner(Wish(mode=mode, **settings), pool, vectors, pool.classes, tuple(prompts))


def plan_of(pool, mode, **settings):
    return make_plan(make_planner(pool, mode, **settings), "x")


@dataclass
class Painter:
    """Paints noise that belongs to a job; counts what it was asked to do, and can fail on the way."""

    fail_after: int | None = None
    painted: Counter = field(default_factory=Counter)

    def check(self, jobs):
        return [f"{job.label} is a fine type" for job in jobs[:1]]

    def run(self, jobs, **settings):
        for job in jobs:
            if self.fail_after is not None and self.painted.total() >= self.fail_after:
                raise KeyboardInterrupt
            self.painted[job.seed, job.label] += 1
            words = f"{job.seed} {job.label} {sorted(job.measurements.items())}"
            rng = np.random.default_rng(zlib.crc32(words.encode()))
            side = 16 if job.image_HWC is None else len(job.image_HWC)
            raw = rng.integers(0, 256, (side, side, 3), np.uint8)
            image = raw if job.image_HWC is None else np.where(job.painted[..., None], raw, job.image_HWC)
            yield Result(image, raw, job.mask_HW, np.zeros(1, np.int64))


def save_models(folder, prepared):
    """A tokenizer and a transformer with random weights, for the images and measurements of a prepared folder."""
    manifest = Manifest.read(prepared)
    tokenizer, classes = tiny_tokenizer().net, manifest.header.classes
    state = {f"net.{name}": tensor for name, tensor in tokenizer.state_dict().items()}
    path = folder / "tokenizer.ckpt"
    torch.save({"lfvar": describe_checkpoint("vqvae", tokenizer.config), "state_dict": state, "global_step": 1}, path)
    standardiser = read_standardiser(prepared, manifest)
    standardiser = replace(standardiser, features=tuple(f for f in standardiser.features if f.name in NAMES))
    torch.manual_seed(1)
    net = VAR(replace(SIZES, num_classes=len(classes), num_measurements=len(NAMES), mask_aware=True))
    for tensor in net.parameters():
        torch.nn.init.normal_(tensor, std=0.15)
    about = describe_checkpoint("var", net.config) | {
        "classes": list(classes),
        "feature_names": list(standardiser.names),
        "standardiser": standardiser.to_dict(),
        "tokenizer": {
            "file": str(path),
            "sha256": hash_file(path),
            "weights": "last",
            "hash": TokenizerIdentity.of(tokenizer).hash,
        },
    }
    state = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
    torch.save({"lfvar": about, "state_dict": state}, folder / "transformer.ckpt")
    return folder / "transformer.ckpt"
