"""Multi-scale residual quantisation: features f → token maps R_1…R_K → f̂ (VAR, arXiv 2404.02905, algorithms 1 and 2).

For each scale k: resize the residual to p_k × p_k, replace each vector by its nearest code, resize back, convolve with
φ_k, subtract. f̂ is the sum of what was subtracted. Encoding and decoding share one step, `_contribution`, so they
cannot drift apart. Needs no process group, and runs in full float32 whatever surrounds it (`float32_exact`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lfvar.nn.precision import float32_exact
from lfvar.nn.resize import area_resize, bicubic_resize
from lfvar.scales import ScaleSchedule

Normalise = Literal["none", "z", "l2"]


@dataclass
class Quantised:
    """Everything one pass of the quantiser knows; lists run over scales, coarse to fine."""

    f_hat_BChw: Tensor
    """Σ of all scales, with gradient to codebook and φ. The decoder's input is `straight_through`."""
    ids: list[Tensor]
    """Token ids, int64 (B, p_k²) each, row by row."""
    partials: list[Tensor]
    """f̂ after scale k, BChw, with gradient to codebook and φ."""
    residuals: list[Tensor]
    """R_k: what scale k was asked to express, (B, C, p_k, p_k), with gradient to f only."""
    codes: list[Tensor]
    """R̂_k: the codes it chose times the scale's gain, (B, C, p_k, p_k), with gradient to the codebook only."""
    kept_KB: Tensor | None = None
    """bool, False where quantiser dropout left scale k of an image out; None: every scale of every image counts."""

    def straight_through(self, f_BChw: Tensor) -> Tensor:
        """f̂ in value, f in gradient: lets the decoder's gradient reach the encoder past the search."""
        return f_BChw + (self.f_hat_BChw - f_BChw).detach()


class MultiScaleQuantiser(nn.Module):
    """A codebook, a few residual convolutions φ shared between scales, and the loop over scales.

    What scale k looks up is gain_k · code. Residuals shrink from scale to scale, so with one codebook and no gains each
    scale finds only a part of the codes at its own length. A gain per scale, the size of what that scale is asked to
    express relative to the finest, lets every scale use them all. `init_codebook` sets it, and training keeps it up to
    date (`CodeKeeper`); learned by gradient, gains of neighbouring scales end up alike and the finer keeps most codes.

    Args:
        schedule: Side lengths of the token maps.
        vocab_size: V, number of codes.
        latent_channels: C, channels of the features.
        num_phi: Number of φ convolutions; scale k uses the one nearest to its place in the schedule.
        phi_ratio: Weight of the convolution in φ(x) = (1 - ratio) x + ratio conv(x). 0: no φ.
        scale_gains: Keep a gain per scale; without (the published layout) all gains are 1.
        normalise: Codes as stored ("none"), standardised over their channels ("z", XQ-GAN), or of length 1 ("l2",
            ViT-VQGAN). Among codes of one length the nearest is the one of the greatest cosine similarity.
        code_channels: d, channels of the stored codes, which a learned d → C matrix takes to the features. d < C:
            low-dimensional codes; d = C: an update moves all codes together (SimVQ, arXiv 2411.02038). None: no matrix.
    """

    def __init__(
        self,
        schedule: ScaleSchedule,
        vocab_size: int,
        latent_channels: int,
        *,
        num_phi: int = 4,
        phi_ratio: float = 0.5,
        scale_gains: bool = False,
        normalise: Normalise = "none",
        code_channels: int | None = None,
    ) -> None:
        super().__init__()
        self.schedule = schedule
        self.vocab_size = vocab_size
        self.latent_channels = latent_channels
        self.phi_ratio = phi_ratio
        self.normalise = normalise
        self.codebook = nn.Embedding(vocab_size, code_channels or latent_channels)
        bound = latent_channels**-0.5 / 36  # recipe of VAR's authors (vaex)
        nn.init.uniform_(self.codebook.weight, -bound, bound)
        self.gain_K = nn.Parameter(torch.ones(len(schedule)), requires_grad=False) if scale_gains else None
        self.expand = None
        if code_channels is not None:
            self.expand = nn.Linear(code_channels, latent_channels, bias=False)
            nn.init.orthogonal_(self.expand.weight)
        self.phi = nn.ModuleList(nn.Conv2d(latent_channels, latent_channels, 3, padding=1) for _ in range(num_phi))
        self.phi_of_scale = nearest_phi(len(schedule), num_phi)
        # Few scales leave some φ unused (they stay for the published layout), and DDP waits for every trainable weight.
        used = set(self.phi_of_scale) if phi_ratio > 0 else set()
        for index, conv in enumerate(self.phi):
            conv.requires_grad_(index in used)

    def forward(self, f_BChw: Tensor, depth_B: Tensor | None = None) -> Quantised:
        """Quantise features, keeping the gradients that training needs.

        Args:
            f_BChw: Encoder features at the latent size, any floating-point type; converted to float32.
            depth_B: How many scales count for each image (quantiser dropout); None: all.

        Raises:
            ValueError: When the features are not at the schedule's latent size.
        """
        self._check_size(f_BChw)
        with float32_exact(f_BChw.device):
            f_BChw = f_BChw.float()
            f_hat_BChw = torch.zeros_like(f_BChw)
            result = Quantised(f_hat_BChw, [], [], [], [])
            codes_VC = self.codes()
            if depth_B is not None:
                result.kept_KB = torch.arange(len(self.schedule), device=f_BChw.device)[:, None] < depth_B
            for k, side in enumerate(self.schedule.patch_nums):
                # What is still missing, measured from a fixed f̂: the search must not pull on earlier scales.
                residual_BCkk = area_resize(f_BChw - f_hat_BChw.detach(), side)
                ids_Bl = self.nearest(residual_BCkk.detach(), k)
                codes_BCkk = self._lookup(k, ids_Bl, codes_VC)
                added_BChw = self._contribution(k, codes_BCkk)
                if result.kept_KB is not None:
                    added_BChw = added_BChw * result.kept_KB[k, :, None, None, None]
                f_hat_BChw = f_hat_BChw + added_BChw
                result.ids.append(ids_Bl)
                result.partials.append(f_hat_BChw)
                result.residuals.append(residual_BCkk)
                result.codes.append(codes_BCkk)
            result.f_hat_BChw = f_hat_BChw
        return result

    def codes(self) -> Tensor:
        """The codebook as the features see it, float32 (V, C), with gradient; a scale looks up its gain times this."""
        codes_VC = self.codebook.weight.float()
        if self.normalise == "z":
            codes_VC = F.layer_norm(codes_VC, codes_VC.shape[1:])
        elif self.normalise == "l2":
            codes_VC = F.normalize(codes_VC, dim=1)
        return codes_VC if self.expand is None else F.linear(codes_VC, self.expand.weight.float())

    def gain(self, k: int) -> Tensor | float:
        """What scale k multiplies codes by."""
        return 1.0 if self.gain_K is None else self.gain_K[k].float()

    @torch.no_grad()
    def nearest(self, residual_BCkk: Tensor, k: int) -> Tensor:
        """Index of the code that, times the gain of scale k, is nearest in Euclidean distance, for every position.

        Args:
            residual_BCkk: Residual at scale k.
            k: Scale.

        Returns:
            int64 (B, p_k²), row by row.
        """
        with float32_exact(residual_BCkk.device):
            z_BlC = residual_BCkk.float().flatten(2).transpose(1, 2) / self.gain(k)
            return nearest_codes(z_BlC.flatten(0, 1), self.codes()).view(z_BlC.shape[:2])

    @torch.no_grad()
    def contribution_of_ids(self, k: int, ids_Bl: Tensor) -> Tensor:
        """What scale k adds to f̂: float32 BChw from its token ids (B, p_k²)."""
        with float32_exact(ids_Bl.device):
            return self._contribution(k, self._lookup(k, ids_Bl, self.codes()))

    @torch.no_grad()
    def decode_partials(self, ids: Sequence[Tensor]) -> list[Tensor]:
        """f̂ after each scale from token ids alone.

        Args:
            ids: Token ids (B, p_k²) of the first scales of the schedule, coarse to fine; all K for the whole f̂.

        Returns:
            As many BChw tensors as scales were given; the last is f̂.

        Raises:
            ValueError: When there are more maps than scales or a map has the wrong length.
        """
        lengths = [scale_ids.shape[1] for scale_ids in ids]
        if not ids or lengths != list(self.schedule.lengths[: len(ids)]):
            raise ValueError(f"token maps of {lengths} tokens do not fit the schedule {self.schedule.patch_nums}")
        partials = [self.contribution_of_ids(0, ids[0])]
        for k, ids_Bl in enumerate(ids[1:], start=1):
            partials.append(partials[-1] + self.contribution_of_ids(k, ids_Bl))
        return partials

    @torch.no_grad()
    def init_codebook(self, f_BChw: Tensor, generator: torch.Generator | None = None) -> None:
        """Set codes and gains to what these features really produce, scale by scale.

        A codebook that starts far from the features leaves most codes unused for ever. Each scale, coarse to fine, gets
        codes in proportion to its share of tokens (at least one), drawn from its own residuals after the scales before
        it have been subtracted with the codes they got. Gains need residuals of all scales, so with gains there are
        two rounds: the first with gains of 1.

        Args:
            f_BChw: Encoder features of many images. Fewer residual vectors than codes are drawn with replacement and
                jittered by 1 % of their spread.
            generator: Decides the draw; on the device of the features.
        """
        self._check_size(f_BChw)
        with float32_exact(f_BChw.device):
            f_BChw = f_BChw.float()
            if self.expand is not None:
                self._span(f_BChw)
            power_K = self._fill(f_BChw, generator)
            if self.gain_K is not None:
                self.gain_K.copy_(relative_gains(power_K))
                self._fill(f_BChw, generator)

    def _fill(self, f_BChw: Tensor, generator: torch.Generator | None) -> Tensor:
        """One round of `init_codebook`; returns the mean square of each scale's residuals."""
        f_hat_BChw = torch.zeros_like(f_BChw)
        filled = 0
        powers = []
        for k, side in enumerate(self.schedule.patch_nums):
            residual_BCkk = area_resize(f_BChw - f_hat_BChw, side)
            powers.append(residual_BCkk.square().mean())
            pool_NC = residual_BCkk.permute(0, 2, 3, 1).flatten(0, 2) / self.gain(k)
            until = self.vocab_size * self.schedule.slices[k].stop // self.schedule.num_tokens
            wanted = max(until - filled, 1) if filled < self.vocab_size else 0
            rows_V = torch.arange(filled, filled + wanted, device=f_BChw.device)
            self.set_codes(rows_V, draw_vectors(pool_NC, wanted, generator))
            filled += wanted
            # Search among the codes set so far only; the rest still hold their random start.
            codes_VC = self.codes()
            ids_N = nearest_codes(pool_NC, codes_VC[:filled])
            codes_BCkk = self._lookup(k, ids_N.view(f_BChw.shape[0], -1), codes_VC)
            f_hat_BChw = f_hat_BChw + self._contribution(k, codes_BCkk)
        return torch.stack(powers)

    @torch.no_grad()
    def set_codes(self, rows_N: Tensor, vectors_NC: Tensor) -> None:
        """Store codes that look like these vectors (residuals divided by their scale's gain).

        With a d → C matrix the stored code is the least-squares solution; normalised codes keep the direction only.
        """
        if self.expand is not None:
            vectors_NC = vectors_NC @ torch.linalg.pinv(self.expand.weight.float()).T
        self.codebook.weight[rows_N] = vectors_NC.to(self.codebook.weight.dtype)

    def _span(self, f_BChw: Tensor) -> None:
        """Let the d → C matrix span the directions in which features vary most."""
        assert self.expand is not None
        pool_NC = f_BChw.permute(0, 2, 3, 1).flatten(0, 2)
        directions_CC = torch.linalg.eigh(pool_NC.double().T @ pool_NC.double()).eigenvectors.flip(1)
        wanted = min(self.expand.in_features, directions_CC.shape[1])
        self.expand.weight[:, :wanted] = directions_CC[:, :wanted].float()

    def _lookup(self, k: int, ids_Bl: Tensor, codes_VC: Tensor) -> Tensor:
        side = self.schedule.patch_nums[k]
        return F.embedding(ids_Bl, codes_VC).transpose(1, 2).unflatten(2, (side, side)) * self.gain(k)

    def _contribution(self, k: int, codes_BCkk: Tensor) -> Tensor:
        """What scale k adds to f̂: its codes resized to the latent size, then φ_k."""
        size = self.schedule.latent_size
        up_BChw = bicubic_resize(codes_BCkk, size)
        if self.phi_ratio == 0:
            return up_BChw
        return up_BChw * (1 - self.phi_ratio) + self.phi[self.phi_of_scale[k]](up_BChw) * self.phi_ratio

    def _check_size(self, f_BChw: Tensor) -> None:
        size = self.schedule.latent_size
        if f_BChw.shape[-2:] != (size, size):
            raise ValueError(
                f"features of {tuple(f_BChw.shape[-2:])} positions do not fit the schedule {self.schedule.patch_nums}, "
                f"whose finest map is {size}×{size}"
            )


def relative_gains(power_K: Tensor) -> Tensor:
    """Gain of each scale from the mean squares of its residuals: 1 for the finest, so that codes keep its units."""
    power_K = power_K.clamp_min(1e-12)
    return (power_K / power_K[-1]).sqrt()


def nearest_codes(z_NC: Tensor, codes_VC: Tensor, chunk: int = 32768) -> Tensor:
    """Index of the nearest code in Euclidean distance for each vector, in pieces that fit any memory.

    ‖z - e‖² is compared without ‖z‖², which is the same for every code.
    """
    square_V = codes_VC.square().sum(1)
    pieces = [(square_V - 2 * (piece_NC @ codes_VC.T)).argmin(dim=-1) for piece_NC in z_NC.split(chunk)]
    return torch.cat(pieces)


def nearest_phi(num_scales: int, num_phi: int) -> tuple[int, ...]:
    """Which φ each scale uses: the one whose place in [0, 1] is nearest to k / (K-1).

    The places are spread evenly over [s, 1-s] with s = 1/(3·num_phi) for four φ and 1/(2·num_phi) otherwise, as in
    the published tokenizer.
    """
    if num_phi == 1:
        return (0,) * num_scales
    # Two scales of the published ten lie half-way between two φ: float64 rounding decides, so keep this arithmetic.
    margin = 1 / 3 / num_phi if num_phi == 4 else 1 / 2 / num_phi
    places = np.linspace(margin, 1 - margin, num_phi)
    return tuple(int(np.argmin(np.abs(places - k / max(num_scales - 1, 1)))) for k in range(num_scales))


def draw_vectors(pool_NC: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """`count` vectors out of a pool: without replacement while it lasts, then again with a slight jitter."""
    num = pool_NC.shape[0]
    order = torch.randperm(num, generator=generator, device=pool_NC.device)
    if count <= num:
        return pool_NC[order[:count]]
    again = torch.randint(num, (count - num,), generator=generator, device=pool_NC.device)
    noise = torch.randn((count - num, pool_NC.shape[1]), generator=generator, device=pool_NC.device)
    spread = pool_NC.std(dim=0, unbiased=False).clamp_min(1e-6)
    return torch.cat([pool_NC[order], pool_NC[again] + 0.01 * spread * noise])
