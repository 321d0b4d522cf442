"""Read the published tokenizer layout (`vae_ch160v4096z32.pth` of VAR, and the `vae` part of LF-VAR's checkpoints).

Names are translated one by one and sizes are read off the tensors, so a checkpoint of any width, vocabulary or number
of levels loads without being told its configuration. Only the schedule of scales is not stored in the weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lfvar.errors import ArtefactError
from lfvar.interop.published_files import fill, read_published
from lfvar.nn.vqvae import VQVAE, VQVAEConfig

PUBLISHED_256 = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
"""Schedule of the published 256-px models."""
PUBLISHED_512 = (1, 2, 3, 4, 6, 9, 13, 18, 24, 32)
"""Schedule of the published 512-px models, which use the same tokenizer weights."""

# (published name, our name), applied in this order
_RENAMES: tuple[tuple[str, str], ...] = (
    (r"^quantize\.embedding\.", "quantiser.codebook."),
    (r"^quantize\.quant_resi\.qresi_ls\.(\d+)\.", r"quantiser.phi.\1."),
    (r"^quant_conv\.", "to_latent."),
    (r"^post_quant_conv\.", "from_latent."),
    (r"^(encoder|decoder)\.(?:down|up)\.(\d+)\.", r"\1.levels.\2."),
    (r"\.levels\.(\d+)\.block\.", r".levels.\1.blocks."),
    (r"\.levels\.(\d+)\.attn\.", r".levels.\1.attentions."),
    (r"\.(?:downsample|upsample)\.conv\.", ".resample.conv."),
    (r"\.mid\.block_1\.", ".middle.0."),
    (r"\.mid\.attn_1\.", ".middle.1."),
    (r"\.mid\.block_2\.", ".middle.2."),
    (r"\.nin_shortcut\.", ".shortcut."),
    (r"\.proj_out\.", ".proj."),
)
_UNUSED = re.compile(r"^quantize\.ema_vocab_hit_SV$")  # usage statistics of their training, not weights


def translate_vqvae(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published tensor names to ours; tensors are passed through untouched."""
    translated = {}
    for name, tensor in state.items():
        if _UNUSED.match(name):
            continue
        for pattern, ours in _RENAMES:
            name = re.sub(pattern, ours, name)
        translated[name] = tensor
    return translated


def infer_config(state: Mapping[str, Tensor], patch_nums: tuple[int, ...] = PUBLISHED_256) -> VQVAEConfig:
    """Sizes of a tokenizer from its (translated) weights.

    Args:
        state: Weights under our names.
        patch_nums: Schedule of scales; not stored in the weights.

    Raises:
        ArtefactError: When the tensors that tell the sizes are not there.
    """
    try:
        channels = state["encoder.conv_in.weight"].shape[0]
        vocab_size, latent_channels = state["quantiser.codebook.weight"].shape
        levels = 1 + max(_indices(state, r"^encoder\.levels\.(\d+)\."))
        widths = [state[f"encoder.levels.{i}.blocks.0.conv1.weight"].shape[0] for i in range(levels)]
        return VQVAEConfig(
            channels=channels,
            channel_multipliers=tuple(width // channels for width in widths),
            num_res_blocks=1 + max(_indices(state, r"^encoder\.levels\.0\.blocks\.(\d+)\.")),
            latent_channels=latent_channels,
            vocab_size=vocab_size,
            patch_nums=patch_nums,
            attention="encoder.middle.1.qkv.weight" in state,
            num_phi=1 + max(_indices(state, r"^quantiser\.phi\.(\d+)\.")),
        )
    except (KeyError, ValueError) as error:
        raise ArtefactError(
            f"these weights are not a published tokenizer: {error} not found among {len(state)} tensors",
            cure="give the tokenizer file itself (VAR's vae_ch160v4096z32.pth), or one that holds it under 'vae'",
        ) from error


def load_published_vqvae(path: str | Path, patch_nums: tuple[int, ...] = PUBLISHED_256) -> VQVAE:
    """A tokenizer with the weights of a published checkpoint, in evaluation mode.

    Args:
        path: A `.pth` file; read with `weights_only=True`, nothing in it is executed.
        patch_nums: Schedule of scales (`PUBLISHED_256` or `PUBLISHED_512`).

    Raises:
        ArtefactError: When the file is missing, unreadable, or holds another model.
    """
    keys = ("trainer", "vae_local", "vae", "state_dict")
    state = translate_vqvae(read_published(path, keys, example="vae_ch160v4096z32.pth"))
    net = VQVAE(infer_config(state, patch_nums))
    fill(net, state, path, cure="only the partially shared φ layout of the released models is known")
    return net.eval()


def _indices(state: Mapping[str, Tensor], pattern: str) -> list[int]:
    found = (re.match(pattern, name) for name in state)
    return [int(match.group(1)) for match in found if match]
