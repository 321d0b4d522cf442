"""What training knows of each code, and what it does about codes that nobody uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lfvar.nn.precision import float32_exact
from lfvar.nn.quantiser import MultiScaleQuantiser, Quantised, relative_gains

Reduce = Callable[[Tensor], Tensor]
"""Sums a tensor over all processes."""


class CodeKeeper(nn.Module):
    """Running statistics of codes, in units in which all scales agree: residuals divided by their scale's gain.

    Statistics are buffers, so that a resumed run restarts the same codes as one that was never killed, and every update
    is summed over processes first, so that all of them hold the same codes.

    Args:
        num_scales: K.
        vocab_size: V.
        code_channels: C, channels of a code.
        decay: Share of the old statistics kept per update.
        moving_average: Also keep what an EMA codebook needs (`follow`).
    """

    power_K: Tensor
    share_V: Tensor
    count_V: Tensor
    sum_VC: Tensor

    def __init__(
        self, num_scales: int, vocab_size: int, code_channels: int, *, decay: float = 0.99, moving_average: bool = False
    ) -> None:
        super().__init__()
        self.decay = decay
        self.moving_average = moving_average
        self.register_buffer("power_K", torch.zeros(num_scales))
        self.register_buffer("share_V", torch.full((vocab_size,), 1 / vocab_size))
        if moving_average:
            self.register_buffer("count_V", torch.zeros(vocab_size))
            self.register_buffer("sum_VC", torch.zeros(vocab_size, code_channels))

    @torch.no_grad()
    def observe(self, quantiser: MultiScaleQuantiser, quantised: Quantised, reduce: Reduce) -> None:
        """Take in one batch.

        Args:
            quantiser: The quantiser that made it; gives the gains.
            quantised: Its trace; scales that quantiser dropout left out do not count.
            reduce: Sums over processes; one call for everything.
        """
        ids_N, vectors_NC, weight_N = _flat(quantiser, quantised)
        counts_V = torch.zeros_like(self.share_V).index_add_(0, ids_N, weight_N)
        if self.moving_average:
            sums_VC = torch.zeros_like(self.sum_VC).index_add_(0, ids_N, vectors_NC * weight_N[:, None])
            both = reduce(torch.cat([counts_V[:, None], sums_VC], dim=1))
            counts_V = both[:, 0]
            self.count_V.lerp_(counts_V, 1 - self.decay)
            self.sum_VC.lerp_(both[:, 1:], 1 - self.decay)
        else:
            counts_V = reduce(counts_V)
        self.share_V.lerp_(counts_V / counts_V.sum().clamp_min(1), 1 - self.decay)

    @torch.no_grad()
    def update_gains(self, quantiser: MultiScaleQuantiser, quantised: Quantised, reduce: Reduce) -> None:
        """Keep each scale's gain at the running size of its residuals, relative to the finest scale's."""
        if quantiser.gain_K is None:
            return
        powers = []
        for k, residual_BCkk in enumerate(quantised.residuals):
            kept_B = _kept(quantised, k, residual_BCkk)
            powers.append(torch.stack([(residual_BCkk.square().mean(dim=(1, 2, 3)) * kept_B).sum(), kept_B.sum()]))
        total_K2 = reduce(torch.stack(powers))
        seen_K = total_K2[:, 1]
        now_K = torch.where(seen_K > 0, total_K2[:, 0] / seen_K.clamp_min(1), self.power_K)
        self.power_K.copy_(torch.where(self.power_K > 0, self.power_K.lerp(now_K, 1 - self.decay), now_K))
        quantiser.gain_K.copy_(relative_gains(self.power_K))

    @torch.no_grad()
    def follow(self, quantiser: MultiScaleQuantiser) -> None:
        """Set every code to the running mean of what it was chosen for (EMA codebook, VQ-VAE appendix A.1).

        A code that has not been chosen lately stays where it is.
        """
        codes_VC = quantiser.codebook.weight
        chosen_V1 = self.count_V[:, None] > 1e-3
        codes_VC.copy_(torch.where(chosen_V1, self.sum_VC / self.count_V[:, None].clamp_min(1e-3), codes_VC))

    @torch.no_grad()
    def restart(
        self,
        quantiser: MultiScaleQuantiser,
        quantised: Quantised,
        *,
        below: float,
        generator: torch.Generator,
        gather: Callable[[Tensor], Tensor],
        broadcast: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Move codes that are hardly used to where the codebook fits worst.

        Each gets a vector of the current batch, of all processes together, drawn with probability proportional to its
        squared error (the rule by which k-means++ spreads its centres).

        Args:
            quantiser: Its codebook is changed.
            quantised: This process's part of the current batch, of the same size everywhere.
            below: A code is dead when its running share of look-ups is under this part of an even share, 1 / V.
            generator: Decides the draw; on the device of the batch.
            gather: Gives a tensor (…) of every process, as (processes, …).
            broadcast: Gives every process the first one's vectors.

        Returns:
            int64: the rows that were restarted; the same on every process.
        """
        vocab_size = self.share_V.numel()
        dead_N = (self.share_V < below / vocab_size).nonzero()[:, 0]
        if not dead_N.numel():
            return dead_N
        with float32_exact(dead_N.device):
            ids_N, vectors_NC, weight_N = _flat(quantiser, quantised)
            error_N = (vectors_NC - quantiser.codes()[ids_N]).square().sum(1) * weight_N + 1e-12
            both_PNX = gather(torch.cat([vectors_NC, error_N[:, None]], dim=1))
            # As one process with the whole batch has them: scale by scale, and within each image by image.
            scales = both_PNX.split([ids_Bl.numel() for ids_Bl in quantised.ids], dim=1)
            both_NX = torch.cat([scale_PNX.flatten(0, 1) for scale_PNX in scales])
            vectors_NC, error_N = both_NX[:, :-1], both_NX[:, -1]
            again = error_N.numel() < dead_N.numel()
            picks_N = torch.multinomial(error_N, dead_N.numel(), replacement=again, generator=generator)
            quantiser.set_codes(dead_N, broadcast(vectors_NC[picks_N].contiguous()))
        self.share_V[dead_N] = 1 / vocab_size
        if self.moving_average:
            mean_count = self.count_V.mean()
            self.count_V[dead_N] = mean_count
            self.sum_VC[dead_N] = mean_count * quantiser.codebook.weight[dead_N]
        return dead_N

    @torch.no_grad()
    def start(self, quantiser: MultiScaleQuantiser) -> None:
        """Forget the codes that were replaced when the codebook started."""
        self.power_K.zero_()
        self.share_V.fill_(1 / self.share_V.numel())
        if self.moving_average:
            self.count_V.fill_(1.0)
            self.sum_VC.copy_(quantiser.codebook.weight)


def draw_depth(num_scales: int, first: int, probability: float, batch_size: int, device: torch.device) -> Tensor:
    """How many scales each image keeps in one training step (quantiser dropout).

    Args:
        num_scales: K.
        first: Fewest scales that are kept.
        probability: Of an image losing scales at all; then all numbers from `first` to K - 1 are equally likely.
        batch_size: B.
        device: Where the result lives; drawn from torch's own generator there.

    Returns:
        int64 (B,).
    """
    fewer_B = torch.randint(first, max(num_scales, first + 1), (batch_size,), device=device)
    loses_B = torch.rand(batch_size, device=device) < probability
    return torch.where(loses_B, fewer_B, num_scales)


def _flat(quantiser: MultiScaleQuantiser, quantised: Quantised) -> tuple[Tensor, Tensor, Tensor]:
    """Over all scales together: the codes chosen, the vectors they stand for, and whether they count (0 or 1)."""
    vectors: list[Tensor] = []
    weights: list[Tensor] = []
    for k, residual_BCkk in enumerate(quantised.residuals):
        vectors.append(residual_BCkk.detach().permute(0, 2, 3, 1).flatten(0, 2) / quantiser.gain(k))
        kept_B = _kept(quantised, k, residual_BCkk)
        weights.append(kept_B.repeat_interleave(residual_BCkk.shape[-1] ** 2))
    ids: Sequence[Tensor] = quantised.ids
    return torch.cat([ids_Bl.flatten() for ids_Bl in ids]), torch.cat(vectors), torch.cat(weights)


def _kept(quantised: Quantised, k: int, like_BCkk: Tensor) -> Tensor:
    if quantised.kept_KB is None:
        return torch.ones(like_BCkk.shape[0], device=like_BCkk.device)
    return quantised.kept_KB[k].float()
