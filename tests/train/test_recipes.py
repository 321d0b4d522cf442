"""Parts of a full recipe under Lightning: accumulation, float16, restarts, an adversary that counts its own steps."""

from dataclasses import replace
from functools import partialmethod

import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.plugins import MixedPrecision
from torch import nn

from lfvar.callbacks.ema import EMA
from lfvar.data.datamodule import LesionDataModule
from lfvar.data.loading import LoaderConfig
from lfvar.data.manifest import Manifest
from lfvar.lit.adversary_config import AdversaryConfig
from lfvar.lit.codebook import CodebookConfig
from lfvar.lit.optim import OptimConfig
from lfvar.lit.vqvae_module import VQVAEModule
from lfvar.losses.structure import StructureLoss
from lfvar.losses.tokenizer import TokenizerLossConfig
from lfvar.nn.discriminator import PatchDiscriminatorConfig
from lfvar.nn.vqvae import VQVAEConfig

NET = VQVAEConfig(16, (1, 2), 1, 4, 32, (1, 2, 4), stem_stride=2, scale_gains=True)
LOSS = TokenizerLossConfig(focus_pixel=1.0, focus_quantisation=1.0, focus_residual=0.25)
SMALL_DISCRIMINATOR = PatchDiscriminatorConfig(channels=8, num_layers=1)


def fit(folder, steps, *, batch_size=8, callbacks=(), plugins=(), codebook=None, optim=None, **parts):
    seed_everything(0, verbose=False)
    config = LoaderConfig(batch_size=batch_size, num_workers=0)
    data = LesionDataModule(folder, Manifest.read(folder), config)
    module = VQVAEModule(
        parts.pop("net", NET),
        parts.pop("loss", LOSS),
        optim or OptimConfig(lr=1e-3, warmup_steps=2),
        codebook or CodebookConfig(init_step=2, init_images=20),
        **parts,
    )
    trainer = Trainer(
        max_steps=steps, accelerator="cpu", plugins=list(plugins), callbacks=list(callbacks), logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, num_sanity_val_steps=0, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    return module, trainer


class Gradients(Callback):
    """What the optimizer used, step by step."""

    def __init__(self):
        self.seen = []

    def on_train_start(self, trainer, pl_module):
        def see(*_):
            self.seen.append(
                {name: p.grad.clone() for name, p in pl_module.net.named_parameters() if p.grad is not None}
            )

        pl_module.optimizers().optimizer.register_step_post_hook(see)


def test_accumulated_batches_make_the_gradient_of_one_large_batch(phantom_folder):
    whole, parts = Gradients(), Gradients()
    common = {"net": replace(NET, scale_gains=False), "codebook": CodebookConfig(init_step=0, init_images=20)}
    fit(phantom_folder, 1, batch_size=8, callbacks=[whole], **common)
    optim = OptimConfig(lr=1e-3, warmup_steps=2, accumulate=2)
    _, trainer = fit(phantom_folder, 1, batch_size=4, callbacks=[parts], optim=optim, **common)
    assert trainer.global_step == len(parts.seen) == 1
    for name, gradient in whole.seen[0].items():
        assert torch.allclose(parts.seen[0][name], gradient, rtol=1e-3, atol=1e-5), name


@pytest.mark.parametrize("plugin", ["none", "float16"])
def test_clipping_sees_gradients_in_their_own_units(phantom_folder, plugin):
    gradients = Gradients()
    plugins = [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=1024.0))]
    optim = OptimConfig(lr=1e-4, warmup_steps=2, clip_norm=0.01)
    module, _ = fit(
        phantom_folder, 3, callbacks=[gradients], plugins=plugins if plugin == "float16" else [], optim=optim
    )
    norms = [float(nn.utils.get_total_norm(seen.values())) for seen in gradients.seen]
    assert norms == pytest.approx([0.01] * 3, rel=1e-2)
    assert all(parameter.isfinite().all() for parameter in module.parameters())


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_adversary_takes_its_own_steps(phantom_folder, accumulate):
    before = []

    class Watch(Callback):
        def on_train_start(self, trainer, pl_module):
            before.append([p.clone() for p in pl_module.adversary.parameters()])

    module, trainer = fit(
        phantom_folder, 6, callbacks=[Watch()], perceptual=StructureLoss(),
        loss=TokenizerLossConfig(perceptual=0.5, focus_perceptual=2.0), optim=OptimConfig(accumulate=accumulate),
        adversary=AdversaryConfig(discriminator=SMALL_DISCRIMINATOR, start_fraction=0.5, lr=1e-3, warmup_steps=1),
    )  # fmt: skip
    assert trainer.global_step == 6
    steps = {int(state["step"]) for state in module.adversary.optimizer.state.values()}
    assert steps == {3}  # steps 3, 4 and 5
    assert any(not torch.equal(a, b) for a, b in zip(before[0], module.adversary.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in module.adversary.parameters())
    assert not any(name.startswith("adversary") for name, _ in module.averaged)


def test_restarted_codes_start_anew_everywhere(phantom_folder):
    """Momenta and average of a code that was moved must not pull it back."""
    ema = EMA(decay=0.999)
    checked = []

    class Check(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            for name, rows in pl_module.replaced.items():
                weight = pl_module.net.get_parameter(name)
                assert torch.allclose(ema.average[name][rows], weight[rows], atol=1e-6)
                state = pl_module.optimizers().state.get(weight, {})
                if "exp_avg" in state and trainer.global_step > 3:
                    assert not state["exp_avg"][rows].any()
                checked.append(rows)

    codebook = CodebookConfig(init_step=1, init_images=20, restart_below=1.0, restart_every=2, restart_until=1.0)
    fit(phantom_folder, 8, callbacks=[ema, Check()], codebook=codebook)
    assert len(checked) >= 2
    assert 0 < len(checked[-1]) < NET.vocab_size


def test_running_means_instead_of_gradients(phantom_folder):
    codebook = CodebookConfig(init_step=1, init_images=20, update="ema", ema_decay=0.5, restart_below=0.1)
    module, _ = fit(phantom_folder, 8, codebook=codebook)
    keeper, codes = module.care.keeper, module.net.quantiser.codebook.weight
    assert not codes.requires_grad
    chosen = keeper.count_V > 1e-2
    assert torch.allclose(codes[chosen], (keeper.sum_VC / keeper.count_V[:, None])[chosen], atol=1e-5)


def test_ids_of_a_trained_net_do_not_depend_on_the_precision_around(phantom_folder):
    module, _ = fit(phantom_folder, 12)
    net = module.net.eval()
    image = torch.rand(16, 3, 16, 16) * 2 - 1
    plain = net.encode_ids(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(map(torch.equal, net.encode_ids(image), plain))
        f = net.encode(image)
        inside = net.quantiser(f).ids
    assert f.dtype == torch.bfloat16
    assert all(map(torch.equal, net.quantiser(f).ids, inside))


def test_compiled_nets_take_the_same_step(phantom_folder, monkeypatch):
    # All of torch.compile but the C++ compiler, which takes minutes: tracing, and the graph with its backward pass.
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="aot_eager"))
    adversary = AdversaryConfig(discriminator=SMALL_DISCRIMINATOR, start_fraction=0.0, ramp_fraction=0.0)
    results = []
    for compiled in (False, True):
        gradients = Gradients()
        codebook = CodebookConfig(init_step=0, init_images=20)
        module, _ = fit(
            phantom_folder, 2, callbacks=[gradients], compile=compiled, codebook=codebook, adversary=adversary
        )
        results.append((module.net.state_dict().keys(), gradients.seen[0]))
    assert results[0][0] == results[1][0]  # checkpoints do not show it
    for name, gradient in results[0][1].items():
        assert torch.allclose(results[1][1][name], gradient, rtol=1e-2, atol=1e-4), name
