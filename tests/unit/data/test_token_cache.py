"""Token ids on disk: what made them, the same as fresh ones, restartable."""

import copy
import json
import multiprocessing
import os
import pickle
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from measured_phantom import tiny_tokenizer

from lfvar.data.dataset import LesionDataset
from lfvar.data.imageio import read_image, read_mask
from lfvar.data.journal import Journal
from lfvar.data.manifest import Manifest
from lfvar.data.token_cache import TokenCache, TokenizerIdentity, cache_folder, cache_key
from lfvar.data.token_writer import write_token_cache
from lfvar.errors import ArtefactError, ConfigError, DataError
from lfvar.measure.symmetry import SYMMETRIES, move_image
from lfvar.nn.frozen import freeze
from lfvar.nn.resize import area_resize
from lfvar.sampling.filling import without_lesion

COMMAND = "python -m lfvar.prepare data=phantom stage=tokens ckpt=here.ckpt"
FILES = ["header.json", "ids.npy", "masks.npy", "skin.npy"]


@pytest.fixture(scope="module")
def manifest(phantom_folder):
    return Manifest.read(phantom_folder)


@pytest.fixture(scope="module")
def tokenizer(phantom_folder):
    return tiny_tokenizer(phantom_folder)


@pytest.fixture(scope="module")
def identity(tokenizer):
    return TokenizerIdentity.of(tokenizer)


@pytest.fixture(scope="module")
def made(phantom_folder, manifest, tokenizer, identity, tmp_path_factory):
    """The folder of a finished cache; nobody changes it."""
    folder = tmp_path_factory.mktemp("tokens") / "cache"
    write(folder, phantom_folder, manifest, identity, tokenizer.encode_ids)
    return folder


@pytest.fixture
def theirs(made, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(made, tmp_path / "copy")


def write(folder, prepared, manifest, identity, encode, **options):
    options = {"command": COMMAND, **options}
    return write_token_cache(folder, prepared, manifest, identity, encode, without_lesion, **options)


def of_pixels(views_BCHW):
    """A stand-in for a tokenizer with a schedule of (1, 2, 4): ids that depend on nothing but the image."""
    maps = [area_resize(views_BCHW.mean(1, keepdim=True), side).flatten(1) for side in (1, 2, 4)]
    return [((values + 1) * 23).long() for values in maps]


def test_cached_ids_are_those_of_each_moved_image(phantom_folder, manifest, tokenizer, identity, made):
    cache = TokenCache.open(made, manifest, identity, command=COMMAND)
    assert cache.ids.shape == (70, 8, 21)
    assert cache.ids.dtype == np.uint16
    for row in manifest.rows[::9]:
        image = read_image(phantom_folder / row.image)
        mask = read_mask(phantom_folder / row.mask)
        for symmetry, how in enumerate(SYMMETRIES):
            image_CHW = torch.from_numpy(move_image(image, *how)).permute(2, 0, 1).float() / 127.5 - 1
            fresh_L = torch.cat(tokenizer.encode_ids(image_CHW[None]), dim=1)[0]
            assert torch.equal(cache.get_ids(row.image_id, symmetry), fresh_L)
            mask_1HW = torch.from_numpy(move_image(mask, *how))[None]
            bare_L = torch.cat(tokenizer.encode_ids(without_lesion(image_CHW[None], mask_1HW[None])), dim=1)[0]
            assert torch.equal(cache.get_skin_ids(row.image_id, symmetry), bare_L)
            assert np.array_equal(cache.get_mask(row.image_id, symmetry)[0].numpy(), move_image(mask, *how))
    assert len(np.unique(cache.ids)) > 20  # a tokenizer that always says the same would prove nothing
    assert (cache.ids[:, 0] != cache.ids[:, 1]).any()
    assert (cache.ids != cache.skin).mean() > 0.2
    assert cache.get_ids(manifest.rows[0].image_id).dtype == torch.int64
    assert cache.get_mask(manifest.rows[0].image_id).dtype == torch.bool


def test_no_id_depends_on_the_batch_but_for_near_ties(phantom_folder, manifest, tokenizer):
    images = LesionDataset(phantom_folder, manifest.rows, manifest.header.classes, 16, augment="symmetries")
    views_BCHW = torch.stack([images[(place % 70, place)].image_CHW for place in range(96)])
    whole_BL = torch.cat(tokenizer.encode_ids(views_BCHW), dim=1)
    for size in (1, 7, 40):
        parts_BL = torch.cat([torch.cat(tokenizer.encode_ids(part), dim=1) for part in views_BCHW.split(size)])
        for image in (whole_BL != parts_BL).any(dim=1).nonzero().flatten().tolist():
            first = int((whole_BL[image] != parts_BL[image]).nonzero()[0])  # later tokens answer to this one
            gap = tie_gap(tokenizer, views_BCHW[image], first, int(whole_BL[image, first]), int(parts_BL[image, first]))
            assert gap < 1e-4, (image, first, gap)


def tie_gap(tokenizer, image_CHW, token, one, other):
    """How much nearer one code is than the other, relative to its distance, at a token of an image."""
    quantiser, schedule = tokenizer.quantiser, tokenizer.schedule
    k = next(k for k, part in enumerate(schedule.slices) if part.start <= token < part.stop)
    with torch.no_grad():
        residual_1Ckk = quantiser(tokenizer.encode(image_CHW[None])).residuals[k]
        z_C = residual_1Ckk.flatten(2)[0, :, token - schedule.slices[k].start] / quantiser.gain(k)
        distances = [(z_C - quantiser.codes()[code]).square().sum() for code in (one, other)]
    return float((distances[0] - distances[1]).abs() / distances[0])


def test_the_gap_between_codes_is_seen(phantom_folder, manifest, tokenizer):
    """The judge of near-ties above is no yes-man."""
    images = LesionDataset(phantom_folder, manifest.rows, manifest.header.classes, 16)
    ids_L = torch.cat(tokenizer.encode_ids(images[0].image_CHW[None]), dim=1)[0]
    gaps = [tie_gap(tokenizer, images[0].image_CHW, 9, int(ids_L[9]), code) for code in range(48)]
    assert sum(gap > 1e-2 for gap in gaps) > 40
    assert tie_gap(tokenizer, images[0].image_CHW, 9, int(ids_L[9]), int(ids_L[9])) == 0


def test_a_finished_cache_is_kept(phantom_folder, manifest, identity, made):
    before = {name: (made / name).stat().st_mtime_ns for name in FILES}
    assert sorted(path.name for path in made.iterdir()) == FILES
    report = write(made, phantom_folder, manifest, identity, must_not_run)
    assert (report.num_images, report.num_new) == (70, 0)
    assert {name: (made / name).stat().st_mtime_ns for name in FILES} == before


def must_not_run(views_BCHW):
    raise AssertionError("nothing is left to encode")


@pytest.mark.parametrize("after", [1, 3, 60])
def test_a_killed_run_goes_on(phantom_folder, manifest, identity, tmp_path, after):
    """Killed for good (SIGKILL) while it encodes: what it had noted is not encoded again, and nothing differs."""
    whole = tmp_path / "whole"
    write(whole, phantom_folder, manifest, identity, of_pixels)
    killed = tmp_path / "killed"
    arguments = (killed, phantom_folder, manifest, identity, after)
    process = multiprocessing.get_context("fork").Process(target=write_and_die, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with pytest.raises(ArtefactError, match="no token cache"):
        TokenCache.open(killed, manifest, identity)
    report = write(killed, phantom_folder, manifest, identity, of_pixels, batch_size=24)
    assert report.num_new == 70 - after
    for name in FILES:
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    assert sorted(path.name for path in killed.iterdir()) == FILES


def write_and_die(folder, prepared, manifest, identity, after):
    torch.set_num_threads(1)  # a fork has none of its parent's threads, and would wait for them
    calls = iter(range(2 * after))  # each batch of views is encoded as it is and without its lesions

    def encode(views_BCHW):
        if next(calls, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return of_pixels(views_BCHW)

    write(folder, prepared, manifest, identity, encode, batch_size=8)


def test_killed_while_arrays_are_put_in_place(phantom_folder, manifest, identity, made, theirs):
    with Journal(theirs / "journal.jsonl", cache_key(manifest, identity)) as journal:
        journal.append({"rows": list(range(70))})
    (theirs / "header.json").unlink()
    (theirs / "masks.npy").rename(theirs / "building-masks.npy")
    assert write(theirs, phantom_folder, manifest, identity, must_not_run).num_new == 0
    assert (theirs / "header.json").read_bytes() == (made / "header.json").read_bytes()


@pytest.mark.parametrize("moved", range(4))
def test_killed_while_new_arrays_take_the_place_of_older_ones(
    phantom_folder, manifest, identity, theirs, made, monkeypatch, moved
):
    """The cache of another order of images, made again in its folder: none of the older ids stay."""
    turned = replace(manifest, rows=manifest.rows[::-1])
    put = os.replace
    counted = iter(range(9))

    def killed(source, target):
        if "building-" in os.fspath(source) and next(counted) == moved:
            raise KeyboardInterrupt
        put(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        if moved < 3:
            with pytest.raises(KeyboardInterrupt):
                write(theirs, phantom_folder, turned, identity, must_not_run)
            assert not (theirs / "header.json").exists()
        else:
            write(theirs, phantom_folder, turned, identity, must_not_run)
    assert write(theirs, phantom_folder, turned, identity, must_not_run).num_new == 0
    old, new = TokenCache.open(made, manifest, identity), TokenCache.open(theirs, turned, identity)
    for row in (manifest.rows[0], manifest.rows[5]):
        assert torch.equal(old.get_ids(row.image_id, 3), new.get_ids(row.image_id, 3))
    for name in ("ids.npy", "skin.npy", "masks.npy"):
        assert np.array_equal(np.load(theirs / name), np.load(made / name)[::-1])


def test_lost_arrays_are_not_believed(phantom_folder, manifest, identity, tmp_path):
    """The journal survives, the arrays do not: everything is encoded again."""
    folder = tmp_path / "cache"
    folder.mkdir()
    with Journal(folder / "journal.jsonl", cache_key(manifest, identity)) as journal:
        journal.append({"rows": list(range(50))})
    assert write(folder, phantom_folder, manifest, identity, of_pixels).num_new == 70


def test_two_processes_do_not_write_one_cache(phantom_folder, manifest, identity, tmp_path):
    (tmp_path / "cache").mkdir()
    with (
        Journal(tmp_path / "cache" / "journal.jsonl", {}),
        pytest.raises(DataError, match="another process"),
    ):
        write(tmp_path / "cache", phantom_folder, manifest, identity, of_pixels)


def test_another_manifest_takes_over_what_is_unchanged(phantom_folder, manifest, tokenizer, identity, theirs):
    """Another split and one image less; then that image again."""
    swapped = {"train": "val", "val": "train", "test": "test"}
    rows = tuple(replace(row, split=swapped[row.split]) for row in manifest.rows)
    fewer = replace(manifest, rows=rows[:5] + rows[6:])
    with pytest.raises(ArtefactError, match="manifest_hash is") as caught:
        TokenCache.open(theirs, fewer, identity, command=COMMAND)
    assert COMMAND in caught.value.cure
    assert write(theirs, phantom_folder, fewer, identity, must_not_run).num_new == 0
    cache = TokenCache.open(theirs, fewer, identity)
    row = fewer.rows[30]
    moved = move_image(read_image(phantom_folder / row.image), *SYMMETRIES[6])
    image_CHW = torch.from_numpy(moved).permute(2, 0, 1).float() / 127.5 - 1
    assert torch.equal(cache.get_ids(row.image_id, 6), torch.cat(tokenizer.encode_ids(image_CHW[None]), 1)[0])
    assert write(theirs, phantom_folder, manifest, identity, tokenizer.encode_ids).num_new == 1


def test_every_mismatch_is_an_error_that_names_the_command(manifest, tokenizer, identity, made, tmp_path):
    other = copy.deepcopy(tokenizer)
    with torch.no_grad():
        other.encoder.conv_in.bias[0] += 1e-6
    cases = {
        "tokenizer_hash": TokenizerIdentity.of(other),
        "patch_nums": replace(identity, patch_nums=(1, 3, 4)),
        "vocab_size": replace(identity, vocab_size=64),
    }
    for name, wrong in cases.items():
        with pytest.raises(ArtefactError, match=f"{name} is") as caught:
            TokenCache.open(made, manifest, wrong, command="python the exact command")
        assert "python the exact command" in caught.value.cure
    with pytest.raises(ArtefactError, match="no token cache") as caught:
        TokenCache.open(tmp_path, manifest, identity, command=COMMAND)
    assert COMMAND in caught.value.cure
    with pytest.raises(ArtefactError) as caught:  # without being told, the header knows
        TokenCache.open(made, manifest, replace(identity, vocab_size=64))
    assert COMMAND in caught.value.cure


def spoil_byte(folder):
    with (folder / "ids.npy").open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)
        file.seek(1000)
        file.write(bytes([byte[0] ^ 1]))


def cut_short(folder):
    os.truncate(folder / "masks.npy", 400)


def lose(folder):
    (folder / "ids.npy").unlink()


def cut_header(folder):
    os.truncate(folder / "header.json", 100)


def other_symmetries(folder):
    header = json.loads((folder / "header.json").read_text())
    header["key"]["symmetries"].reverse()
    (folder / "header.json").write_text(json.dumps(header))


@pytest.mark.parametrize("spoil", [spoil_byte, cut_short, lose, cut_header, other_symmetries])
def test_damage_is_found_and_mended(phantom_folder, manifest, tokenizer, identity, made, theirs, spoil):
    spoil(theirs)
    with pytest.raises(ArtefactError) as caught:
        TokenCache.open(theirs, manifest, identity, command=COMMAND)
    assert COMMAND in caught.value.cure
    assert write(theirs, phantom_folder, manifest, identity, tokenizer.encode_ids).num_new == 70
    assert (theirs / "ids.npy").read_bytes() == (made / "ids.npy").read_bytes()


def test_the_identity_is_of_what_ids_depend_on(tokenizer, identity, tmp_path):
    same = copy.deepcopy(tokenizer)
    with torch.no_grad():
        same.decoder.conv_in.weight += 1  # the decoder fine-tuned
        same.from_latent.bias += 1
    assert TokenizerIdentity.of(same) == identity
    assert TokenizerIdentity.of(freeze(copy.deepcopy(tokenizer))) == identity
    for change in (
        lambda net: net.encoder.conv_in.weight,
        lambda net: net.to_latent.bias,
        lambda net: net.quantiser.codebook.weight,
        lambda net: net.quantiser.phi[0].bias,
    ):
        other = copy.deepcopy(tokenizer)
        with torch.no_grad():
            change(other).view(-1)[0] += 1e-3
        assert TokenizerIdentity.of(other).hash != identity.hash
    settings = copy.deepcopy(tokenizer)
    settings.config = replace(tokenizer.config, phi_ratio=0.25)
    assert TokenizerIdentity.of(settings).hash != identity.hash
    settings.config = replace(tokenizer.config, dropout=0.5)
    assert TokenizerIdentity.of(settings) == identity
    assert cache_folder(tmp_path, identity) == tmp_path / "tokens" / identity.hash[:16]


def test_a_changed_image_is_named_and_the_rest_kept(phantom_folder, manifest, identity, tmp_path):
    prepared = shutil.copytree(phantom_folder, tmp_path / "prepared")
    row = manifest.rows[20]
    shutil.copy(prepared / manifest.rows[21].image, prepared / row.image)
    with pytest.raises(ArtefactError, match=row.image_id) as caught:
        write(tmp_path / "cache", prepared, manifest, identity, of_pixels, batch_size=8)
    assert manifest.header.command in caught.value.cure
    shutil.copy(phantom_folder / row.image, prepared / row.image)
    assert write(tmp_path / "cache", prepared, manifest, identity, of_pixels).num_new == 50


def test_what_does_not_fit_is_refused(phantom_folder, manifest, identity, tmp_path):
    for wrong, words in (
        (replace(identity, image_size=32), "32 pixels"),
        (replace(identity, vocab_size=70000), "70000"),
    ):
        with pytest.raises(ConfigError, match=words):
            write(tmp_path / "cache", phantom_folder, manifest, wrong, of_pixels)
    with pytest.raises(ConfigError, match="batch_size=0"):
        write(tmp_path / "cache", phantom_folder, manifest, identity, of_pixels, batch_size=0)


def test_a_cache_goes_to_loading_processes_without_its_arrays(manifest, identity, made):
    cache = TokenCache.open(made, manifest, identity)
    data = pickle.dumps(cache)
    assert len(data) < (made / "ids.npy").stat().st_size + 8 * len(json.dumps(dict(cache.header)))
    image_id = manifest.rows[3].image_id
    assert torch.equal(pickle.loads(data).get_ids(image_id, 5), cache.get_ids(image_id, 5))
    assert "ids" not in cache.__getstate__()
