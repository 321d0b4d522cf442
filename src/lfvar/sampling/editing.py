"""From a source, a mask and a condition to an image: keep the skin's tokens, sample the lesion's, composite.

`edit_batch` is a function over a tokenizer and a transformer. What conditions mean is `lfvar.sampling.asking`'s
business, files are `lfvar.synthesizer`'s.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lfvar.data.dataset import to_model_range
from lfvar.nn.conditioning import Condition
from lfvar.nn.precision import float32_exact
from lfvar.nn.var import VAR
from lfvar.nn.vqvae import VQVAE
from lfvar.sampling.composite import composite, match_skin
from lfvar.sampling.filling import SKIN_MARGIN, widen, without_lesion
from lfvar.sampling.filters import Filters
from lfvar.sampling.guidance import Guidance
from lfvar.sampling.masking import Kept, keep_as_published, keep_outside
from lfvar.sampling.sampler import sample
from lfvar.sampling.skin import cover_with_skin


@dataclass(frozen=True)
class EditConfig:
    """What is done so that an edit changes the lesion and nothing else. Each measure can be switched off."""

    ring: int = 1
    """Tokens around the mask that are painted too, at each scale: those at the border encode the old lesion."""
    num_kept_scales: int = 0
    """How many of the coarsest scales stay the source's own as a whole. 0: everything may change. With `fill` they are
    those of bare skin: 1 holds its tone, more leave the lesion to the finer scales. Without, they keep the structure of
    the old lesion."""
    fill: bool = True
    """Encode the source with skin in the place of its lesion, so that kept tokens know nothing of it."""
    fill_margin: float = SKIN_MARGIN
    """By how much that skin reaches beyond the mask, as a share of the image's side."""
    tell_skin: bool = True
    """Tell a net that looks at it (`skin_aware`) the skin around the mask, at every scale; else it learns of it from
    kept tokens alone, and the coarse scales keep none."""
    requantise: bool = True
    """Choose kept tokens again at each scale, as the ones nearest to what the sum so far lacks of the source."""
    composite: bool = True
    """Put the painted pixels into the source: outside the mask, its bytes. Off: all pixels are the decoder's."""
    cover: bool = True
    """Continue the skin around the old lesion over it, texture included, and paint on that, inside the new mask alone:
    outlines show, and no rim of the old lesion does. Off: what the decoder paints where the new lesion leaves the old
    one bare (`Job.erase_HW`), and the old lesion below the feather."""
    overpaint: float = 0.03
    """By how much the mask that the net is told is larger than the one that is painted, as a share of the image's side:
    lesions then reach the outline that was asked for, rather than fading out before it."""
    feather: float = 0.03
    """Width of the transition inside the mask, as a share of the image's side; 0: a hard edge."""
    match_skin: bool = False
    """Move the colours inside the mask by as much as the painted skin around it differs from the source's: keeps the
    lesion's contrast with the skin, at the cost of its colour in itself. Before compositing, `raw_HWC` included."""
    published_masks: bool = False
    """LF-VAR's rule instead of ring and number of kept scales: a point-sampled mask, the 1×1 map kept as it is. All of
    its editing is that with `fill`, `requantise`, `cover` and `overpaint` off."""

    def __post_init__(self) -> None:
        for name in ("ring", "num_kept_scales"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("fill_margin", "overpaint", "feather"):
            if not 0 <= getattr(self, name) <= 0.5:
                raise ValueError(f"{name} is a share of the image's side in [0, 0.5], got {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class Job:
    """One sample to make."""

    seed: int
    label: str | None = None
    """Lesion type; None: any."""
    measurements: Mapping[str, float] = field(default_factory=dict)
    """What is asked, in natural units. Features that are not named are left free, up to those of the mask."""
    image_HWC: NDArray[np.uint8] | None = None
    """Source at the model's size; None: a whole new image."""
    mask_HW: NDArray[np.bool_] | None = None
    """True = lesion: what to paint in a source, or where the lesion shall lie in a new image (None: anywhere)."""
    erase_HW: NDArray[np.bool_] | None = None
    """Painted as well, but not as lesion: the old lesion of a source, where the new one leaves it bare."""

    @property
    def painted(self) -> NDArray[np.bool_] | None:
        """Every pixel that may change."""
        if self.mask_HW is None or self.erase_HW is None:
            return self.mask_HW
        return self.mask_HW | self.erase_HW

    def overpainted(self, share: float) -> Job:
        """The job with a mask that is larger by a share of the image's side; a whole new image as it is."""
        if self.image_HWC is None or self.mask_HW is None or share == 0:
            return self
        mask_11HW = torch.from_numpy(np.ascontiguousarray(self.mask_HW))[None, None].float()
        return replace(self, mask_HW=widen(mask_11HW, round(share * mask_11HW.shape[-1]))[0, 0].numpy() > 0)

    @property
    def has_skin(self) -> bool:
        """Whether the job has a source, and something of it stays."""
        painted_HW = self.painted
        return self.image_HWC is not None and painted_HW is not None and not bool(painted_HW.all())


@dataclass(frozen=True, eq=False)
class Result:
    """What came of a job."""

    image_HWC: NDArray[np.uint8]
    """The image. Outside what was painted, byte by byte the source."""
    raw_HWC: NDArray[np.uint8]
    """What the decoder made, before compositing: how well the skin is kept by tokens alone."""
    mask_HW: NDArray[np.bool_] | None
    """Of the lesion, as in the job."""
    ids_L: NDArray[np.int64]
    """Token ids of all scales, coarse to fine."""


@dataclass(frozen=True)
class Encoded:
    """A source as the sampler takes it."""

    kept: Kept
    """What must not change."""
    skin_1Chw: Tensor
    """f̂ of the source without what is painted over; zero for a whole new image."""


class Sources:
    """Sources as tokens. The latest are remembered: many samples of one source encode it once.

    Each is encoded by itself, so that its ids do not depend on what is encoded beside it.

    Args:
        tokenizer: In evaluation mode.
        config: What is kept, and how.
        capacity: How many are remembered.
    """

    def __init__(self, tokenizer: VQVAE, config: EditConfig, capacity: int = 64) -> None:
        self.tokenizer = tokenizer
        self.config = config
        self.capacity = capacity
        self.device = tokenizer.quantiser.codebook.weight.device
        self.num_encoded = 0
        self._known: OrderedDict[bytes, Encoded] = OrderedDict()

    def encoded(self, job: Job) -> Encoded:
        """A job's source, one row; nothing for a whole new image."""
        painted_HW = job.painted
        if job.image_HWC is None or painted_HW is None:
            return self._nothing()
        digest = hashlib.sha256(job.image_HWC.tobytes())
        digest.update(painted_HW.tobytes())
        key = digest.digest()
        if key not in self._known:
            self._known[key] = self._encode(job.image_HWC, painted_HW)
            self.num_encoded += 1
            if len(self._known) > self.capacity:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]

    @torch.no_grad()
    def _encode(self, image_HWC: NDArray[np.uint8], painted_HW: NDArray[np.bool_]) -> Encoded:
        config, tokenizer = self.config, self.tokenizer
        image_1CHW = to_model_range(image_HWC)[None].to(self.device)
        mask_11HW = torch.from_numpy(np.ascontiguousarray(painted_HW))[None, None].float().to(self.device)
        bare_1CHW = without_lesion(image_1CHW, mask_11HW, config.fill_margin)
        if config.published_masks:
            keep = keep_as_published(mask_11HW, tokenizer.schedule)
        else:
            keep = keep_outside(mask_11HW, tokenizer.schedule, ring=config.ring, num_kept_scales=config.num_kept_scales)
        with float32_exact(self.device):
            features_1Chw = tokenizer.encode(bare_1CHW if config.fill else image_1CHW)
            ids = list(tokenizer.quantiser(features_1Chw).ids)
            bare_ids = ids if config.fill else tokenizer.encode_ids(bare_1CHW)
            skin_1Chw = tokenizer.quantiser.decode_partials(bare_ids)[-1]
        return Encoded(Kept(ids, keep, features_1Chw if config.requantise else None), skin_1Chw)

    def _nothing(self) -> Encoded:
        schedule, channels = self.tokenizer.schedule, self.tokenizer.config.latent_channels
        ids = [torch.zeros(1, length, dtype=torch.int64, device=self.device) for length in schedule.lengths]
        keep = [torch.zeros_like(ids_1l, dtype=torch.bool) for ids_1l in ids]
        size = schedule.latent_size
        zeros_1Chw = torch.zeros(1, channels, size, size, device=self.device)
        return Encoded(Kept(ids, keep, zeros_1Chw if self.config.requantise else None), zeros_1Chw)


@torch.no_grad()
def edit_batch(
    net: VAR,
    sources: Sources,
    jobs: Sequence[Job],
    condition: Condition,
    *,
    guidance: Guidance,
    filters: Filters,
    bf16: bool = False,
    watch: Callable[[int], None] | None = None,
) -> list[Result]:
    """Make one sample per job, in their order.

    In float32, ids do not depend on what else is in the batch (see `sample`), and neither does an image of given ids:
    images are decoded one at a time, because convolutions over another number of images round differently.

    Args:
        net: In evaluation mode.
        sources: Of the tokenizer that belongs to the net, on its device.
        jobs: One per row of the condition; sources and masks at the tokenizer's image size.
        condition: What each is asked for; regions included where the net looks at them.
        guidance: Strengths.
        filters: Temperature, top-k, top-p.
        bf16: Compute in bfloat16 and decode the batch as a whole: faster, and no longer the same whatever the batch.
            What turns features into ids and back stays in float32.
        watch: As in `sample`.
    """
    device = sources.device
    kept = None
    if any(job.image_HWC is not None for job in jobs):
        encoded = [sources.encoded(job) for job in jobs]
        kept = Kept.cat([source.kept for source in encoded])
        if net.config.skin_aware and sources.config.tell_skin:
            condition = replace(
                condition.to(device),
                skin_BChw=torch.cat([source.skin_1Chw for source in encoded]),
                told_skin_B=torch.tensor([job.has_skin for job in jobs], device=device),
            )
    seeds = [job.seed for job in jobs]
    with torch.autocast(device.type, dtype=torch.bfloat16) if bf16 else float32_exact(device):
        ids = sample(
            net,
            sources.tokenizer.quantiser,
            condition.to(device),
            guidance=guidance,
            filters=filters,
            seeds=seeds,
            keep=kept,
            watch=watch,
        )
        raw_BHWC = _decode(sources.tokenizer, ids, whole=bf16)
    ids_BL = torch.cat(ids, dim=1).cpu().numpy()
    return [
        _finish(job, raw_HWC, ids_L, sources.config) for job, raw_HWC, ids_L in zip(jobs, raw_BHWC, ids_BL, strict=True)
    ]


def _decode(tokenizer: VQVAE, ids: Sequence[Tensor], *, whole: bool) -> NDArray[np.uint8]:
    """Token ids to images of bytes, (B, H, W, C)."""
    count = ids[0].shape[0]
    parts = [slice(None)] if whole else [slice(row, row + 1) for row in range(count)]
    images_BCHW = torch.cat([tokenizer.decode_ids([ids_Bl[part] for ids_Bl in ids]).float() for part in parts])
    bytes_BCHW = images_BCHW.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(bytes_BCHW.permute(0, 2, 3, 1).cpu().numpy())


def _finish(job: Job, raw_HWC: NDArray[np.uint8], ids_L: NDArray[np.int64], config: EditConfig) -> Result:
    """What is done to pixels."""
    painted_HW = job.painted
    if job.image_HWC is None or painted_HW is None:
        return Result(raw_HWC, raw_HWC, job.mask_HW, ids_L)
    if config.match_skin:
        # The painted lesion may reach as far beyond its mask as an old one, and the decoder blurs: twice that margin.
        raw_HWC = match_skin(job.image_HWC, raw_HWC, painted_HW, round(2 * config.fill_margin * raw_HWC.shape[0]))
    if not config.composite:
        return Result(raw_HWC, raw_HWC, job.mask_HW, ids_L)
    source_HWC = job.image_HWC
    if config.cover and job.mask_HW is not None:
        source_HWC = cover_with_skin(source_HWC, painted_HW, margin=config.fill_margin)
        painted_HW = job.mask_HW
    return Result(composite(source_HWC, raw_HWC, painted_HW, config.feather), raw_HWC, job.mask_HW, ids_L)
