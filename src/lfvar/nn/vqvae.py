"""The tokenizer: encoder, multi-scale quantiser, decoder.

>>> tokenizer = VQVAE(VQVAEConfig(channels=32, channel_multipliers=(1, 2), patch_nums=(1, 2, 4), vocab_size=64))
>>> ids = tokenizer.encode_ids(torch.zeros(1, 3, 8, 8))
>>> [tuple(scale_ids.shape) for scale_ids in ids]
[(1, 1), (1, 4), (1, 16)]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor, nn

from lfvar.nn.autoencoder import Decoder, Encoder
from lfvar.nn.precision import float32_exact
from lfvar.nn.quantiser import MultiScaleQuantiser, Normalise, Quantised
from lfvar.scales import ScaleSchedule


@dataclass(frozen=True)
class VQVAEConfig:
    """Sizes of a tokenizer. The defaults are the published 256-px model (108.9 M parameters)."""

    channels: int = 160
    """Width of the finest level."""
    channel_multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    """Relative width per level, fine to coarse; each level but the first halves the resolution."""
    num_res_blocks: int = 2
    """Residual blocks per level of the encoder; the decoder has one more."""
    latent_channels: int = 32
    """C, length of a code."""
    vocab_size: int = 4096
    """V, number of codes."""
    patch_nums: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
    """Side lengths of the token maps, coarse to fine; the last times `stride` is the image size."""
    stem_stride: int = 1
    """Fold s×s pixels into channels before the first convolution; 1 is the published layout."""
    attention: bool = True
    """Self-attention at the coarsest level and in the middle."""
    num_phi: int = 4
    """Residual convolutions φ shared between the scales."""
    phi_ratio: float = 0.5
    """Weight of the convolution in φ."""
    dropout: float = 0.0
    """Inside residual blocks."""
    scale_gains: bool = False
    """Multiply codes by the running size of each scale's residuals; False is the published layout."""
    normalise: Normalise = "none"
    """Codes as stored, standardised over channels ("z"), or of length 1 ("l2")."""
    code_channels: int | None = None
    """Channels of the stored codes, taken to `latent_channels` by a learned matrix; None: no matrix."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "channel_multipliers", tuple(self.channel_multipliers))
        object.__setattr__(self, "patch_nums", ScaleSchedule(tuple(self.patch_nums)).patch_nums)
        for name in ("channels", "num_res_blocks", "latent_channels", "vocab_size", "stem_stride", "num_phi"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.channel_multipliers or min(self.channel_multipliers) < 1:
            raise ValueError(f"channel_multipliers needs positive factors, got {self.channel_multipliers}")
        if not 0 <= self.phi_ratio <= 1:
            raise ValueError(f"phi_ratio is a weight in [0, 1], got {self.phi_ratio}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is a probability in [0, 1), got {self.dropout}")
        if self.normalise not in get_args(Normalise):
            raise ValueError(f"normalise is one of {', '.join(get_args(Normalise))}, got {self.normalise!r}")
        if self.normalise != "none" and not self.scale_gains:
            raise ValueError(
                f"normalise={self.normalise!r} gives all codes one length, which residuals of different scales do not "
                "have: set scale_gains=true with it"
            )
        if self.code_channels is not None and not 1 <= self.code_channels <= self.latent_channels:
            raise ValueError(
                f"code_channels must be between 1 and latent_channels={self.latent_channels}, got {self.code_channels}"
            )

    @property
    def stride(self) -> int:
        """Pixels per latent position."""
        return int(self.stem_stride * 2 ** (len(self.channel_multipliers) - 1))

    @property
    def image_size(self) -> int:
        """Side of the square images it takes, in pixels."""
        return self.patch_nums[-1] * self.stride


class VQVAE(nn.Module):
    """Turns square images into K token maps and back. Images are BCHW, RGB, in [-1, 1]."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.schedule = ScaleSchedule(config.patch_nums)
        sizes: dict[str, Any] = {
            "channels": config.channels,
            "channel_multipliers": config.channel_multipliers,
            "num_res_blocks": config.num_res_blocks,
            "latent_channels": config.latent_channels,
            "stem_stride": config.stem_stride,
            "attention": config.attention,
            "dropout": config.dropout,
        }
        self.encoder = Encoder(**sizes)
        self.to_latent = nn.Conv2d(config.latent_channels, config.latent_channels, 3, padding=1)
        self.quantiser = MultiScaleQuantiser(
            self.schedule,
            config.vocab_size,
            config.latent_channels,
            num_phi=config.num_phi,
            phi_ratio=config.phi_ratio,
            scale_gains=config.scale_gains,
            normalise=config.normalise,
            code_channels=config.code_channels,
        )
        self.from_latent = nn.Conv2d(config.latent_channels, config.latent_channels, 3, padding=1)
        self.decoder = Decoder(**sizes)

    def forward(self, image_BCHW: Tensor, depth_B: Tensor | None = None) -> tuple[Tensor, Tensor, Quantised]:
        """One training pass.

        Args:
            image_BCHW: In [-1, 1], at `config.image_size`.
            depth_B: How many scales count for each image (quantiser dropout); None: all.

        Returns:
            The reconstruction (not clamped), the features f it was made from, and the quantiser's trace.
        """
        f_BChw = self.encode(image_BCHW)
        quantised = self.quantiser(f_BChw, depth_B)
        recon_BCHW = self.decode(quantised.straight_through(f_BChw))
        return recon_BCHW, f_BChw, quantised

    def encode(self, image_BCHW: Tensor) -> Tensor:
        """Image to features f, before quantisation."""
        size = self.config.image_size
        if image_BCHW.shape[-2:] != (size, size):
            raise ValueError(
                f"this tokenizer takes {size}×{size} images (finest map {self.schedule.latent_size} × stride "
                f"{self.config.stride}), got {tuple(image_BCHW.shape[-2:])}"
            )
        return self.to_latent(self.encoder(image_BCHW))

    def decode(self, latent_BChw: Tensor) -> Tensor:
        """Features or f̂ to an image, not clamped."""
        return self.decoder(self.from_latent(latent_BChw))

    @torch.no_grad()
    def encode_ids(self, image_BCHW: Tensor) -> list[Tensor]:
        """Images to token ids, in float32 from end to end whatever precision surrounds the call.

        Returns:
            K int64 tensors (B, p_k²), coarse to fine.
        """
        with float32_exact(image_BCHW.device):
            return list(self.quantiser(self.encode(image_BCHW.float())).ids)

    @torch.no_grad()
    def decode_ids(self, ids: Sequence[Tensor]) -> Tensor:
        """Token ids of all K scales, or of the first few, to images in [-1, 1]."""
        return self.decode(self.quantiser.decode_partials(ids)[-1]).clamp(-1, 1)

    @torch.no_grad()
    def reconstruct_scales(self, image_BCHW: Tensor) -> list[Tensor]:
        """What the image looks like after 1, 2, … K scales, each in [-1, 1]."""
        partials = self.quantiser.decode_partials(self.encode_ids(image_BCHW))
        return [self.decode(f_hat_BChw).clamp(-1, 1) for f_hat_BChw in partials]
