"""Walk a tokenizer over images once and collect everything its report says.

Everything runs in float32 without reduced precision. Each image is reconstructed twice: from f̂, what the tokens say
("reconstruction"), and from f, what the encoder said ("unquantised"); the difference is what quantisation costs. The
decoder was trained on f̂, so the second is an estimate of the encoder-decoder's own limit, not a bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

import lfvar
from lfvar.errors import DataError
from lfvar.measure.settings import MeasureSettings
from lfvar.measure.standardise import Standardiser
from lfvar.metrics import frechet
from lfvar.metrics.batches import Images, as_batches, count_images, to_bytes
from lfvar.metrics.codebook import CodebookUsage
from lfvar.metrics.colour import colour_values
from lfvar.metrics.extractors import (
    MEASUREMENTS,
    FeatureExtractor,
    PerceptualDistance,
    measurement_features,
    standardiser_hash,
)
from lfvar.metrics.preservation import preservation_table, summarise_preservation
from lfvar.metrics.quality import summarise_quality
from lfvar.metrics.regions import region_values
from lfvar.metrics.remeasure import Remeasure, remeasuring
from lfvar.metrics.tokenizer_report import RECONSTRUCTION, UNQUANTISED, FrechetEntry, TokenizerReport
from lfvar.nn.precision import float32_exact
from lfvar.nn.vqvae import VQVAE
from lfvar.progress import ProgressBar
from lfvar.types import Batch

MADE = (RECONSTRUCTION, UNQUANTISED)
ORIGINAL = "original"


@dataclass(frozen=True)
class EvaluationConfig:
    """How a tokenizer is evaluated."""

    measure: MeasureSettings | None = field(default_factory=MeasureSettings)
    """How originals and reconstructions are measured; None: no measurement is taken, which leaves preservation out."""
    num_splits: int = 10
    """Random pairs of halves that floors are averaged over."""
    seed: int = 0
    """Decides the halves."""
    batch_size: int = 64
    """Images at once, for data that come one by one."""
    workers: int = 0
    """Processes that measure; 0: one per core."""

    def __post_init__(self) -> None:
        for name, low in (("num_splits", 1), ("seed", 0), ("batch_size", 1), ("workers", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")


def evaluate_tokenizer(
    net: VQVAE,
    data: Images,
    *,
    config: EvaluationConfig | None = None,
    standardiser: Standardiser | None = None,
    distances: Sequence[PerceptualDistance] = (),
    extractors: Sequence[FeatureExtractor] = (),
    classes: Sequence[str] = (),
    about: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    device: torch.device | str | None = None,
) -> TokenizerReport:
    """Evaluate a tokenizer on images; the same call gives the same numbers.

    Args:
        net: The tokenizer; put into evaluation mode while it works, and onto `device`.
        data: Batches (a DataLoader) or samples (a dataset), not augmented.
        config: How; None: as it is by default.
        standardiser: Of the real training images; None leaves out the distance over measurements.
        distances: Perceptual distances besides the pixel measures.
        extractors: Networks for distances between sets.
        classes: Names of the labels, in their order; used for numbers per type.
        about: What made checkpoint and data; goes into the report as it is.
        notes: Sentences that the report shall hold besides its own.
        device: Where the networks run; None: where the net is.

    Raises:
        DataError: When there are fewer than two images, or they have another size than the tokenizer's.
    """
    config = config or EvaluationConfig()
    home = next(net.parameters()).device
    walk = _Walk(net, config, distances, extractors, torch.device(device or home))
    was_training = net.training
    net.eval().to(walk.device)
    try:
        walk.run(data)
    finally:
        net.train(was_training).to(home)
    return walk.report(standardiser, classes, about or {}, notes)


class _Walk:
    """What accumulates, batch by batch; only numbers per image are kept, so memory does not grow with pixels."""

    def __init__(
        self,
        net: VQVAE,
        config: EvaluationConfig,
        distances: Sequence[PerceptualDistance],
        extractors: Sequence[FeatureExtractor],
        device: torch.device,
    ) -> None:
        self.net, self.config, self.device = net, config, device
        self.distances, self.extractors = distances, extractors
        self.usage = CodebookUsage(net.schedule, net.config.vocab_size)
        self.ids: list[str] = []
        self.labels: list[int] = []
        self.quality: dict[str, list[dict[str, Tensor]]] = {name: [] for name in MADE}
        self.measured: dict[str, list[NDArray[np.float64]]] = {name: [] for name in (ORIGINAL, *MADE)}
        self.features: dict[str, dict[str, list[NDArray[np.float64]]]] = {
            extractor.name: {name: [] for name in (ORIGINAL, *MADE)} for extractor in extractors
        }
        self.without_lesion = 0
        self.not_finite = 0

    def run(self, data: Images) -> None:
        total = count_images(data)
        settings, workers = self.config.measure, self.config.workers
        measuring = remeasuring(settings, 3 * total, workers=workers) if settings else nullcontext()
        with measuring as remeasure, ProgressBar(total, "evaluating") as bar:
            for batch in as_batches(data, self.config.batch_size):
                self.add(batch, remeasure)
                bar.advance(len(batch))
        if len(self.ids) < frechet.MIN_SAMPLES:
            raise DataError(
                f"{len(self.ids)} images to evaluate on: medians, ranks and distances need at least two",
                cure="choose another split, raise limit, or prepare more images",
            )

    @torch.no_grad()
    def add(self, batch: Batch, remeasure: Remeasure | None) -> None:
        size = self.net.config.image_size
        if batch.image_BCHW.shape[-2:] != (size, size):
            raise DataError(
                f"images of {tuple(batch.image_BCHW.shape[-2:])} pixels, but the tokenizer takes {size}×{size}",
                cure=f"prepare the data with image_size={size}, or give a checkpoint of that size",
            )
        image_BCHW = batch.image_BCHW.to(self.device)
        with float32_exact(self.device):
            f_BChw = self.net.encode(image_BCHW.float())
            quantised = self.net.quantiser(f_BChw)
            made = {
                RECONSTRUCTION: self.net.decode(quantised.f_hat_BChw),
                UNQUANTISED: self.net.decode(f_BChw),
            }
        self.usage.update([ids_Bl.cpu() for ids_Bl in quantised.ids])
        self.ids += batch.image_id
        self.labels += batch.label_B.tolist()
        self.without_lesion += int((batch.mask_B1HW.sum(dim=(1, 2, 3)) == 0).sum())
        self.not_finite += int((~made[RECONSTRUCTION].isfinite()).flatten(1).any(dim=1).sum())
        for name, recon_BCHW in made.items():
            self.quality[name].append(self._quality(recon_BCHW, image_BCHW, batch.mask_B1HW.to(self.device)))
        # What is compared with real images, which are bytes, is rounded to bytes first.
        pixels = {ORIGINAL: to_bytes(image_BCHW)} | {name: to_bytes(recon) for name, recon in made.items()}
        mask_BHW = batch.mask_B1HW[:, 0].numpy() > 0.5
        for name, image_BHWC in pixels.items():
            if remeasure is not None:
                self.measured[name].append(remeasure(image_BHWC, mask_BHW))
            for extractor in self.extractors:
                self.features[extractor.name][name].append(self._embed(extractor, image_BHWC))

    def _quality(self, recon_BCHW: Tensor, image_BCHW: Tensor, mask_B1HW: Tensor) -> dict[str, Tensor]:
        values = region_values(recon_BCHW, image_BCHW, mask_B1HW) | colour_values(recon_BCHW, image_BCHW, mask_B1HW)
        with float32_exact(self.device):
            for distance in self.distances:
                values |= distance.region_values(recon_BCHW, image_BCHW, mask_B1HW)
        return values

    def _embed(self, extractor: FeatureExtractor, image_BHWC: NDArray[np.uint8]) -> NDArray[np.float64]:
        image_BCHW = torch.from_numpy(image_BHWC).permute(0, 3, 1, 2).to(self.device).float().div(127.5).sub(1)
        with float32_exact(self.device):
            embedded_BD = extractor.embed(image_BCHW)
        return np.asarray(embedded_BD.double().cpu().numpy())

    def report(
        self, standardiser: Standardiser | None, classes: Sequence[str], about: Mapping[str, Any], notes: Sequence[str]
    ) -> TokenizerReport:
        images = self._images(classes)
        measured = {name: np.concatenate(parts) for name, parts in self.measured.items() if parts}
        tables = {name: preservation_table(measured[ORIGINAL], measured[name]) for name in MADE} if measured else {}
        settings = {
            "num_splits": self.config.num_splits,
            "seed": self.config.seed,
            "precision": "float32",
            "measure": self.config.measure.describe() if self.config.measure else None,
        }
        counts = {
            "images": len(self.ids),
            "without_lesion": self.without_lesion,
            "not_measurable": int((~np.isfinite(measured[ORIGINAL]).any(axis=1)).sum()) if measured else None,
            "types": {name: int((images["label"] == name).sum()) for name in dict.fromkeys(images["label"])},
        }
        return TokenizerReport(
            about={"lfvar_version": lfvar.__version__, "model": _plain_sizes(self.net), **about},
            settings=settings,
            counts=counts,
            quality={name: summarise_quality(self._joined(name)) for name in MADE},
            codebook={name: float(value) for name, value in self.usage.compute().items()},
            frechet=self._distances(measured, standardiser),
            preservation={name: summarise_preservation(table) for name, table in tables.items()},
            notes=[*notes, *self._notes(measured, standardiser)],
            images=images,
            preservation_table=tables.get(RECONSTRUCTION),
        )

    def _images(self, classes: Sequence[str]) -> pd.DataFrame:
        names = [classes[label] if 0 <= label < len(classes) else str(label) for label in self.labels]
        return pd.DataFrame({"image_id": self.ids, "label": names, **self._joined(RECONSTRUCTION)})

    def _joined(self, name: str) -> dict[str, NDArray[np.float64]]:
        parts = self.quality[name]
        return {key: torch.cat([part[key].double().cpu() for part in parts]).numpy() for key in parts[0]}

    def _distances(
        self, measured: Mapping[str, NDArray[np.float64]], standardiser: Standardiser | None
    ) -> list[FrechetEntry]:
        spaces: list[tuple[str, str, dict[str, NDArray[np.float64]]]] = []
        if measured and standardiser is not None:
            usable = np.isfinite(measured[ORIGINAL]).any(axis=1)  # no lesion, or one too small: nothing to compare
            if usable.sum() >= frechet.MIN_SAMPLES:
                vectors = {name: measurement_features(rows[usable], standardiser) for name, rows in measured.items()}
                spaces.append((MEASUREMENTS, standardiser_hash(standardiser), vectors))
        for extractor in self.extractors:
            parts = self.features[extractor.name]
            vectors = {name: np.concatenate(rows) for name, rows in parts.items()}
            spaces.append((extractor.name, extractor.weights_hash, vectors))
        entries = []
        for name, weights_hash, vectors in spaces:
            made = {variant: vectors[variant] for variant in MADE}
            num_splits, seed = self.config.num_splits, self.config.seed
            comparison = frechet.compare(vectors[ORIGINAL], made, num_splits=num_splits, seed=seed)
            entries.append(FrechetEntry(name, weights_hash, comparison))
        return entries

    def _notes(self, measured: Mapping[str, NDArray[np.float64]], standardiser: Standardiser | None) -> list[str]:
        notes = []
        if self.not_finite:
            notes.append(
                f"{self.not_finite} reconstructions hold values that are not finite numbers: their quality is NaN, and "
                "for measurements and distances such pixels count as black"
            )
        if self.without_lesion:
            notes.append(f"{self.without_lesion} images have no lesion: numbers inside are over the others")
        if not measured:
            notes.append("nothing was measured: preservation and the distance over measurements are left out")
        elif standardiser is None:
            notes.append("no standardiser of training images was given: the distance over measurements is left out")
        if len(self.ids) < 2 * frechet.MIN_SAMPLES:
            notes.append("fewer than 4 images: no halves, so Fréchet distances have no floor")
        if measured and np.isinf(np.concatenate(list(measured.values()))).any():
            notes.append("some measurements are infinite: preservation.csv counts them, and they are left out")
        return notes


def _plain_sizes(net: VQVAE) -> dict[str, Any]:
    config = net.config
    return {
        "image_size": config.image_size,
        "patch_nums": list(config.patch_nums),
        "vocab_size": config.vocab_size,
        "latent_channels": config.latent_channels,
        "stride": config.stride,
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
    }
