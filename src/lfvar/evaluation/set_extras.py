"""What an evaluation of generated images has only where someone gives a classifier, a tokenizer or the sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from lfvar.data.generated import RAW
from lfvar.data.imageio import read_image
from lfvar.data.manifest import Manifest
from lfvar.data.records import PairError
from lfvar.errors import ConfigError, DataError
from lfvar.evaluation.set_report import Background, TypeAgreement
from lfvar.evaluation.sets import ImageSet
from lfvar.measure.settings import MeasureSettings
from lfvar.metrics.batches import to_bytes
from lfvar.metrics.editing import background_psnr, seam_ratio
from lfvar.metrics.intervals import median_or_nan, share_interval
from lfvar.metrics.preservation import preservation_table
from lfvar.metrics.remeasure import remeasuring
from lfvar.nn.precision import float32_exact
from lfvar.nn.vqvae import VQVAE
from lfvar.progress import ProgressBar

Classify = Callable[[NDArray[np.uint8]], NDArray[np.int64]]
"""Images BHWC to indices of types (B,)."""


def type_agreement(
    classify: Classify,
    classes: Sequence[str],
    generated: ImageSet,
    real: ImageSet,
    *,
    about: Mapping[str, Any],
    batch_size: int = 64,
) -> TypeAgreement:
    """Let a classifier trained on real images say what generated ones show, and how well it does on real ones.

    Args:
        classify: Images to types.
        classes: Types in the order of its answers.
        generated: Their labels are the types that were asked for.
        real: Images that the classifier has not seen.
        about: The classifier's file, hash and scores.
        batch_size: Images at once.
    """
    predicted = _predict(classify, classes, generated, batch_size)
    on_real = _predict(classify, classes, real, batch_size)
    asked, truth = np.array(generated.labels), np.array(real.labels)
    rows = []
    for label in (name for name in generated.manifest.header.classes if name in asked or name in truth):
        mine, theirs = asked == label, truth == label
        hits = int((predicted[mine] == label).sum())
        low, high = share_interval(hits, int(mine.sum()))
        rows.append(
            {
                "type": label,
                "count": int(mine.sum()),
                "share": hits / mine.sum() if mine.any() else np.nan,
                "low": low,
                "high": high,
                "real_count": int(theirs.sum()),
                "real_share": float((on_real[theirs] == label).mean()) if theirs.any() else np.nan,
            }
        )
    table = pd.DataFrame(rows).set_index("type")
    counts = pd.crosstab(pd.Series(asked, name="asked"), pd.Series(predicted, name="predicted"))
    return TypeAgreement(
        about=about,
        rows=table,
        predicted=counts,
        agreement=float((predicted == asked).mean()),
        accuracy=float((on_real == truth).mean()),
        balanced_accuracy=float(table["real_share"].mean()),
    )


def load_classify(
    path: Path, generated: ImageSet, device: torch.device
) -> tuple[Classify, tuple[str, ...], dict[str, Any]]:
    """The classifier of a checkpoint of `experiment=classifier`.

    Returns:
        It as a function, its types, and what its file says about itself.

    Raises:
        ArtefactError: When the file is missing, damaged, or something else.
        ConfigError: When it was trained on images of another size.
    """
    from lfvar.interop.classifiers import load_classifier

    loaded = load_classifier(path)
    if loaded.image_size != generated.image_size:
        raise ConfigError(
            f"classifier={path} was trained on images of {loaded.image_size} pixels, these have {generated.image_size}",
            cure="give a classifier of that size, or leave classifier out",
        )
    net = loaded.net.to(device).eval()

    def classify(image_BHWC: NDArray[np.uint8]) -> NDArray[np.int64]:
        with torch.no_grad(), float32_exact(device):
            return np.asarray(net(_to_model(image_BHWC, device)).argmax(dim=1).cpu().numpy(), dtype=np.int64)

    return classify, loaded.classes, loaded.about


def tokenizer_ceiling(
    net: VQVAE, real: ImageSet, measured_NM: NDArray[np.float64], settings: MeasureSettings, *, device: torch.device,
    batch_size: int = 64, workers: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """What of each measurement of real images survives encoding and decoding: no control can be better.

    Returns:
        `lfvar.metrics.preservation.preservation_table`.

    Raises:
        ConfigError: When the tokenizer takes images of another size.
    """
    if net.config.image_size != real.image_size:
        raise ConfigError(
            f"the tokenizer takes {net.config.image_size} pixels, these images have {real.image_size}",
            cure="give the tokenizer that the images were made with, or leave ckpt out",
        )
    net = net.to(device).eval()
    rows = []
    with remeasuring(settings, len(real), workers=workers) as remeasure, ProgressBar(len(real), "ceiling") as bar:
        for image_BHWC, mask_BHW in real.batches(np.arange(len(real)), batch_size):
            with torch.no_grad(), float32_exact(device):
                f_BChw = net.encode(_to_model(image_BHWC, device))
                recon_BCHW = net.decode(net.quantiser(f_BChw).f_hat_BChw)
            rows.append(remeasure(to_bytes(recon_BCHW), mask_BHW))
            bar.advance(len(image_BHWC))
    return preservation_table(measured_NM, np.concatenate(rows))


def background(generated: ImageSet, details: pd.DataFrame, sources: Manifest, source_folder: Path) -> Background | None:
    """Compare edits with their sources outside the mask.

    Args:
        generated: The images.
        details: `lfvar.data.generated.read_generated`.
        sources: The manifest of the images that were edited.
        source_folder: Of that manifest.

    Returns:
        None when none of the images is an edit of an image of that manifest.

    Raises:
        DataError: When a source cannot be read or has another size.
    """
    by_id = {row.image_id: row for row in sources.rows}
    source_of = details.set_index("image_id")["source_id"]
    num_edits = num_identical = 0
    raw_psnr: list[float] = []
    seams: list[tuple[float, float]] = []
    for index, row in enumerate(generated.rows):
        source = by_id.get(str(source_of.get(row.image_id)))
        if source is None:
            continue
        image_HWC, mask_HW = generated.read(index)
        original_HWC = _read(source_folder / source.image)
        if original_HWC.shape != image_HWC.shape:
            raise DataError(
                f"source {source.image_id} is {original_HWC.shape[:2]} and its edit {image_HWC.shape[:2]}",
                cure="give the data that the edits were made from: data=… image_size=…",
            )
        num_edits += 1
        seams.append((seam_ratio(image_HWC, mask_HW), seam_ratio(original_HWC, mask_HW)))
        num_identical += bool((image_HWC[~mask_HW] == original_HWC[~mask_HW]).all())
        raw_path = generated.folder / RAW / f"{row.image_id}.png"
        if raw_path.is_file() and not mask_HW.all():
            raw_psnr.append(background_psnr(_read(raw_path), original_HWC, mask_HW))
    if not num_edits:
        return None
    return Background(num_edits, num_identical, raw_psnr, *(median_or_nan(side) for side in zip(*seams, strict=True)))


def _predict(classify: Classify, classes: Sequence[str], images: ImageSet, batch_size: int) -> NDArray[np.str_]:
    answers = []
    with ProgressBar(len(images), f"classifier: {images.name}") as bar:
        for image_BHWC, _ in images.batches(np.arange(len(images)), batch_size):
            answers.append(classify(image_BHWC))
            bar.advance(len(image_BHWC))
    return np.asarray(classes, dtype=np.str_)[np.concatenate(answers)]


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        return read_image(path)
    except PairError as error:
        raise DataError(f"{path}: {error}", cure="make the images again, or remove the file") from error


def _to_model(image_BHWC: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    image_BCHW = torch.from_numpy(np.ascontiguousarray(image_BHWC.transpose(0, 3, 1, 2)))
    return image_BCHW.to(device).float().div(127.5).sub(1)
