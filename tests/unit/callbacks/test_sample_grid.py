from dataclasses import replace

import numpy as np
import pytest
import torch

from lfvar.callbacks.ema import EMA
from lfvar.callbacks.sample_grid import SampleGrid
from lfvar.data.imageio import read_image
from lfvar.figures.panels import GAP, HEADING
from lfvar.figures.samples import LABEL_WIDTH
from lfvar.lit.var_config import ConditionConfig
from lfvar.sampling.filters import Filters
from lfvar.sampling.guidance import Guidance
from var_examples import SIZES, Batches, image_batch, tiny_module, tiny_tokenizer, tiny_trainer, token_batch

PITCH = 128 + GAP


def lively(condition=None, **options):
    """A module whose conditions matter."""
    module = tiny_module(SIZES, condition or ConditionConfig(mask=True), **options)
    torch.manual_seed(3)
    for parameter in module.net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module


def grid(folder, **options):
    return SampleGrid(folder, num_samples=2, filters=Filters(), **options)


def validate(module, callback, folder, batches=None, examples=None):
    trainer = tiny_trainer(4, folder, callbacks=[callback])
    trainer.validate(module, datamodule=Batches(batches or [image_batch()], examples=examples), verbose=False)
    return read_image(callback.folder / "latest.png")


def tile(picture, row, column):
    top, left = HEADING + row * PITCH, LABEL_WIDTH + column * PITCH
    return picture[top : top + 128, left : left + 128]


def test_each_type_with_and_without_measurements(tmp_path):
    picture = validate(lively(), grid(tmp_path / "a"), tmp_path)
    assert picture.shape == (HEADING + 3 * PITCH - GAP, LABEL_WIDTH + 5 * PITCH - GAP, 3)
    tiles = [tile(picture, row, column).tobytes() for row in range(3) for column in range(5)]
    assert len(set(tiles)) == 15  # seeds, measurements and types all show
    again = validate(lively(), grid(tmp_path / "b", batch_size=5), tmp_path)
    assert np.array_equal(picture, again)
    assert not np.array_equal(picture, validate(lively(), grid(tmp_path / "c", seed=7), tmp_path))
    guided = grid(tmp_path / "d", guidance=Guidance(3.0))
    assert not np.array_equal(picture, validate(lively(), guided, tmp_path))


def test_cached_tokens_give_the_same_picture(tmp_path):
    batch = image_batch()
    picture = validate(lively(), grid(tmp_path / "a"), tmp_path, [batch])
    cached = validate(lively(), grid(tmp_path / "b"), tmp_path, [token_batch(batch, tiny_tokenizer())])
    assert np.array_equal(picture, cached)


def test_the_example_of_a_type_is_its_first_image(tmp_path):
    batches = [image_batch(seed=seed) for seed in range(2)]
    callback, module = grid(tmp_path / "a"), lively()
    validate(module, callback, tmp_path, batches)
    for label, held_out in callback.held_out.items():
        row = batches[0].label_B.tolist().index(label)
        assert torch.equal(held_out.condition.measurements_BM[0], batches[0].measurements_BM[row])
        assert np.array_equal(held_out.mask_HW, batches[0].mask_B1HW[row, 0].numpy() > 0)
        ids = module.tokenizer.encode_ids(batches[0].image_BCHW[row : row + 1])
        assert all(torch.equal(*pair) for pair in zip(held_out.ids, ids, strict=True))
    assert set(callback.held_out) == {0, 1, 2}


def test_a_process_that_validates_a_part_draws_the_examples_of_the_whole_split(tmp_path):
    whole, part = image_batch(), image_batch(seed=1)
    part.label_B = part.label_B.clamp(max=1)
    picture = validate(lively(), grid(tmp_path / "a"), tmp_path, [whole])
    assert np.array_equal(picture, validate(lively(), grid(tmp_path / "b"), tmp_path, [part], examples=[whole]))


def test_a_type_without_example_is_drawn_by_type_alone(tmp_path):
    batch = image_batch()
    batch.label_B = batch.label_B.clamp(max=1)
    picture = validate(lively(), grid(tmp_path / "a"), tmp_path, [batch])
    assert all(len(np.unique(tile(picture, 2, column))) == 1 for column in (0, 1, 2))
    assert all(len(np.unique(tile(picture, 2, column))) > 10 for column in (3, 4))


@pytest.mark.parametrize(
    ("condition", "kind", "columns"),
    [
        (ConditionConfig(measurements=False), "periodic", 3),
        (ConditionConfig(label=False), "piecewise", 5),
        (ConditionConfig(), "lfvar", 3),
    ],
)
def test_columns_are_what_the_net_can_do(tmp_path, condition, kind, columns):
    module = tiny_module(replace(SIZES, measurement_kind=kind), condition)
    picture = validate(module, grid(tmp_path / "a"), tmp_path)
    assert picture.shape[1] == LABEL_WIDTH + columns * PITCH - GAP


def test_when_it_draws_and_with_which_weights(tmp_path):
    callback, ema = grid(tmp_path / "a", every_n_steps=3), EMA(0.5)
    seen = []
    draw = callback.draw
    callback.draw = lambda module: (seen.append(module.net.head.weight.clone()), draw(module))[1]
    module = tiny_module(SIZES, ConditionConfig())
    trainer = tiny_trainer(
        5, tmp_path, callbacks=[ema, callback], check_val_every_n_epoch=None, val_check_interval=1,
        num_sanity_val_steps=1,
    )  # fmt: skip
    data = Batches([image_batch()], [image_batch(seed=seed) for seed in range(5)])
    trainer.fit(module, datamodule=data)
    trainer.validate(module, datamodule=data, verbose=False)
    pictures = sorted(path.name for path in callback.folder.iterdir())
    assert pictures == ["latest.png", "step_000001.png", "step_000004.png", "step_000005.png"]
    assert torch.equal(seen[-1], ema.average["head.weight"])
    assert not torch.equal(seen[-1], module.net.head.weight)


def test_drawing_changes_no_step(tmp_path):
    weights = []
    for callbacks in ([], [grid(tmp_path / "a")]):
        module = tiny_module(replace(SIZES, dropout=0.2), ConditionConfig())
        trainer = tiny_trainer(3, tmp_path, callbacks=callbacks, check_val_every_n_epoch=None, val_check_interval=1)
        trainer.fit(module, datamodule=Batches([image_batch()], [image_batch(seed=seed) for seed in range(3)]))
        weights.append(module.net.head.weight.clone())
    assert torch.equal(*weights)


@pytest.mark.parametrize("change", [{"num_samples": 0}, {"every_n_steps": -1}, {"batch_size": 0}])
def test_a_wrong_setting_is_named(change, tmp_path):
    with pytest.raises(ValueError, match=next(iter(change))):
        SampleGrid(tmp_path, **change)
