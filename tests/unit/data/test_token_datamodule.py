"""What the transformer trains on is the same with and without a cache."""

from dataclasses import replace

import pytest
import torch
from measured_phantom import measure_copy, tiny_tokenizer

from lfvar.data.loading import LoaderConfig
from lfvar.data.manifest import Manifest
from lfvar.data.token_cache import TokenCache, TokenizerIdentity
from lfvar.data.token_datamodule import TokenDataModule
from lfvar.data.token_writer import write_token_cache
from lfvar.errors import ConfigError
from lfvar.sampling.filling import without_lesion
from lfvar.scales import ScaleSchedule
from lfvar.types import Batch, TokenBatch


@pytest.fixture(scope="module")
def folder(phantom_folder, tmp_path_factory):
    return measure_copy(phantom_folder, tmp_path_factory.mktemp("measured") / "phantom")


@pytest.fixture(scope="module")
def manifest(folder):
    return Manifest.read(folder)


@pytest.fixture(scope="module")
def tokenizer(folder):
    return tiny_tokenizer(folder)


@pytest.fixture(scope="module")
def cache(folder, manifest, tokenizer, tmp_path_factory):
    place, identity = tmp_path_factory.mktemp("tokens"), TokenizerIdentity.of(tokenizer)
    write_token_cache(place, folder, manifest, identity, tokenizer.encode_ids, without_lesion, command="remake")
    return TokenCache.open(place, manifest, identity)


def module(folder, manifest, cache, **options):
    options = {"num_workers": 0, "augment": "symmetries", "measurements": True, "batch_size": 8, **options}
    return TokenDataModule(folder, manifest, LoaderConfig(**options), cache)


def take(data, count):
    out = []
    loader = data.train_dataloader()
    while len(out) < count:
        for batch in loader:
            out.append(batch)
            if len(out) == count:
                break
    return out


def assert_same(tokens, images, tokenizer):
    assert isinstance(tokens, TokenBatch)
    assert isinstance(images, Batch)
    for ours, fresh in zip(tokens.scale_ids(tokenizer.schedule), tokenizer.encode_ids(images.image_BCHW), strict=True):
        assert torch.equal(ours, fresh)
    bare_BCHW = without_lesion(images.image_BCHW, images.mask_B1HW)
    assert torch.equal(tokens.skin_ids_BL, torch.cat(tokenizer.encode_ids(bare_BCHW), dim=1))
    assert tokens.image_id == images.image_id
    assert torch.equal(tokens.mask_B1HW.float(), images.mask_B1HW)
    for name in ("label_B", "measurements_BM", "present_BM"):
        assert torch.equal(getattr(tokens, name), getattr(images, name)), name


@pytest.mark.parametrize(
    "options",
    [{}, {"balanced": True}, {"augment": "none"}, {"measurements": False}, {"overfit": 5}, {"features": ["shape"]}],
)
def test_with_and_without_cache_alike(folder, manifest, cache, tokenizer, options):
    cached, fresh = (module(folder, manifest, source, **options) for source in (cache, None))
    pairs = [*zip(take(cached, 9), take(fresh, 9), strict=True)]
    for loader in ("val_dataloader", "test_dataloader"):
        pairs += zip(getattr(cached, loader)(), getattr(fresh, loader)(), strict=True)
    for tokens, images in pairs:
        assert_same(tokens, images, tokenizer)
    assert cached.feature_names == fresh.feature_names
    assert cached.state_dict() == fresh.state_dict()


def test_all_eight_positions_are_drawn(folder, manifest, cache):
    data = module(folder, manifest, cache)
    drawn = [data.train_dataset.locate((0, place))[2] for place in range(400)]
    assert min(drawn.count(symmetry) for symmetry in range(8)) > 25
    data = module(folder, manifest, cache, augment="none")
    assert {data.train_dataset.locate((0, place))[2] for place in range(50)} == {0}


def test_entering_in_mid_pass(folder, manifest, cache):
    whole = take(module(folder, manifest, cache, balanced=True), 9)
    first = module(folder, manifest, cache, balanced=True)
    take(first, 4)
    resumed = module(folder, manifest, None, balanced=True)  # a run may go on without the cache
    resumed.load_state_dict(first.state_dict())
    for ours, there in zip(take(resumed, 5), whole[4:], strict=True):
        assert ours.image_id == there.image_id
        assert torch.equal(ours.measurements_BM, there.measurements_BM)
        assert torch.equal(ours.mask_B1HW > 0, there.mask_B1HW)


def test_loading_processes_change_nothing(folder, manifest, cache):
    (alone,) = take(module(folder, manifest, cache), 1)
    iterator = iter(module(folder, manifest, cache, num_workers=1).train_dataloader())
    helped = next(iterator)
    assert torch.equal(alone.ids_BL, helped.ids_BL)
    assert torch.equal(alone.mask_B1HW, helped.mask_B1HW)


def test_no_image_is_opened(folder, manifest, cache, tmp_path):
    data = TokenDataModule(tmp_path, manifest, LoaderConfig(augment="symmetries", num_workers=0), cache)
    batch = next(iter(data.train_dataloader()))
    assert batch.ids_BL.shape == (32, 21)
    assert batch.ids_BL.dtype == torch.int64
    assert batch.mask_B1HW.shape == (32, 1, 16, 16)
    assert batch.mask_B1HW.dtype == torch.bool
    assert len(batch) == 32


def test_what_does_not_fit_is_refused(folder, manifest, cache):
    with pytest.raises(ConfigError, match="crops"):
        TokenDataModule(folder, manifest, LoaderConfig(), cache)
    with pytest.raises(ValueError, match="another manifest"):
        module(folder, replace(manifest, rows=manifest.rows[1:]), cache, measurements=False)
    (batch,) = take(module(folder, manifest, cache), 1)
    with pytest.raises(ValueError, match="21 tokens"):
        batch.scale_ids(ScaleSchedule((1, 2)))
