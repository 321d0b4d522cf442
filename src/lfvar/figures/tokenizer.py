"""What a tokenizer does to images: reconstructions with a caption per row, and what is left of each measurement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lfvar.data.dataset import LesionDataset
from lfvar.data.imageio import write_png
from lfvar.figures.panels import GAP, HEADING, RGB, draw_reconstructions
from lfvar.figures.style import GROUP_COLOURS, light_grid, make_figure, save_png, styled
from lfvar.metrics.preservation import GOOD
from lfvar.metrics.tokenizer_report import TokenizerReport
from lfvar.nn.precision import float32_exact
from lfvar.nn.vqvae import VQVAE
from lfvar.types import Batch, Sample

CAPTION = 112
"""Width of the captions in pixels."""
_SIDE = 128


def write_pictures(
    folder: Path, net: VQVAE, dataset: Sequence[Sample] | LesionDataset, report: TokenizerReport, count: int
) -> dict[str, str]:
    """Draw what belongs to a report into `pictures/` of its folder.

    Args:
        folder: Of the report.
        net: The tokenizer that was evaluated.
        dataset: What it was evaluated on, in the order of the report's images.
        report: The report.
        count: Rows of `reconstructions.png`, from the worst lesion (image, where none has a lesion) to the best; 0
            leaves it out.

    Returns:
        Paths by what they are.
    """
    pictures = folder / "pictures"
    pictures.mkdir(exist_ok=True)
    paths = {}
    if count:
        inside, everywhere = (report.images[f"psnr_{region}"].to_numpy() for region in ("inside", "all"))
        picks = pick_evenly(inside if np.isfinite(inside).any() else everywhere, count)
        captions = [describe_row(report.images.iloc[index]) for index in picks]
        write_png(
            pictures / "reconstructions.png",
            draw_batch(net, Batch.collate([dataset[int(index)] for index in picks]), captions),
        )
        paths["reconstructions"] = str(pictures / "reconstructions.png")
    if report.preservation_table is not None:
        figure = draw_preservation(report.preservation_table)
        paths["preservation of measurements"] = str(save_png(figure, pictures / "preservation.png"))
    return paths


def describe_row(row: pd.Series[Any]) -> str:
    """The caption of one image: which it is, and its PSNR where it has the region."""
    quality = [
        f"{row[f'psnr_{name}']:.1f} dB {name}" for name in ("inside", "outside") if row[f"psnr_{name}"] != np.inf
    ]
    return "\n".join([str(row["image_id"])[:16], str(row["label"]), *quality])


@torch.no_grad()
def draw_batch(net: VQVAE, batch: Batch, captions: Sequence[str]) -> RGB:
    """Reconstruct images after each scale, in full precision, and draw them with a caption each."""
    device = next(net.parameters()).device
    with float32_exact(device):
        scales = net.reconstruct_scales(batch.image_BCHW.to(device))
    return draw_captioned(
        batch.image_BCHW.numpy(),
        batch.mask_B1HW[:, 0].numpy() > 0.5,
        [scale_BCHW.float().cpu().numpy() for scale_BCHW in scales],
        net.schedule.patch_nums,
        captions,
    )


def draw_captioned(
    image_BCHW: NDArray[np.floating],
    mask_BHW: NDArray[np.bool_],
    scales: Sequence[NDArray[np.floating]],
    patch_nums: Sequence[int],
    captions: Sequence[str],
) -> RGB:
    """Originals, lesions outlined, reconstructions after each scale and errors, with a caption left of each row.

    Args:
        image_BCHW: In [-1, 1].
        mask_BHW: True = lesion.
        scales: Reconstruction after each scale, coarse to fine, each BCHW in [-1, 1].
        patch_nums: Side of each token map.
        captions: A few short lines per image.

    Returns:
        One RGB picture; see `draw_reconstructions` for its columns.

    Raises:
        ValueError: When captions and images differ in number.
    """
    if len(captions) != len(image_BCHW):
        raise ValueError(f"{len(captions)} captions for {len(image_BCHW)} images")
    table = draw_reconstructions(image_BCHW, mask_BHW, scales, patch_nums, side=_SIDE)
    picture = Image.new("RGB", (CAPTION + table.shape[1], table.shape[0]), "white")
    picture.paste(Image.fromarray(table), (CAPTION, 0))
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(12)
    for row, caption in enumerate(captions):
        middle = HEADING + row * (_SIDE + GAP) + _SIDE / 2
        draw.multiline_text((4, middle), caption, fill="black", font=font, anchor="lm", spacing=5)
    return np.asarray(picture)


def pick_evenly(values_N: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """Indices at even ranks from the lowest value to the highest; values that are not finite come last.

    Args:
        values_N: What to rank images by, such as PSNR inside the lesion.
        count: How many; all where there are fewer.
    """
    order = np.argsort(np.where(np.isfinite(values_N), values_N, np.inf), kind="stable")
    ranks = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(np.int64)
    return np.asarray(order[ranks], dtype=np.int64)


def draw_preservation(table: pd.DataFrame) -> Figure:
    """One dot per measurement: rank correlation above, error below, sorted within each group.

    Args:
        table: As `lfvar.metrics.preservation.preservation_table` makes it. What follows from the mask is left out;
            so is what has no correlation, whose number the axis states.
    """
    rows = table[~table["follows_from_mask"]]
    with styled():
        figure = make_figure(3.6)
        upper, lower = figure.subplots(2, 1, sharex=True)
        start, ticks, names = 0, [], []
        for group, colour in GROUP_COLOURS.items():
            part = rows[(rows["group"] == group) & rows["spearman"].notna()].sort_values("spearman", ascending=False)
            if part.empty:
                continue
            x = np.arange(start, start + len(part))
            for axes, column in ((upper, "spearman"), (lower, "error")):
                axes.scatter(x, part[column], s=9, color=colour, linewidths=0)
            ticks.append(start + (len(part) - 1) / 2)
            names.append(f"{group} ({len(part)})\nmedian {part['spearman'].median():.2f}")
            start += len(part) + 2
        upper.axhline(GOOD, color="#999999", linewidth=0.6, linestyle="--")
        upper.set_ylim(min(0.0, float(rows["spearman"].min()) if rows["spearman"].notna().any() else 0.0), 1.02)
        upper.set_ylabel("Spearman")
        lower.set_ylim(bottom=0)
        lower.set_ylabel("median error, sd")
        lower.set_xticks(ticks, names)
        undefined = int(rows["spearman"].isna().sum())
        if undefined:
            lower.set_xlabel(f"{undefined} measurements have no rank correlation (constant, or in too few images)")
        for axes in (upper, lower):
            light_grid(axes)
    return figure
