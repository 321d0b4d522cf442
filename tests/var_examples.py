"""A transformer small enough for unit tests, with a tokenizer and data to match."""

import re
from dataclasses import fields

import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch.utils.data import DataLoader

from lfvar.interop.checkpoints import ConditionMeaning
from lfvar.interop.tokenizers import LoadedTokenizer
from lfvar.lit.var_config import ConditionConfig
from lfvar.lit.var_module import VARModule
from lfvar.lit.var_optim import VAROptimConfig
from lfvar.losses.tokens import TokenLossConfig
from lfvar.nn.conditioning import ConditionDropConfig
from lfvar.nn.var import VARConfig
from lfvar.nn.vqvae import VQVAE, VQVAEConfig
from lfvar.sampling.filling import without_lesion
from lfvar.types import Batch, TokenBatch

MEANING = ConditionMeaning(("mel", "nv", "df"), ("shape_a", "shape_b", "clinical_c", "clinical_d"), {"features": []})
SIZES = VARConfig(
    depth=2, width=32, num_heads=2, patch_nums=(1, 2, 4), vocab_size=32, latent_channels=4, measurement_width=4,
    num_classes=3, num_measurements=4,
)  # fmt: skip
NOTHING_DROPPED = ConditionDropConfig(joint=0, label=0, measurements=0, sparse=0, group=0)
FULL = ConditionConfig(drop=NOTHING_DROPPED)


def tiny_tokenizer():
    """16-px images, 21 tokens."""
    torch.manual_seed(0)
    sizes = {"channels": 16, "channel_multipliers": (1, 2), "num_res_blocks": 1, "stem_stride": 2, "attention": False}
    net = VQVAE(VQVAEConfig(**sizes, latent_channels=4, vocab_size=32, patch_nums=(1, 2, 4)))
    net.quantiser.init_codebook(net.encode(torch.rand(64, 3, 16, 16) * 2 - 1), torch.Generator().manual_seed(0))
    return LoadedTokenizer(net.eval(), {"file": "tokenizer.ckpt", "sha256": "0"})


def image_batch(size=8, seed=0):
    """Noise with a lesion mask, types, and measurements of which some are missing."""
    draw = torch.Generator().manual_seed(seed)
    mask_B1HW = torch.zeros(size, 1, 16, 16)
    for row in range(size):
        top, left = torch.randint(0, 8, (2,), generator=draw).tolist()
        mask_B1HW[row, :, top : top + 6, left : left + 6] = 1
    return Batch(
        image_BCHW=torch.rand(size, 3, 16, 16, generator=draw) * 2 - 1,
        mask_B1HW=mask_B1HW,
        label_B=torch.arange(size) % 3,
        measurements_BM=torch.randn(size, 4, generator=draw),
        present_BM=torch.rand(size, 4, generator=draw) > 0.2,
        image_id=[str(row) for row in range(size)],
    )


def token_batch(batch, tokenizer):
    """The same samples as a token cache gives them."""
    return TokenBatch(
        ids_BL=torch.cat(tokenizer.net.encode_ids(batch.image_BCHW), dim=1),
        mask_B1HW=batch.mask_B1HW > 0,
        label_B=batch.label_B,
        measurements_BM=batch.measurements_BM,
        present_BM=batch.present_BM,
        image_id=batch.image_id,
        skin_ids_BL=torch.cat(tokenizer.net.encode_ids(without_lesion(batch.image_BCHW, batch.mask_B1HW)), dim=1),
    )


def tiny_module(model=SIZES, condition=FULL, *, loss=None, optim=None, meaning=MEANING, tokenizer=None, **options):
    torch.manual_seed(1)
    return VARModule(
        model,
        tokenizer or tiny_tokenizer(),
        loss or TokenLossConfig(),
        optim or VAROptimConfig(lr=3e-3, warmup_steps=0),
        condition,
        meaning,
        **options,
    )


def as_loader(batches):
    return DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch)


class Batches(LightningDataModule):
    """Loaders over given batches, with the first images of each type in all of the validation ones as examples."""

    def __init__(self, val, train=(), examples=None):
        super().__init__()
        self.val, self.train, self.examples = val, train, examples or val

    def train_dataloader(self):
        return as_loader(self.train)

    def val_dataloader(self):
        return as_loader(self.val)

    def first_of_each_type(self):
        found = {}
        for batch in self.examples:
            for row, label in enumerate(batch.label_B.tolist()):
                found.setdefault(label, (batch, row))
        names = [field.name for field in fields(self.examples[0])]
        parts = {name: [getattr(batch, name)[row : row + 1] for batch, row in found.values()] for name in names}
        return type(self.examples[0])(
            **{
                name: torch.cat(values) if isinstance(values[0], torch.Tensor) else [value[0] for value in values]
                for name, values in parts.items()
            }
        )


def tiny_trainer(steps, folder, **options):
    settings = {"logger": False, "enable_checkpointing": False, "num_sanity_val_steps": 0, "log_every_n_steps": 1}
    return Trainer(
        max_steps=steps, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, default_root_dir=folder, **{**settings, **options},
    )  # fmt: skip


# (our name, published name), applied in this order
_RENAMES = (
    (r"^start_1lD$", "pos_start"),
    (r"^position_1LD$", "pos_1LC"),
    (r"^levels\.", "lvl_embed."),
    (r"^embed\.", "word_embed."),
    (r"^conditioning\.classes\.", "class_emb."),
    (r"^adalns\.(\d+)\.", r"blocks.\1.ada_lin.1."),
    (r"\.attention\.qkv\.", ".attn.mat_qkv."),
    (r"\.attention\.([qv])_bias_D$", r".attn.\1_bias"),
    (r"\.attention\.log_scale_N11$", ".attn.scale_mul_1H11"),
    (r"\.attention\.", ".attn."),
    (r"\.mlp\.", ".ffn."),
    (r"^head_adaln\.", "head_nm.ada_lin.1."),
)


def published_var_state(net):
    """The weights of a transformer without measurements as VAR's file has them."""
    state = {}
    for name, tensor in net.state_dict().items():
        for ours, theirs in _RENAMES:
            name = re.sub(ours, theirs, name)
        state[name] = tensor[None] if name.endswith("scale_mul_1H11") else tensor
    return {**state, "lvl_1L": net.level_L[None]}
