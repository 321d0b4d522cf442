"""What it costs to bring a batch to the model: prepared images, and token ids from a cache, against the plain way.

    python benchmarks/data_loading.py --size 64

One process, no workers: N workers load N times as fast as long as there are cores. Plain is what a short script does:
open both files, flip and turn at random, convert, stack. Crops are the tokenizer's augmentation, tokens the
transformer's input; the floor of each is the time to copy the bytes that it reads and makes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from harness import Row, add_common, copy_rate, measure_in_turns, rows_of, show_rows
from PIL import Image
from torch import Tensor

from lfvar.data.dataset import LesionDataset
from lfvar.data.manifest import Manifest, ManifestRow
from lfvar.data.prepare import prepare
from lfvar.data.prepare_config import PrepareConfig
from lfvar.data.sources.phantom import Phantom
from lfvar.data.splits import SplitConfig
from lfvar.data.token_cache import TokenCache, TokenizerIdentity
from lfvar.data.token_datamodule import TokenDataset
from lfvar.data.token_writer import write_token_cache
from lfvar.sampling.filling import without_lesion
from lfvar.scales import ScaleSchedule
from lfvar.types import Batch, TokenBatch

PIXELS = {"tiny": 32, "64": 64, "256": 256, "512": 512}
SCHEDULES = {"tiny": (1, 2, 4), "64": (1, 2, 3, 4, 6, 8), "256": (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)}
NUM_IMAGES = 32


def load_plainly(folder: Path, rows: Sequence[ManifestRow]) -> tuple[Tensor, Tensor]:
    """Images and masks of a batch, without anything of lfvar."""
    rng = np.random.default_rng(0)
    images, masks = [], []
    for row in rows:
        image = np.array(Image.open(folder / row.image).convert("RGB"))
        mask = np.array(Image.open(folder / row.mask).convert("L")) > 127
        if rng.random() < 0.5:
            image, mask = image[:, ::-1], mask[:, ::-1]
        turns = int(rng.integers(4))
        image, mask = np.rot90(image, turns), np.rot90(mask, turns)
        images.append(torch.tensor(image.copy()).permute(2, 0, 1).float() / 127.5 - 1)
        masks.append(torch.tensor(mask.copy())[None].float())
    return torch.stack(images), torch.stack(masks)


def fake_cache(folder: Path, manifest: Manifest, schedule: ScaleSchedule) -> TokenCache:
    """A cache of random ids: what reading costs does not depend on them."""
    size = manifest.header.image_size
    identity = TokenizerIdentity("0" * 64, schedule.patch_nums, 4096, size)

    def encode(image_BCHW: Tensor) -> list[Tensor]:
        return [torch.randint(4096, (len(image_BCHW), length)) for length in schedule.lengths]

    write_token_cache(folder / "tokens", folder, manifest, identity, encode, without_lesion, command="benchmark")
    return TokenCache.open(folder / "tokens", manifest, identity)


def measure(args: argparse.Namespace) -> list[Row]:
    """Rows of the table."""
    pixels = PIXELS[args.size]
    schedule = ScaleSchedule(SCHEDULES.get(args.size, SCHEDULES["256"]))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        config = PrepareConfig(image_size=pixels, workers=1)
        prepare(Phantom(NUM_IMAGES, max(pixels, 32)), "phantom", config, SplitConfig(), folder)
        manifest = Manifest.read(folder)
        rows, classes = manifest.rows, manifest.header.classes
        crops = LesionDataset(folder, rows, classes, pixels, augment="crops")
        symmetries = LesionDataset(folder, rows, classes, pixels, augment="symmetries")
        tokens = TokenDataset(symmetries, fake_cache(folder, manifest, schedule))
        draws = [(index, index) for index in range(len(rows))]
        variants: dict[str, Callable[[], object]] = {
            "plain, flips and turns": lambda: load_plainly(folder, rows),
            "images, flips and turns": lambda: Batch.collate([symmetries[draw] for draw in draws]),
            "images, crops": lambda: Batch.collate([crops[draw] for draw in draws]),
            "cached tokens": lambda: TokenBatch.collate([tokens[draw] for draw in draws]),
        }
        clock = {"cpu_time": args.cpu_time}
        measured = measure_in_turns(variants, args.turns, torch.device("cpu"), **clock)
        files = sum((folder / name).stat().st_size for row in rows for name in (row.image, row.mask)) / len(rows)
    rate = copy_rate(small=args.size == "tiny", **clock)
    image = (files + 4 * pixels**2 * 4) / rate  # 3 channels and a mask, float32
    token = (10 * schedule.num_tokens + pixels**2 * 9 / 8) / rate  # uint16 to int64, a bit to a byte
    return rows_of("data loading", measured, len(rows), [image, image, image, token], "bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common(parser)
    args = parser.parse_args()
    show_rows(measure(args), f"data loading, {args.size} px")


if __name__ == "__main__":
    main()
