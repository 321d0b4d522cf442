import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from lfvar.callbacks.ema import EMA
from lfvar.callbacks.generation_metrics import GenerationMetrics
from lfvar.lit.var_config import ConditionConfig
from lfvar.metrics.batches import to_bytes
from lfvar.metrics.frechet import feature_distance
from lfvar.metrics.set_extractors import SetExtractor
from var_examples import SIZES, as_loader, image_batch, tiny_module, tiny_tokenizer, tiny_trainer, token_batch


def pooled(pixels):
    return np.concatenate([pixels.mean(axis=(1, 2)), pixels.std(axis=(1, 2))], axis=1).astype(float)


def metrics(**options):
    callback = GenerationMetrics(**{"num_samples": 12, "batch_size": 5, **options})
    callback._extractors = [SetExtractor("pooled", "0", None, pooled)]
    return callback


def lively():
    module = tiny_module(SIZES, ConditionConfig(mask=True))
    torch.manual_seed(3)
    for parameter in module.net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module


def batches(count=3):
    found = [image_batch(seed=seed) for seed in range(count)]
    for number, batch in enumerate(found):
        batch.image_id = [f"image_{number}_{row}" for row in range(len(batch))]
    return found


def validate(callback, folder, loader, module=None):
    trainer = tiny_trainer(4, folder, callbacks=[callback])
    trainer.validate(module or lively(), as_loader(loader), verbose=False)
    return {
        name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith(("val/fd", "val/kd"))
    }


def test_values_hang_on_ids_alone(tmp_path):
    expected = validate(metrics(), tmp_path, batches())
    assert set(expected) == {"val/fd_pooled", "val/kd_pooled"}
    assert expected["val/fd_pooled"] > 0
    order = list(reversed(batches()))
    assert validate(metrics(batch_size=3), tmp_path, order) == pytest.approx(expected, rel=1e-5)
    assert validate(metrics(seed=9), tmp_path, batches()) != pytest.approx(expected, rel=1e-5)
    assert validate(metrics(num_samples=7), tmp_path, batches()) != pytest.approx(expected, rel=1e-5)


def test_real_images_are_as_the_tokenizer_shows_them(tmp_path):
    callback, module = metrics(num_samples=100), lively()
    validate(callback, tmp_path, batches(1), module)
    (batch,) = batches(1)
    shown = module.tokenizer.decode_ids(module.tokenizer.encode_ids(batch.image_BCHW))
    expected = pooled(to_bytes(shown))
    for row, image_id in enumerate(batch.image_id):
        assert callback._real[image_id][1][0] == pytest.approx(expected[row])
    made = np.stack([vectors[0] for vectors in callback._generate(module, batch.image_id)])
    value = validate(metrics(num_samples=100), tmp_path, batches(1), module)["val/fd_pooled"]
    assert value == pytest.approx(feature_distance(made, expected), rel=1e-5)


def test_cached_tokens_give_the_same(tmp_path):
    module = lively()
    cached = [token_batch(batch, tiny_tokenizer()) for batch in batches()]
    assert validate(metrics(), tmp_path, cached, module) == pytest.approx(
        validate(metrics(), tmp_path, batches()), rel=1e-5
    )


def test_training_is_what_it_is_without(tmp_path):
    weights, seen = [], []
    for callbacks in ([], [EMA(0.5), metrics()]):
        module = tiny_module(SIZES, ConditionConfig())
        trainer = tiny_trainer(3, tmp_path, callbacks=callbacks, check_val_every_n_epoch=None, val_check_interval=1)
        if callbacks:
            generate = callbacks[1]._generate
            callbacks[1]._generate = lambda m, names, call=generate: (
                seen.append(m.net.head.weight.clone()),
                call(m, names),
            )[1]
        trainer.fit(module, as_loader(batches()), as_loader(batches()))
        weights.append(module.net.head.weight.clone())
        average = callbacks[0].average["head.weight"] if callbacks else None
    assert torch.equal(*weights)
    assert torch.equal(seen[-1], average)  # with the weights that are validated
    assert len(seen) == 3
    assert "val/fd_pooled" in trainer.callback_metrics


def test_every_so_many_steps(tmp_path):
    callback, steps = metrics(every_n_steps=3), []
    compute = callback.compute
    module = tiny_module(SIZES, ConditionConfig())
    trainer = tiny_trainer(5, tmp_path, callbacks=[callback], check_val_every_n_epoch=None, val_check_interval=1)
    callback.compute = lambda m: (steps.append(trainer.global_step), compute(m))[1]
    trainer.fit(module, as_loader(batches(5)), as_loader(batches()))
    assert steps == [1, 4, 5]


def test_two_processes_compute_what_one_does(tmp_path):
    expected = validate(metrics(), tmp_path, batches())
    mp.spawn(_rank, args=(str(tmp_path / "store"), str(tmp_path)), nprocs=2)
    for rank in range(2):
        found = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        assert found == pytest.approx({name.removeprefix("val/"): value for name, value in expected.items()}, rel=1e-5)


def _rank(rank, store, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    callback, module = metrics(), lively()

    class Running:
        sanity_checking, global_step, max_steps = False, 1, 1
        state = type("State", (), {"fn": None})()

    mine = (
        [batches()[0], batches()[rank + 1]] if rank == 0 else [batches()[0], batches()[2]]
    )  # the first one is padding
    callback.on_validation_epoch_start(Running(), module)
    for index, batch in enumerate(mine):
        callback.on_validation_batch_end(Running(), module, None, batch, index)
    torch.save(callback.compute(module), f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("change", [{"num_samples": 1}, {"batch_size": 0}, {"every_n_steps": -1}])
def test_a_wrong_callback_setting_is_named(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        GenerationMetrics(**change)
