"""Weights of ours under the published names: what tests of importing start from."""

import re

import torch

# (our name, published name), applied in this order
RENAMES = (
    (r"^quantiser\.codebook\.", "quantize.embedding."),
    (r"^quantiser\.phi\.(\d+)\.", r"quantize.quant_resi.qresi_ls.\1."),
    (r"^to_latent\.", "quant_conv."),
    (r"^from_latent\.", "post_quant_conv."),
    (r"^encoder\.levels\.(\d+)\.", r"encoder.down.\1."),
    (r"^decoder\.levels\.(\d+)\.", r"decoder.up.\1."),
    (r"\.blocks\.", ".block."),
    (r"\.attentions\.", ".attn."),
    (r"^(encoder.*)\.resample\.conv\.", r"\1.downsample.conv."),
    (r"^(decoder.*)\.resample\.conv\.", r"\1.upsample.conv."),
    (r"\.middle\.0\.", ".mid.block_1."),
    (r"\.middle\.1\.", ".mid.attn_1."),
    (r"\.middle\.2\.", ".mid.block_2."),
    (r"\.shortcut\.", ".nin_shortcut."),
    (r"\.proj\.", ".proj_out."),
)


def published_state(net):
    """The weights of a tokenizer as VAR's file has them, with the usage statistics that nobody needs."""
    state = {}
    for name, tensor in net.state_dict().items():
        for ours, theirs in RENAMES:
            name = re.sub(ours, theirs, name)
        state[name] = tensor
    usage = torch.zeros(len(net.config.patch_nums), net.config.vocab_size)
    return {**state, "quantize.ema_vocab_hit_SV": usage}


def write_published(path, config, *, fill=None):
    """Write random weights of these sizes in the published layout; with `fill`, one number that costs no space."""
    from lfvar.nn.vqvae import VQVAE

    if fill is None:
        torch.manual_seed(7)
        state = published_state(VQVAE(config))
    else:
        with torch.device("meta"):
            state = published_state(VQVAE(config))
        state = {name: torch.tensor(fill).expand(tensor.shape) for name, tensor in state.items()}
    torch.save(state, path)
    return path
