"""What a tokenizer starts from (random, published or our own weights), and which of its parts then learn.

Three rules hold everywhere. Sizes come from the config and are compared with the file, never taken from it in silence.
The schedule of scales is no weight: the same file serves 256 and 512 px. Training the decoder alone leaves encoder,
codebook and φ bit for bit as they were, so token ids, token caches and every transformer trained on them stay valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from lfvar.errors import ArtefactError, ConfigError
from lfvar.interop.checkpoints import load_vqvae
from lfvar.interop.published import load_published_vqvae
from lfvar.nn.vqvae import VQVAE, VQVAEConfig

Init = Literal["scratch", "published", "checkpoint"]
Train = Literal["auto", "all", "decoder"]

DECODER_PARTS = ("from_latent", "decoder")
"""Parts of a `VQVAE` that no token id depends on."""
_FREE = ("patch_nums", "dropout")
"""Sizes that no weight tensor shows: they may differ between a file and the net that it starts."""
_GAINS = "quantiser.gain_K"


@dataclass(frozen=True)
class TokenizerModel(VQVAEConfig):
    """Sizes of a tokenizer, what its weights start from, and which of them learn."""

    init: Init = "scratch"
    """`scratch`: random; `published`: a file in the layout of VAR (`vae_ch160v4096z32.pth`) or LF-VAR; `checkpoint`: a
    `.ckpt` of lfvar, with its averaged weights, for instance of a tokenizer trained on other images."""
    weights: str | None = None
    """Path of the file that `init` reads."""
    train: Train = "auto"
    """`decoder`: `from_latent` and decoder alone, token ids stay; `all`: everything. `auto`: `decoder` for published
    weights, `all` otherwise."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed in (("init", get_args(Init)), ("train", get_args(Train))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if self.init != "scratch" and not self.weights:
            example = "VAR's vae_ch160v4096z32.pth" if self.init == "published" else "a .ckpt of a tokenizer run"
            raise ConfigError(
                f"init={self.init} starts from a file, and weights names none",
                cure=f"add model.weights=PATH ({example}), or model.init=scratch",
            )
        if self.init == "scratch" and self.weights:
            raise ConfigError(
                f"weights={self.weights} would not be read: init=scratch starts from random numbers",
                cure="add model.init=published (VAR's layout) or model.init=checkpoint (ours), or drop model.weights",
            )
        if self.init == "scratch" and self.train == "decoder":
            raise ConfigError(
                "train=decoder keeps encoder and codebook as they are, and init=scratch makes them random",
                cure="start from a file (model.init=published model.weights=PATH), or set model.train=all",
            )

    @property
    def sizes(self) -> VQVAEConfig:
        """The sizes alone: what checkpoints store and compare."""
        return VQVAEConfig(**{field.name: getattr(self, field.name) for field in fields(VQVAEConfig)})

    @property
    def decoder_only(self) -> bool:
        """Whether encoder, codebook and φ stay as they are."""
        return self.train == "decoder" or (self.train == "auto" and self.init == "published")


def start_vqvae(model: VQVAEConfig, *, read_weights: bool = True) -> VQVAE:
    """The tokenizer that training starts with, in training mode; see `set_trained_parts` for what then learns.

    Args:
        model: Sizes and origin; sizes alone start from scratch.
        read_weights: False for a run that resumes: its checkpoint brings all weights, and the file that the run once
            started from may be gone.

    Raises:
        ArtefactError: When the file is missing, damaged, of another kind, or of other sizes than the config's; each
            difference is named with both values.
    """
    if not isinstance(model, TokenizerModel):
        return VQVAE(model)
    net = VQVAE(model.sizes)
    if model.init == "scratch" or not read_weights:
        return net
    assert model.weights is not None
    if model.init == "published":
        given = load_published_vqvae(model.weights, model.patch_nums)
    else:
        given = load_vqvae(model.weights)
    _require_same_sizes(model, given.config)
    state = given.state_dict()
    if _GAINS in state and given.config.patch_nums != model.patch_nums:
        state[_GAINS] = _move_gains(state[_GAINS], given.config.patch_nums, model.patch_nums)
    net.load_state_dict(state)
    return net


def set_trained_parts(net: VQVAE, model: VQVAEConfig) -> None:
    """Let only those weights have gradients that `model.train` names; all, where the model gives sizes alone.

    What the net itself keeps fixed (φ that no scale uses) stays fixed. Call it before the optimizer is built and before
    DDP wraps the net; then call `keep_frozen_in_eval` at every step.
    """
    if not isinstance(model, TokenizerModel) or not model.decoder_only:
        return
    for name, part in net.named_children():
        if name not in DECODER_PARTS:
            part.requires_grad_(False)


def keep_frozen_in_eval(net: nn.Module) -> None:
    """Put each part of a net whose weights are all frozen into evaluation mode: frozen features, without dropout.

    `net.train()` puts them back, and validation, pictures and averages all call it, so call this at the start of every
    training step. It costs microseconds and changes nothing where nothing is frozen.
    """
    for part in net.children():
        if part.training and not any(parameter.requires_grad for parameter in part.parameters()):
            part.eval()


def _require_same_sizes(model: TokenizerModel, there: VQVAEConfig) -> None:
    """Compare the sizes of a file with the config's, all at once.

    Raises:
        ArtefactError: When some differ.
    """
    different = [
        (field.name, getattr(there, field.name), getattr(model, field.name))
        for field in fields(VQVAEConfig)
        if field.name not in _FREE and getattr(there, field.name) != getattr(model, field.name)
    ]
    if different:
        phrases = [f"{name} is {_show(theirs)} there and {_show(ours)} here" for name, theirs, ours in different]
        settings = " ".join(f"model.{name}={_show(theirs)}" for name, theirs, _ in different)
        group = "model=vqvae_256 or model=vqvae_512 has the published sizes; or " if model.init == "published" else ""
        raise ArtefactError(
            f"the weights in {model.weights} have other sizes than the model: {'; '.join(phrases)}",
            cure=f"{group}set {settings}",
        )


def _move_gains(gain_K: Tensor, before: Sequence[int], after: Sequence[int]) -> Tensor:
    """Gains of another schedule: read off at the same side relative to the finest map, on logarithmic axes.

    How much is left of the features at a scale depends on how fine the scales before it were compared with the whole;
    beyond the coarsest scale of the file its gain holds.
    """
    places = np.log(np.array(before) / before[-1])
    wanted = np.log(np.array(after) / after[-1])
    moved = np.exp(np.interp(wanted, places, gain_K.double().log().cpu().numpy()))
    return torch.as_tensor(moved, dtype=gain_K.dtype)


def _show(value: object) -> str:
    """As it is written on the command line."""
    if isinstance(value, (tuple, list)):
        return "[" + ",".join(map(str, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
