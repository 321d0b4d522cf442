import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tests.var_examples import SIZES, tiny_tokenizer

from lfvar.data.token_cache import TokenizerIdentity
from lfvar.errors import ArtefactError, ConfigError, DataError
from lfvar.interop.checkpoints import describe_checkpoint
from lfvar.interop.tokenizers import hash_file
from lfvar.measure.extract import measure
from lfvar.measure.profiles import Profiles
from lfvar.measure.schema import feature
from lfvar.measure.standardise import Standardiser
from lfvar.nn.conditioning import Region
from lfvar.nn.var import VAR
from lfvar.sampling.editing import Job
from lfvar.sampling.guidance import Guidance
from lfvar.synthesizer import Synthesizer

NAMES = ("shape_elongation", "clinical_colour_lightness", "clinical_relative_area", "clinical_centroid_x")
CLASSES = ("mel", "nv", "df")


def training_table(rows=60):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "shape_elongation": rng.uniform(0.4, 1, rows),
            "clinical_colour_lightness": rng.normal(50, 8, rows),
            "clinical_relative_area": rng.uniform(0.02, 0.5, rows),
            "clinical_centroid_x": rng.uniform(0.3, 0.7, rows),
        }
    )
    return table, [CLASSES[row % 3] for row in range(rows)]


def save_tokenizer(path):
    net = tiny_tokenizer().net
    state = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
    torch.save({"lfvar": describe_checkpoint("vqvae", net.config), "state_dict": state, "global_step": 1}, path)
    return net


def save_transformer(path, tokenizer_path, tokenizer, sizes, standardiser):
    torch.manual_seed(1)
    net = VAR(sizes)
    for tensor in net.parameters():
        torch.nn.init.normal_(tensor, std=0.15)
    about = describe_checkpoint("var", net.config) | {
        "classes": list(CLASSES),
        "feature_names": list(standardiser.names) if standardiser else [],
        "standardiser": standardiser.to_dict() if standardiser else None,
        "tokenizer": {
            "file": str(tokenizer_path),
            "sha256": hash_file(tokenizer_path),
            "weights": "last",
            "hash": TokenizerIdentity.of(tokenizer).hash,
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"lfvar": about, "state_dict": {f"net.{name}": t for name, t in net.state_dict().items()}}, path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthesizer")
    table, _ = training_table()
    standardiser = Standardiser.fit(table, [feature(name) for name in NAMES])
    tokenizer = save_tokenizer(folder / "tokenizer.ckpt")
    sizes = replace(SIZES, mask_aware=True)
    save_transformer(folder / "run/checkpoints/last.ckpt", folder / "tokenizer.ckpt", tokenizer, sizes, standardiser)
    bare = replace(SIZES, num_classes=0, num_measurements=0)
    save_transformer(folder / "bare.ckpt", folder / "tokenizer.ckpt", tokenizer, bare, None)
    return folder


@pytest.fixture(scope="module")
def profiles():
    table, labels = training_table()
    return Profiles.fit(table, labels, NAMES, classes=CLASSES)


@pytest.fixture(scope="module")
def synthesizer(files, profiles):
    return Synthesizer.from_run(files / "run", profiles=profiles, device="cpu")


def picture(seed=0, height=16, width=16):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def box(top, left, side=6, shape=(16, 16)):
    mask = np.zeros(shape, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_a_run_says_what_it_can_do(synthesizer, files):
    assert synthesizer.image_size == 16
    assert synthesizer.classes == CLASSES
    assert synthesizer.feature_names == NAMES
    assert synthesizer.hashes == {
        "transformer": hash_file(files / "run/checkpoints/last.ckpt"),
        "tokenizer": hash_file(files / "tokenizer.ckpt"),
    }


def test_results_come_in_order_and_do_not_depend_on_batches(synthesizer):
    jobs = [Job(seed, CLASSES[seed % 3], image_HWC=picture(seed // 2), mask_HW=box(seed, 3)) for seed in range(5)]
    jobs += [Job(9), Job(10, "mel", {"clinical_colour_lightness": 40.0}, mask_HW=box(2, 2))]
    settings = {"guidance": Guidance(1.0, 2.0)}
    whole = list(synthesizer.run(jobs, batch_size=7, **settings))
    for size in (1, 3):
        for one, other in zip(whole, synthesizer.run(jobs, batch_size=size, **settings), strict=True):
            assert np.array_equal(one.ids_L, other.ids_L)
            assert np.array_equal(one.image_HWC, other.image_HWC)
    backwards = list(synthesizer.run(jobs[::-1], batch_size=4, **settings))[::-1]
    assert all(np.array_equal(a.image_HWC, b.image_HWC) for a, b in zip(whole, backwards, strict=True))
    assert list(synthesizer.run([])) == []


def test_measurements_are_told_as_trained_and_those_of_the_mask_follow_it(synthesizer):
    mask = box(2, 1, 6)
    stated = {"clinical_colour_lightness": 45.0, "clinical_relative_area": 0.3}
    condition = synthesizer.asking.condition(
        [Job(0, "nv", stated, mask_HW=mask), Job(1), Job(2, "df", {"clinical_relative_area": 0.1})]
    )
    assert condition.label_B.tolist() == [1, 3, 2]
    assert condition.present_BM.tolist() == [[True] * 4, [False] * 4, [False, False, True, False]]
    told = synthesizer.standardiser.inverse(condition.measurements_BM.numpy(), condition.present_BM.numpy())
    truth = measure(picture(), mask).as_dict()
    assert told.loc[0, "shape_elongation"] == pytest.approx(truth["shape_elongation"], rel=1e-4)
    assert told.loc[0, "clinical_centroid_x"] == pytest.approx(4 / 16, rel=1e-4)
    assert told.loc[0, "clinical_relative_area"] == pytest.approx(0.3, rel=1e-4)  # stated: stands
    assert told.loc[0, "clinical_colour_lightness"] == pytest.approx(45, rel=1e-4)
    assert condition.region_BL[1].tolist() == [int(Region.UNKNOWN)] * 21
    finest = condition.region_BL[0, 5:].view(4, 4)
    assert (finest == int(Region.INSIDE)).nonzero().tolist() == [[y, x] for y in (0, 1) for x in (0, 1)]


def test_conditions_reach_the_net(synthesizer):
    base = Job(0, "mel", {"clinical_colour_lightness": 40.0}, mask_HW=box(2, 2))
    variants = [
        base,
        replace(base, label="nv"),
        replace(base, label=None),
        replace(base, measurements={"clinical_colour_lightness": 60.0}),
        replace(base, measurements={}),
        replace(base, mask_HW=box(8, 8)),
    ]
    jobs = [replace(job, seed=seed) for job in variants for seed in range(6)]
    results = list(synthesizer.run(jobs, guidance=Guidance(3.0, ramp="constant"), batch_size=36))
    ids = [tuple(np.concatenate([r.ids_L for r in results[first : first + 6]])) for first in range(0, 36, 6)]
    assert len(set(ids)) == len(variants)


def test_two_lines_of_a_notebook(synthesizer):
    image, mask = picture(3, 40, 60), box(12, 20, 14, (40, 60))
    images = synthesizer.edit(
        image, mask, type="mel", measurements={"clinical_colour_lightness": "high"}, seeds=range(3)
    )
    assert images.shape == (3, 40, 60, 3)
    assert all(np.array_equal(edited[~mask], image[~mask]) for edited in images)
    assert all((edited != image)[mask].mean() > 0.5 for edited in images)
    assert not np.array_equal(images[0], images[1])
    square = synthesizer.edit(picture(), box(4, 4).astype(np.uint8) * 255, seeds=[5])
    assert np.array_equal(square[0][~box(4, 4)], picture()[~box(4, 4)])
    assert synthesizer.synthesize("df", mask=box(5, 5), seeds=[1, 2]).shape == (2, 16, 16, 3)


def test_words_are_quantiles_of_the_type(synthesizer, profiles):
    number = float(profiles.quantile("mel", 0.95)["clinical_colour_lightness"])
    word = synthesizer.synthesize("mel", measurements={"clinical_colour_lightness": "very high"})
    assert np.array_equal(word, synthesizer.synthesize("mel", measurements={"clinical_colour_lightness": number}))
    with pytest.raises(ConfigError, match="no word for an amount"):
        synthesizer.synthesize("mel", measurements={"clinical_colour_lightness": "huge"})
    with pytest.raises(ConfigError, match="needs a type"):
        synthesizer.synthesize(measurements={"clinical_colour_lightness": "high"})
    with pytest.raises(ConfigError, match="needs profiles"):
        replace(synthesizer, profiles=None).synthesize("mel", measurements={"clinical_colour_lightness": "high"})


def test_the_rest_goes_with_what_is_stated_and_with_the_mask(synthesizer, profiles):
    ask = synthesizer._resolve
    disc = np.hypot(*(np.indices((16, 16)) - 8)) < 4
    stated = {"clinical_colour_lightness": 30.0}
    assert ask(stated, "mel", "none", disc, [0, 1]) == [stated, stated]
    usual = ask(stated, "mel", "expected", None, [0, 1])
    assert usual[0] == usual[1]
    assert set(usual[0]) == set(NAMES)
    assert usual[0] | stated == usual[0]
    assert ask(stated, "mel", "expected", disc, [0])[0] == stated  # the mask decides all others
    first, second = ask(stated, "mel", "sampled", None, [0, 1])
    assert first != second
    assert ask(stated, "mel", "sampled", None, [1]) == [second]
    free = synthesizer.synthesize("mel", seeds=[0])
    assert not np.array_equal(free, synthesizer.synthesize("mel", rest="expected", seeds=[0]))
    for wrong, message in (
        ({"rest": "usual"}, "rest='usual' is unknown"),
        ({"rest": "expected", "type": None}, "is of a type"),
    ):
        with pytest.raises(ConfigError, match=message):
            synthesizer.synthesize(**{"type": "mel"} | wrong)
    with pytest.raises(ConfigError, match="needs profiles"):
        replace(synthesizer, profiles=None).synthesize("mel", rest="sampled")


def test_wrong_requests_say_what_would_be_right(synthesizer):
    good, image = box(4, 4), picture()
    cases = [
        (Job(0, "melanoma"), ConfigError, "no lesion type 'melanoma'.*mel"),
        (Job(0, "mel", {"clinical_asymmetry": 1.0}), ConfigError, "did you mean clinical_asymmetry_shape_min"),
        (Job(0, "mel", {"histogram_mean": 1.0}), ConfigError, "trained on 4 others"),
        (Job(0, "mel", {"clinical_colour_lightness": float("nan")}), ConfigError, "is no number"),
        (Job(0, image_HWC=image, mask_HW=good[:8]), DataError, r"the mask is bool \(8, 16\), the model takes bool"),
        (Job(0, image_HWC=image, mask_HW=good.astype(np.uint8)), DataError, "the mask is uint8"),
        (Job(0, image_HWC=picture(0, 32, 32), mask_HW=good), DataError, "the image is uint8"),
        (Job(0, image_HWC=image / 255, mask_HW=good), DataError, "the image is float64"),
        (Job(0, image_HWC=image, mask_HW=np.zeros_like(good)), DataError, "the mask is empty"),
        (Job(0, mask_HW=np.zeros_like(good)), DataError, "the mask is empty"),
        (Job(0, image_HWC=image), DataError, "an image without a mask"),
        (Job(0, erase_HW=good), DataError, "erase_HW without an image"),
    ]
    for job, kind, message in cases:
        with pytest.raises(kind, match=message):
            synthesizer.run([Job(7), job])  # refused before anything is made
    with pytest.raises(ConfigError, match="batch_size=0"):
        synthesizer.run([Job(0)], batch_size=0)
    with pytest.raises(DataError, match="too small to be seen"):
        synthesizer.edit(picture(0, 400, 400), box(0, 0, 2, (400, 400)))
    with pytest.raises(ConfigError, match="clinical_relative_area follows from the mask"):
        synthesizer.edit(image, good, type="mel", measurements={"clinical_relative_area": "high"})
    with pytest.raises(DataError, match="they are uint8"):
        synthesizer.edit(image, good[:8])


def test_values_beyond_training_are_named_once_with_what_counts(synthesizer):
    far = Job(0, "mel", {"clinical_colour_lightness": 99.0})
    messages = synthesizer.check([far, replace(far, seed=1), Job(2, "nv", {"clinical_colour_lightness": 55.0})])
    assert len(messages) == 1
    counts = float(messages[0].rsplit(": ", 1)[1].split()[0])
    table, _ = training_table()
    values = table["clinical_colour_lightness"]
    assert counts == pytest.approx(values.mean() + 4 * values.std(ddof=0), rel=1e-3)
    with pytest.warns(UserWarning, match="beyond what training saw"):
        synthesizer.synthesize("mel", measurements={"clinical_colour_lightness": 99.0})


def test_a_run_finds_the_profiles_of_its_own_data(files, profiles, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(files / "run", folder)
    fitted = replace(profiles, made_from={"manifest_hash": "abc"})
    fitted.write(tmp_path / "profiles.parquet")
    card = {"data": {"manifest": "abc"}, "config": {"data": {"folder": str(tmp_path)}}}
    (folder / "run_card.json").write_text(json.dumps(card))
    found = Synthesizer.from_run(folder, device="cpu").profiles
    assert found is not None
    assert found.labels == CLASSES
    card["data"]["manifest"] = "prepared again since"
    (folder / "run_card.json").write_text(json.dumps(card))
    assert Synthesizer.from_run(folder, device="cpu").profiles is None
    assert Synthesizer.from_run(folder, device="cpu", profiles=tmp_path).profiles is not None


def test_a_net_without_conditions_says_so(files):
    bare = Synthesizer.from_run(files / "bare.ckpt", device="cpu")
    assert bare.feature_names == ()
    assert bare.check([Job(0, "mel", mask_HW=box(1, 1))]) == [
        "type 'mel' has no effect: the net was trained without types"
    ]
    with pytest.raises(ConfigError, match="learned to do without measurements"):
        bare.run([Job(0)], guidance=Guidance(1.0, 2.0))
    with pytest.raises(ConfigError, match="trained without measurements"):
        bare.check([Job(0, measurements={"clinical_colour_lightness": 50.0})])
    assert bare.edit(picture(), box(4, 4)).shape == (1, 16, 16, 3)


def test_files_that_do_not_belong_together(files, tmp_path):
    run = files / "run"
    other = tiny_tokenizer().net
    torch.nn.init.normal_(other.quantiser.codebook.weight)
    state = {f"net.{name}": tensor for name, tensor in other.state_dict().items()}
    torch.save({"lfvar": describe_checkpoint("vqvae", other.config), "state_dict": state}, tmp_path / "other.ckpt")
    with pytest.raises(ArtefactError, match="gives other tokens"):
        Synthesizer.from_run(run, tokenizer=tmp_path / "other.ckpt")
    with pytest.raises(ArtefactError, match="is not at"):
        Synthesizer.from_run(run, tokenizer=tmp_path / "gone.ckpt")
    with pytest.raises(ArtefactError, match="no checkpoint in"):
        Synthesizer.from_run(tmp_path)
    with pytest.raises(ArtefactError, match="holds a vqvae, not a transformer"):
        Synthesizer.from_run(files / "tokenizer.ckpt")
    (tmp_path / "cut.ckpt").write_bytes((run / "checkpoints/last.ckpt").read_bytes()[:1000])
    with pytest.raises(ArtefactError, match="cannot be read"):
        Synthesizer.from_run(tmp_path / "cut.ckpt")
    with pytest.raises(ConfigError, match="precision"):
        Synthesizer.from_run(run, precision="fp8")
    with pytest.raises(ConfigError, match="cannot be used"):
        Synthesizer.from_run(run, device="cuda:77" if torch.cuda.is_available() else "cuda")


def test_a_new_decoder_is_welcome(files, tmp_path):
    """No token depends on it, so a tokenizer whose decoder was fine-tuned still belongs to the transformer."""
    net = tiny_tokenizer().net
    torch.nn.init.normal_(net.decoder.conv_out.weight)
    state = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
    torch.save({"lfvar": describe_checkpoint("vqvae", net.config), "state_dict": state}, tmp_path / "tuned.ckpt")
    tuned = Synthesizer.from_run(files / "run", tokenizer=tmp_path / "tuned.ckpt", device="cpu")
    first = Synthesizer.from_run(files / "run", device="cpu")
    assert first.profiles is None  # nothing says where the data are
    one, other = (next(iter(s.run([Job(0)]))) for s in (tuned, first))
    assert np.array_equal(one.ids_L, other.ids_L)
    assert not np.array_equal(one.image_HWC, other.image_HWC)
