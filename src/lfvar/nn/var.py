"""The next-scale transformer (VAR, arXiv 2404.02905): all tokens of scale k at once, given the scales before it.

>>> net = VAR(VARConfig(depth=2, width=32, num_heads=2, patch_nums=(1, 2, 4), vocab_size=64, latent_channels=4))
>>> inputs_BLC = torch.zeros(3, 20, 4)  # partial f̂ of the first two scales, resized to 2 × 2 and 4 × 4
>>> tuple(net(inputs_BLC, Condition(torch.zeros(3, dtype=torch.int64))).shape)
(3, 21, 64)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lfvar.nn.attention import ScaleAttention
from lfvar.nn.conditioning import MEASUREMENT_KINDS, Condition, Conditioning, MeasurementKind
from lfvar.nn.kv_cache import KVCache
from lfvar.nn.transformer_block import TransformerBlock, modulated_norm
from lfvar.scales import ScaleSchedule


@dataclass(frozen=True)
class VARConfig:
    """Sizes of a transformer. The defaults are the published depth-16 model at 256 px, for 7 lesion types."""

    depth: int = 16
    """Number of blocks."""
    width: int = 1024
    """D; the published models have 64 times their depth."""
    num_heads: int = 16
    """N, divides `width`."""
    mlp_ratio: float = 4.0
    """Width inside the feed-forward part, relative to `width`."""
    patch_nums: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
    """Side lengths of the token maps; those of the tokenizer."""
    vocab_size: int = 4096
    """V, codes of the tokenizer."""
    latent_channels: int = 32
    """C, length of the tokenizer's codes."""
    num_classes: int = 7
    """Lesion types; 0: not conditioned on them."""
    num_measurements: int = 0
    """M; 0: not conditioned on measurements."""
    measurement_kind: MeasurementKind = "periodic"
    """Embedding per measurement ("periodic", "piecewise"), or LF-VAR's linear encoder ("lfvar")."""
    measurement_width: int = 16
    """Width of the vector of one measurement; "lfvar" has none."""
    mask_aware: bool = False
    """Tell each token whether it lies inside the lesion mask."""
    skin_aware: bool = False
    """Tell each token the skin at its place, in samples that are painted into an image."""
    shared_adaln: bool = False
    """One projection of the condition for all blocks plus an offset per block, instead of one projection per block."""
    attn_l2_norm: bool = True
    """Queries and keys of length 1 with a learned factor per head."""
    num_unmasked_scales: int = 3
    """How many of the finest scales attend in calls of their own; 0: one dense masked call. Changes no value."""
    dropout: float = 0.0
    """Of the outputs of attention and feed-forward."""
    attention_dropout: float = 0.0
    """Of attention weights."""
    drop_path: float = 0.0
    """Share of samples that skip the last block; the share grows linearly from 0 at the first. VAR: depth / 240."""
    adaln_init: float = 0.5
    """Initial AdaLN scales and shifts, relative to an ordinary linear layer."""
    adaln_gain_init: float = 1e-3
    """Initial gains of the residual branches, likewise. VAR: 1e-5, LF-VAR: 1e-3."""
    head_init: float = 0.02
    """Initial weights of the layer that makes logits, likewise."""
    checkpointing: bool = False
    """Compute blocks again in the backward pass instead of keeping their activations."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "patch_nums", ScaleSchedule(tuple(self.patch_nums)).patch_nums)
        for name in ("depth", "width", "num_heads", "vocab_size", "latent_channels", "measurement_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("num_classes", "num_measurements", "num_unmasked_scales"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.width % self.num_heads:
            raise ValueError(f"num_heads must divide width, got {self.num_heads} for {self.width}")
        if self.mlp_ratio <= 0:
            raise ValueError(f"mlp_ratio must be positive, got {self.mlp_ratio}")
        if self.measurement_kind not in MEASUREMENT_KINDS:
            raise ValueError(
                f"measurement_kind is one of {', '.join(MEASUREMENT_KINDS)}, got {self.measurement_kind!r}"
            )
        for name in ("dropout", "attention_dropout", "drop_path"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is a probability in [0, 1), got {getattr(self, name)}")

    @property
    def hidden(self) -> int:
        """Width inside the feed-forward part."""
        return round(self.width * self.mlp_ratio)


@dataclass(frozen=True)
class Prepared:
    """A condition, projected once to everything the net needs of it at any scale."""

    vector_BD: Tensor
    """The condition as a vector, which is also the start token."""
    blocks: tuple[Tensor, ...]
    """Modulation of each block, (B, 1, 6, D)."""
    head_B12D: Tensor
    """Scale and shift of the norm before the head."""
    region_BL: Tensor | None
    """Region of each token; None in a net that does not look at it."""
    skin_BLD: Tensor | None
    """What each token is told of the skin; None likewise."""


class VAR(nn.Module):
    """Condition and coarser scales to logits over the codes of the next scale.

    One forward pass over a whole sequence in training; `prepare`, `new_cache` and one `step` per scale in sampling.
    Logits are float32 whatever the surrounding precision.
    """

    level_L: Tensor

    def __init__(self, config: VARConfig) -> None:
        super().__init__()
        self.config = config
        self.schedule = ScaleSchedule(config.patch_nums)
        width, first = config.width, self.schedule.lengths[0]
        self.conditioning = Conditioning(
            width,
            config.num_classes,
            config.num_measurements,
            kind=config.measurement_kind,
            feature_width=config.measurement_width,
            mask_aware=config.mask_aware,
            skin_channels=config.latent_channels if config.skin_aware else 0,
        )
        self.embed = nn.Linear(config.latent_channels, width)
        self.start_1lD = nn.Parameter(torch.zeros(1, first, width))
        self.position_1LD = nn.Parameter(torch.zeros(1, self.schedule.num_tokens, width))
        self.levels = nn.Embedding(len(self.schedule), width)
        levels = [k for k, length in enumerate(self.schedule.lengths) for _ in range(length)]
        self.register_buffer("level_L", torch.tensor(levels), persistent=False)
        self.blocks = nn.ModuleList(self._block(index) for index in range(config.depth))
        self.adaln: nn.Linear | None = None
        self.adalns: nn.ModuleList | None = None
        self.adaln_offsets: nn.ParameterList | None = None
        if config.shared_adaln:
            self.adaln = nn.Linear(width, 6 * width)
            self.adaln_offsets = nn.ParameterList(torch.zeros(1, 1, 6, width) for _ in range(config.depth))
        else:
            self.adalns = nn.ModuleList(nn.Linear(width, 6 * width) for _ in range(config.depth))
        self.head_adaln = nn.Linear(width, 2 * width)
        self.head = nn.Linear(width, config.vocab_size)
        self._initialise()

    def forward(self, inputs_BLC: Tensor, condition: Condition) -> Tensor:
        """Teacher-forced logits of all scales.

        Args:
            inputs_BLC: Inputs of scales 2 … K (`teacher_inputs`), without the tokens of the first scale.
            condition: One row per sample; `conditioning.usable` leaves out what this net has no input for.

        Returns:
            float32 (B, L, V).

        Raises:
            ValueError: When the inputs do not fit the schedule or the condition does not fit the net.
        """
        expected = self.schedule.num_tokens - self.schedule.lengths[0]
        if inputs_BLC.shape[1] != expected:
            raise ValueError(
                f"{inputs_BLC.shape[1]} input tokens do not fit the schedule {self.schedule.patch_nums}, which has "
                f"{expected} after the first scale"
            )
        prepared = self.prepare(condition)
        x_BLD = torch.cat([self._start(prepared), self.embed(inputs_BLC).to(self.start_1lD.dtype)], dim=1)
        x_BLD = self._place(x_BLD, slice(None), prepared)
        for block, modulation_B16D in zip(self.blocks, prepared.blocks, strict=True):
            if self.config.checkpointing and self.training:
                x_BLD = checkpoint(block, x_BLD, modulation_B16D, use_reentrant=False)
            else:
                x_BLD = block(x_BLD, modulation_B16D)
        return self._logits(x_BLD, prepared)

    def prepare(self, condition: Condition) -> Prepared:
        """Project the condition: a third of the weights, read once per sample instead of once per scale."""
        vector_BD = self.conditioning(condition)
        active_BD = F.silu(vector_BD)
        if self.adaln is not None and self.adaln_offsets is not None:
            shared_B16D = self.adaln(active_BD).unflatten(1, (1, 6, -1))
            blocks = tuple(shared_B16D + offset_116D for offset_116D in self.adaln_offsets)
        else:
            assert self.adalns is not None
            blocks = tuple(adaln(active_BD).unflatten(1, (1, 6, -1)) for adaln in self.adalns)
        head_B12D = self.head_adaln(active_BD).unflatten(1, (1, 2, -1))
        region_BL = self.conditioning.token_regions(condition, self.schedule.num_tokens)
        skin_BLD = self.conditioning.token_skin(condition, self.schedule)
        return Prepared(vector_BD, blocks, head_B12D, region_BL, skin_BLD)

    def new_cache(self, batch_size: int) -> KVCache:
        """Empty storage for one sampling of `batch_size` rows, in the type the blocks compute in here and now."""
        device = self.start_1lD.device
        mixed = torch.is_autocast_enabled(device.type)
        return KVCache(
            self.config.depth,
            batch_size,
            self.config.num_heads,
            self.schedule.num_tokens,
            self.config.width // self.config.num_heads,
            dtype=torch.get_autocast_dtype(device.type) if mixed else self.start_1lD.dtype,
            device=device,
        )

    def step(
        self, k: int, inputs_BlC: Tensor | None, prepared: Prepared, cache: KVCache, wanted_n: Tensor | None = None
    ) -> Tensor:
        """Logits of scale k, after `step` was called for every scale before it on the same cache.

        Args:
            k: Scale, from 0.
            inputs_BlC: `scale_inputs(f̂ after scale k-1, p_k)`; None for the first scale.
            prepared: From `prepare`, the same for all scales.
            cache: From `new_cache`; extended by this scale.
            wanted_n: int64, which tokens get logits, numbered row by row over (B, p_k²); None: all of them.

        Returns:
            float32 (B, p_k², V), or (n, V) of the wanted ones.

        Raises:
            ValueError: When a scale is out of turn or lacks its inputs.
        """
        place = self.schedule.slices[k]
        if cache.length != place.start or (inputs_BlC is None) != (k == 0):
            raise ValueError(
                f"scale {k} follows {place.start} tokens and takes {'no' if k == 0 else 'the partial f̂ as'} input; "
                f"the cache holds {cache.length}"
            )
        x_BlD = self._start(prepared) if inputs_BlC is None else self.embed(inputs_BlC).to(self.start_1lD.dtype)
        x_BlD = self._place(x_BlD, place, prepared)
        for index, (block, modulation_B16D) in enumerate(zip(self.blocks, prepared.blocks, strict=True)):
            x_BlD = block(x_BlD, modulation_B16D, cache, index)
        cache.advance(x_BlD.shape[1])
        return self._logits(x_BlD, prepared, wanted_n)

    def _start(self, prepared: Prepared) -> Tensor:
        return prepared.vector_BD[:, None] + self.start_1lD

    def _place(self, x_BlD: Tensor, place: slice, prepared: Prepared) -> Tensor:
        """Tell tokens where they are: position, level, region, skin."""
        x_BlD = x_BlD + self.position_1LD[:, place] + self.levels(self.level_L[place])
        if prepared.region_BL is not None and self.conditioning.regions is not None:
            x_BlD = x_BlD + self.conditioning.regions(prepared.region_BL[:, place])
        if prepared.skin_BLD is not None:
            x_BlD = x_BlD + prepared.skin_BLD[:, place].to(x_BlD.dtype)
        return x_BlD

    def _logits(self, x_BlD: Tensor, prepared: Prepared, wanted_n: Tensor | None = None) -> Tensor:
        scale_B1D, shift_B1D = prepared.head_B12D.float().unbind(2)
        if wanted_n is not None:  # one token per row
            row_n, x_BlD = wanted_n // x_BlD.shape[1], x_BlD.flatten(0, 1)[wanted_n, None]
            scale_B1D, shift_B1D = scale_B1D[row_n], shift_B1D[row_n]
        logits_BlV = self.head(modulated_norm(x_BlD.float(), scale_B1D, shift_B1D)).float()
        return logits_BlV if wanted_n is None else logits_BlV[:, 0]

    def _block(self, index: int) -> TransformerBlock:
        config = self.config
        attention = ScaleAttention(
            self.schedule,
            config.width,
            config.num_heads,
            l2_norm=config.attn_l2_norm,
            num_unmasked=config.num_unmasked_scales,
            dropout=config.dropout,
            attention_dropout=config.attention_dropout,
        )
        rate = config.drop_path * index / max(config.depth - 1, 1)
        return TransformerBlock(attention, config.width, config.hidden, dropout=config.dropout, drop_path=rate)

    @torch.no_grad()
    def _initialise(self) -> None:
        """VAR's initialisation: σ = √(1 / 3D), residual outputs smaller with depth, AdaLN and head as configured."""
        config, std = self.config, (3 * self.config.width) ** -0.5
        for parameter in (self.start_1lD, self.position_1LD, self.levels.weight):
            nn.init.trunc_normal_(parameter, std=std)
        for module in (self.embed, self.head, self.head_adaln, *self.blocks.modules()):
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for block in self.blocks:
            assert isinstance(block, TransformerBlock)
            for last in (block.attention.proj, block.mlp.fc2):
                last.weight.div_((2 * config.depth) ** 0.5)
        self.head.weight.mul_(config.head_init)
        self.head_adaln.weight.mul_(config.adaln_init)
        for adaln in [self.adaln] if self.adaln is not None else self.adalns or []:
            assert isinstance(adaln, nn.Linear)
            nn.init.trunc_normal_(adaln.weight, std=std)
            nn.init.zeros_(adaln.bias)
            adaln.weight[: 2 * config.width].mul_(config.adaln_gain_init)
            adaln.weight[2 * config.width :].mul_(config.adaln_init)
        for offset_116D in self.adaln_offsets or []:
            nn.init.normal_(offset_116D, std=config.width**-0.5)
            offset_116D[:, :, :2].mul_(config.adaln_gain_init)
            offset_116D[:, :, 2:].mul_(config.adaln_init)
