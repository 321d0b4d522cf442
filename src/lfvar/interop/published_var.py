"""Read the published transformer layouts: VAR (`var_d16.pth` …) and LF-VAR (`ar-ckpt-best.pth`).

Names are translated one by one, and every size is read off the tensors, the schedule included: the published layout
stores the level of each token.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from lfvar.errors import ArtefactError
from lfvar.interop.published_files import fill, read_published
from lfvar.nn.var import VAR, VARConfig

# (published name, our name); the first that fits counts
_RENAMES: tuple[tuple[str, str], ...] = (
    (r"^pos_start$", "start_1lD"),
    (r"^pos_1LC$", "position_1LD"),
    (r"^lvl_embed\.", "levels."),
    (r"^word_embed\.", "embed."),
    (r"^class_emb\.", "conditioning.classes."),
    (r"^radiomics_encoder\.", "conditioning.measurements."),
    (r"^shared_ada_lin\.1\.", "adaln."),
    (r"^blocks\.(\d+)\.ada_gss$", r"adaln_offsets.\1"),
    (r"^blocks\.(\d+)\.ada_lin\.1\.", r"adalns.\1."),
    (r"^blocks\.(\d+)\.attn\.mat_qkv\.", r"blocks.\1.attention.qkv."),
    (r"^blocks\.(\d+)\.attn\.([qv])_bias$", r"blocks.\1.attention.\2_bias_D"),
    (r"^blocks\.(\d+)\.attn\.scale_mul_1H11$", r"blocks.\1.attention.log_scale_N11"),
    (r"^blocks\.(\d+)\.attn\.", r"blocks.\1.attention."),
    (r"^blocks\.(\d+)\.ffn\.", r"blocks.\1.mlp."),
    (r"^head_nm\.ada_lin\.1\.", "head_adaln."),
)
KEYS = ("trainer", "var_wo_ddp", "var", "state_dict")
"""Where training checkpoints keep the transformer, outermost first."""
_DERIVED = re.compile(r"^(lvl_1L|attn_bias_for_masking)$|\.zero_k_bias$")  # follow from the schedule, or are zero


def translate_var(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published tensor names to ours; the query factor loses its leading dimension, the rest is passed through."""
    translated = {}
    for name, tensor in state.items():
        if _DERIVED.search(name):
            continue
        for pattern, ours in _RENAMES:
            renamed, count = re.subn(pattern, ours, name)
            if count:
                name = renamed
                break
        translated[name] = tensor[0] if name.endswith("log_scale_N11") else tensor
    return translated


def infer_var_config(state: Mapping[str, Tensor]) -> VARConfig:
    """Sizes of a transformer from its published weights.

    Args:
        state: Weights under their published names.

    Raises:
        ArtefactError: When the tensors that tell the sizes are not there.
    """
    try:
        width, latent_channels = state["word_embed.weight"].shape
        matches = (re.match(r"^blocks\.(\d+)\.", name) for name in state)
        depth = 1 + max(int(match.group(1)) for match in matches if match)
        scale = state.get("blocks.0.attn.scale_mul_1H11")
        measures = state.get("radiomics_encoder.0.weight")
        return VARConfig(
            depth=depth,
            width=width,
            # Without normalised queries nothing tells the number of heads; all published models have 64 channels each.
            num_heads=width // 64 if scale is None else scale.shape[1],
            mlp_ratio=state["blocks.0.ffn.fc1.weight"].shape[0] / width,
            patch_nums=tuple(math.isqrt(int(count)) for count in state["lvl_1L"].flatten().bincount()),
            vocab_size=state["head.weight"].shape[0],
            latent_channels=latent_channels,
            num_classes=state["class_emb.weight"].shape[0] - 1,
            num_measurements=0 if measures is None else measures.shape[1],
            measurement_kind="periodic" if measures is None else "lfvar",
            shared_adaln="shared_ada_lin.1.weight" in state,
            attn_l2_norm=scale is not None,
        )
    except (KeyError, ValueError) as error:
        raise ArtefactError(
            f"these weights are not a published transformer: {error} (among {len(state)} tensors)",
            cure="give VAR's var_d16.pth … var_d36.pth, or LF-VAR's ar-ckpt-best.pth",
        ) from error


def load_published_var(path: str | Path) -> VAR:
    """A transformer with the weights of a published checkpoint, in evaluation mode.

    Args:
        path: A `.pth` file; read with `weights_only=True`, nothing in it is executed.

    Raises:
        ArtefactError: When the file is missing, unreadable, or holds another model.
    """
    state = read_published(path, KEYS, example="var_d16.pth … var_d36.pth")
    net = VAR(infer_var_config(state))
    cure = "the layouts of VAR and LF-VAR are known; other forks may have changed them"
    fill(net, translate_var(state), path, cure=cure)
    return net.eval()


@torch.no_grad()
def warm_start(net: VAR, source: VAR) -> list[str]:
    """Give a net the weights of another one of the same size, which may know other types and other conditions.

    Where the number of types differs, every type starts as the source's "any type". Measurements and regions start
    at zero by themselves. So the net computes at first what the source does: for the same type where the types are
    kept, for any type where they are replaced. (From LF-VAR's weights to another measurement encoder, what the source
    adds for measurements is lost.)

    Args:
        net: A fresh net.
        source: Where the weights come from, e.g. `load_published_var(path)`.

    Returns:
        Names of the tensors that keep their own initial values.

    Raises:
        ArtefactError: When another size differs.
    """
    theirs, ours = source.state_dict(), net.state_dict()
    table = "conditioning.classes.weight"
    if theirs[table].shape[1] == ours[table].shape[1] and theirs[table].shape[0] != ours[table].shape[0]:
        theirs[table] = theirs[table][-1:].expand_as(ours[table])
    differing = [
        f"{name}: {tuple(theirs[name].shape)} there, {tuple(tensor.shape)} here"
        for name, tensor in ours.items()
        if name in theirs and theirs[name].shape != tensor.shape
    ]
    own = [name for name in ours if name not in theirs]
    lacking = [name for name in own if not name.startswith("conditioning.")]
    if differing or lacking:
        raise ArtefactError(
            f"the weights to start from are of another size: {'; '.join(differing[:3] + lacking[:3])}",
            cure="give the model the depth, width, patch_nums, vocab_size and shared_adaln of the source",
        )
    net.load_state_dict({name: theirs.get(name, tensor) for name, tensor in ours.items()})
    return own
