from dataclasses import replace

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from lfvar.callbacks.ema import EMA
from lfvar.data.token_cache import TokenizerIdentity
from lfvar.errors import ArtefactError
from lfvar.interop.checkpoints import load_var, load_vqvae
from lfvar.lit.var_config import ConditionConfig
from lfvar.lit.var_optim import VAROptimConfig
from lfvar.losses.tokens import TokenLossConfig
from var_examples import FULL, MEANING, SIZES, as_loader, image_batch, tiny_module, tiny_tokenizer, tiny_trainer
from var_examples import token_batch as to_tokens

EVERYTHING = ConditionConfig(mask=True, skin=True)


class Losses(Callback):
    """What each step logged."""

    def __init__(self):
        self.values = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        logged = trainer.callback_metrics.items()
        self.values.append({name: float(value) for name, value in logged if name.startswith("train/")})


def fit(module, batches, folder, steps, *, val=None, ckpt=None, callbacks=(), **options):
    losses = Losses()
    trainer = tiny_trainer(steps, folder, callbacks=[losses, *callbacks], **options)
    trainer.fit(module, as_loader(batches), None if val is None else as_loader(val), ckpt_path=ckpt, weights_only=True)
    return trainer, losses.values


def state_of(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def test_cached_ids_give_the_losses_of_images(tmp_path):
    batches = [image_batch(seed=seed) for seed in range(3)]
    tokens = [to_tokens(batch, tiny_tokenizer()) for batch in batches]
    model = replace(SIZES, drop_path=0.3)
    results = []
    for source in (batches, tokens):
        module = tiny_module(model, EVERYTHING, loss=TokenLossConfig(label_smoothing=0.1, focus=1.0))
        trainer, losses = fit(module, source, tmp_path, 6, val=source[:1], check_val_every_n_epoch=2)
        results.append((losses, state_of(module), dict(trainer.callback_metrics)))
    assert len(results[0][0]) == 6
    assert results[0][0] == results[1][0]
    assert all(torch.equal(results[0][1][name], results[1][1][name]) for name in results[0][1])
    assert results[0][2].keys() == results[1][2].keys()
    assert all(torch.equal(results[0][2][name], results[1][2][name]) for name in results[0][2])


def test_a_few_token_maps_are_learned(tmp_path):
    batches = [image_batch(6)]
    module = tiny_module(SIZES, FULL)
    trainer = tiny_trainer(1, tmp_path)
    (before,) = trainer.validate(module, as_loader(batches), verbose=False)
    trainer, losses = fit(
        module, batches, tmp_path, 120, val=batches, check_val_every_n_epoch=None, val_check_interval=120
    )
    after = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert before["val/loss"] == pytest.approx(torch.tensor(32.0).log().item(), abs=0.1)  # of 32 codes nothing is known
    assert losses[-1]["train/loss"] < 0.3
    assert after["val/loss"] < 0.3
    assert after["val/accuracy"] > 0.95 > 0.2 > before["val/accuracy"]
    assert after["val/accuracy_1x1"] > 0.9
    assert after["val/loss_without_measurements"] > after["val/loss"]  # noise: measurements tell which image it is


def test_what_is_logged(tmp_path):
    batches = [image_batch(seed=seed) for seed in range(2)]
    module = tiny_module(SIZES, EVERYTHING)
    trainer, losses = fit(module, batches, tmp_path, 2, val=batches[:1])
    shares = ["label_dropped", "measurements_dropped", "measurements_kept", "own_mask", "other_mask"]
    expected = {"train/loss", "train/grad_norm", *(f"train/{name}" for name in shares)}
    for side in (1, 2, 4):
        expected |= {f"train/{name}_{side}x{side}" for name in ("loss", "accuracy")}
    assert expected <= losses[-1].keys()
    values = {name for name in trainer.callback_metrics if name.startswith("val/")}
    assert {
        "val/loss",
        "val/accuracy",
        "val/loss_inside",
        "val/accuracy_4x4",
        "val/loss_without_measurements",
    } <= values


def test_training_numbers_are_means_since_the_last_line(tmp_path):
    batches = [image_batch(seed=seed) for seed in range(4)]
    _, each = fit(tiny_module(), batches, tmp_path, 4)
    _, mean = fit(tiny_module(), batches, tmp_path, 4, log_every_n_steps=4)
    assert "train/loss_2x2" not in mean[2]
    expected = sum(step["train/loss_2x2"] for step in each) / 4
    assert mean[3]["train/loss_2x2"] == pytest.approx(expected, rel=1e-5)


def test_accumulated_batches_are_one_large_batch(tmp_path):
    from var_examples import Batch

    whole = image_batch(8)
    halves = [
        Batch(
            whole.image_BCHW[part], whole.mask_B1HW[part], whole.label_B[part], whole.measurements_BM[part],
            whole.present_BM[part], whole.image_id[part],
        )
        for part in (slice(0, 4), slice(4, 8))
    ]  # fmt: skip
    optim = VAROptimConfig(lr=1e-2, warmup_steps=0, clip_norm=0.5)
    one, two = tiny_module(optim=optim), tiny_module(optim=replace(optim, accumulate=2))
    fit(one, [whole], tmp_path, 3)
    trainer, _ = fit(two, halves, tmp_path, 3)
    assert trainer.global_step == 3
    for name, tensor in one.net.state_dict().items():
        torch.testing.assert_close(two.net.state_dict()[name], tensor, atol=2e-4, rtol=0)


def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(tmp_path):
    batches = [image_batch(seed=seed) for seed in range(3)]
    model = replace(SIZES, drop_path=0.3, dropout=0.1)
    saved = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=3, save_top_k=-1)
    whole = tiny_module(model, EVERYTHING)
    _, uninterrupted = fit(whole, batches, tmp_path, 6, callbacks=[EMA(), saved], enable_checkpointing=True)
    resumed = tiny_module(model, EVERYTHING)
    torch.manual_seed(99)
    _, after = fit(resumed, batches, tmp_path, 6, ckpt=tmp_path / "step=3.ckpt", callbacks=[EMA()])
    assert [step["train/loss"] for step in after] == [step["train/loss"] for step in uninterrupted[3:]]
    assert all(torch.equal(tensor, state_of(resumed)[name]) for name, tensor in state_of(whole).items())


@pytest.fixture
def trained(tmp_path):
    module = tiny_module(SIZES, EVERYTHING)
    batches = [image_batch(seed=seed) for seed in range(2)]
    trainer, _ = fit(module, batches, tmp_path, 4, callbacks=[EMA(0.5)])
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    return module, trainer, tmp_path / "last.ckpt"


def test_checkpoints_describe_themselves_and_load(trained):
    module, trainer, path = trained
    loaded = load_var(path, "last")
    assert loaded.meaning == MEANING
    assert loaded.net.config == replace(SIZES, mask_aware=True, skin_aware=True)
    assert not loaded.net.training
    assert loaded.about["tokenizer"]["file"] == "tokenizer.ckpt"
    assert loaded.about["tokenizer"]["hash"] == TokenizerIdentity.of(tiny_tokenizer().net).hash
    for name, tensor in module.net.state_dict().items():
        assert torch.equal(loaded.net.state_dict()[name], tensor)
    ema = next(callback for callback in trainer.callbacks if isinstance(callback, EMA))
    average = load_var(path).net
    assert all(torch.equal(average.state_dict()[name], tensor) for name, tensor in ema.average.items())
    assert not torch.equal(average.head.weight, loaded.net.head.weight)
    with pytest.raises(ArtefactError, match="holds a var, not a tokenizer"):
        load_vqvae(path)


def test_the_tokenizer_is_a_constant(trained):
    module, _, path = trained
    state = torch.load(path, weights_only=True)["state_dict"]
    assert all(name.startswith("net.") for name in state)
    assert not [name for name, _ in module.named_parameters() if not name.startswith("net.")]
    before = tiny_tokenizer().net.state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.tokenizer.named_buffers() if name in before)
    assert not module.train().tokenizer.training


def other_tokenizer():
    tokenizer = tiny_tokenizer()
    tokenizer.net.quantiser.codebook.weight.data[0] += 1
    return tokenizer


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokenizer": other_tokenizer}, "another tokenizer"),
        ({"meaning": lambda: replace(MEANING, classes=("nv", "mel", "df"))}, "another classes"),
        ({"meaning": lambda: replace(MEANING, standardiser={"features": [1]})}, "another standardiser"),
        ({"model": lambda: replace(SIZES, depth=3)}, "depth: checkpoint 2, this run 3"),
    ],
)
def test_a_run_of_something_else_is_not_resumed(trained, changes, message):
    arguments = {"model": SIZES, "condition": EVERYTHING} | {name: make() for name, make in changes.items()}
    module = tiny_module(**arguments)
    before = state_of(module)
    with pytest.raises(ArtefactError, match=message):
        module.on_load_checkpoint(torch.load(trained[2], weights_only=True))
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_a_tokenizer_with_a_new_decoder_is_the_same_tokenizer(trained):
    tokenizer = tiny_tokenizer()
    tokenizer.net.decoder.conv_out.weight.data += 1
    module = tiny_module(SIZES, EVERYTHING, tokenizer=tokenizer)
    module.on_load_checkpoint(torch.load(trained[2], weights_only=True))


@pytest.mark.parametrize(
    "condition",
    [
        ConditionConfig(label=False),
        ConditionConfig(measurements=False),
        ConditionConfig(label=False, measurements=False),
        ConditionConfig(measurements=False, mask=True),
        ConditionConfig(measurements=False, mask=True, skin=True),
    ],
)
def test_every_ablation_trains_on_the_same_batches(condition, tmp_path):
    module = tiny_module(SIZES, condition)
    batches = [image_batch()]
    trainer, losses = fit(module, batches, tmp_path, 2, val=batches)
    assert all(parameter.grad is None or parameter.isfinite().all() for parameter in module.net.parameters())
    assert ("val/loss_without_measurements" in trainer.callback_metrics) is condition.measurements
    assert ("train/label_dropped" in losses[-1]) is condition.label


def test_tokens_without_those_of_skin_are_no_batch_for_a_net_that_looks_at_it():
    module, batch = tiny_module(SIZES, EVERYTHING), image_batch()
    tokens = replace(to_tokens(batch, tiny_tokenizer()), skin_ids_BL=None)
    with pytest.raises(ValueError, match="skin_ids_BL"):
        module.full_condition(tokens)
    assert tiny_module().full_condition(tokens).skin_BChw is None


def test_bfloat16_trains_on_the_same_tokens(tmp_path):
    batches = [image_batch()]
    exact, mixed = tiny_module(), tiny_module()
    _, losses = fit(exact, batches, tmp_path, 1)
    _, rounded = fit(mixed, batches, tmp_path, 1, precision="bf16-mixed")
    assert rounded[0]["train/loss"] != losses[0]["train/loss"]
    assert rounded[0]["train/loss"] == pytest.approx(losses[0]["train/loss"], rel=1e-2)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(mixed.token_ids(batches[0]), exact.token_ids(batches[0]))
