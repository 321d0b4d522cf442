"""`python -m lfvar.generate` as people type it, with random weights."""

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from tests.generation_examples import save_models
from tests.unit.data.measured_phantom import measure_copy
from tiny_settings import run_module

from lfvar.config import compose
from lfvar.data.generated import read_generated
from lfvar.data.imageio import read_image, read_mask
from lfvar.data.manifest import Manifest
from lfvar.data.sources.phantom import Phantom
from lfvar.errors import ArtefactError, ConfigError, DataError, LfvarError
from lfvar.generate import generate
from lfvar.sampling.composite import mask_in_original
from lfvar.sampling.prompt import PromptError

DATA = ["image_size=16", "data.source.num_images=70", "data.source.size=32", "data.split.val_fraction=0.3"]


@pytest.fixture(scope="module")
def place(phantom_folder, tmp_path_factory):
    """A measured phantom folder, and checkpoints for it."""
    folder = tmp_path_factory.mktemp("generate")
    measure_copy(phantom_folder, folder / "phantom")
    save_models(folder, folder / "phantom")
    return folder


@pytest.fixture
def run(place, tmp_path):
    """The command in this process."""

    def start(*overrides, output="out"):
        GlobalHydra.instance().clear()
        words = [*DATA, f"data.folder={place / 'phantom'}", f"ckpt={place / 'transformer.ckpt'}", "device=cpu"]
        words += [f"paths.runs={tmp_path / 'runs'}", f"output={tmp_path / output}"]
        return generate(compose("generate", [*words, *overrides]))

    return start


def contents(folder):
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".jsonl")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


EDITS = [
    ["mode=intra", "ask.num_samples=2"],
    ["mode=inter", "ask.types=[mel]"],
    ["mode=matrix", "sources.types=[mel,nv]", "ask.types=[bcc,df]"],
    ["mode=sweep", "sweep.feature=clinical_colour_lightness", "sweep.steps=3"],
    ["mode=sweep", "sweep.feature=clinical_relative_area", "sweep.values=[0.1,0.2]"],
    ["mode=balance", "balance.target=9", "ask.types=[df,vasc]"],
    ["mode=prompt", "prompt='a small pale nevus'", "edits=true"],
]


@pytest.mark.parametrize("overrides", EDITS, ids=lambda words: "-".join(words[:2]))
def test_every_mode_leaves_the_skin_alone(place, run, overrides):
    folder = run(*overrides, *([] if "mode=balance" in overrides else ["sources.count=2"]))
    real = {row.image_id: row for row in Manifest.read(place / "phantom").rows}
    rows = {row.image_id: row for row in Manifest.read(folder).rows}
    table = read_generated(folder)
    assert len(table) == len(rows) > 1
    for image_id, source_id in zip(table["image_id"], table["source_id"], strict=True):
        image, mask = read_image(folder / rows[image_id].image), read_mask(folder / rows[image_id].mask)
        source = read_image(place / "phantom" / real[source_id].image)
        kept = ~(mask | read_mask(place / "phantom" / real[source_id].mask))
        assert kept.any()
        assert np.array_equal(image[kept], source[kept])
        assert not np.array_equal(image[mask], source[mask])
    assert list((folder / "sheets").glob("*.png"))


def test_the_same_bytes_whatever_the_batch_and_a_dataset_in_the_end(run, tmp_path):
    words = ["mode=inter", "sources.count=2", "ask.types=[mel,nv]"]
    first = run(*words, output="first")
    second = run(*words, "batch_size=1", output="second")
    assert contents(first) == contents(second)
    GlobalHydra.instance().clear()
    cfg = compose("prepare", ["data=generated", f"data.root={first}", "image_size=16", "data.prepare.min_images=1"])
    from lfvar.config import build

    source = build(cfg.data.source)
    records = source.records()
    assert [record.label for record in records] == [row.label for row in Manifest.read(first).rows]
    assert np.array_equal(
        source.load(records[0]).image_HWC, read_image(first / "images" / f"{records[0].image_id}.png")
    )


@pytest.mark.parametrize("kind", ["source", "drawn"])
def test_edits_go_back_into_the_photograph(place, run, kind):
    folder = run("mode=intra", "sources.count=2", "ask.num_samples=1", "full=true", f"mask.kind={kind}")
    real = {row.image_id: row for row in Manifest.read(place / "phantom").rows}
    made = {row.image_id: row for row in Manifest.read(folder).rows}
    source = Phantom(num_images=70, size=32)
    records = {record.image_id: record for record in source.records()}
    for image_id, source_id in read_generated(folder)[["image_id", "source_id"]].itertuples(index=False):
        pair, frame = source.load(records[source_id]), real[source_id].frame
        full = read_image(folder / "full" / f"{image_id}.png")
        assert full.shape == pair.image_HWC.shape == (32, 32, 3)
        painted = pair.mask_HW
        if kind == "drawn":
            painted = painted | mask_in_original(read_mask(folder / made[image_id].mask), frame, 32, 32)
        assert np.array_equal(full[~painted], pair.image_HWC[~painted])
        assert (full != pair.image_HWC).any(axis=-1)[painted].mean() > 0.5


def test_whole_images_and_prompts_need_no_source(run, capsys):
    folder = run("mode=prompt", "prompt=['two images of a large, dark melanoma in the upper left','a pale nevus']")
    said = capsys.readouterr().out
    assert "melanoma" in said
    assert "clinical_colour_lightness" in said
    table = read_generated(folder)
    assert list(table["label"]) == ["mel"] * 2 + ["nv"] * 4
    assert table["prompt"].nunique() == 2
    prompts = table.attrs["header"]["prompts"]
    assert prompts[0]["position"] == [0.3, 0.3]
    whole = run("mode=whole", "ask.types=[df]", "ask.num_samples=2", output="whole")
    assert read_generated(whole)["source_id"].isna().all()


@pytest.mark.parametrize(
    ("overrides", "kind", "words"),
    [
        ([], ConfigError, "mode is not set"),
        (["mode=inner"], ConfigError, "mode=inner is unknown"),
        (["mode=intra", "ckpt=null"], ConfigError, "ckpt is not set"),
        (["mode=intra", "ckpt=nowhere.ckpt"], ArtefactError, "no checkpoint at nowhere.ckpt"),
        (["mode=intra", "tokenizer=nowhere.ckpt"], ArtefactError, "nowhere.ckpt"),
        (["mode=inter", "ask.types=[melanoma]"], ConfigError, "did you mean mel"),
        (["mode=sweep", "sweep.feature=clinical_color_lightness"], ConfigError, "clinical_colour_lightness"),
        (["mode=intra", "mask.kind=file", "mask.file=no.png"], DataError, "no.png"),
        (["mode=prompt", "prompt='a large small nevus'"], PromptError, "small"),
        (["mode=intra", "shard=5/4"], ConfigError, "shard=5/4"),
        (["mode=intra", "batch_size=0"], ConfigError, "batch_size=0"),
        (["mode=intra", "precision=16"], ConfigError, "precision=16"),
        (["mode=intra", "image_size=32"], ConfigError, "takes 16"),
        (["mode=whole", "full=true"], ConfigError, "mode=whole has none"),
        (["mode=intra", "segmenter=any.ckpt"], ConfigError, "lies in its mask"),
        (["mode=intra", "ask.set={clinical_relative_area: 40}"], ConfigError, "no lesion measures that"),
    ],
)
def test_nonsense_is_named_and_nothing_is_written(run, tmp_path, overrides, kind, words):
    with pytest.raises(kind) as caught:
        run(*overrides)
    assert isinstance(caught.value, LfvarError)
    assert words in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "runs").exists()


def test_stated_measurements_are_typed_as_documented(run):
    folder = run("mode=intra", "sources.count=1", "ask.set={clinical_colour_redness: high, histogram_mean: 90}")
    assert set(read_generated(folder)["asked_histogram_mean"]) == {90.0}


def test_check_says_what_would_happen(run, tmp_path, capsys):
    assert run("mode=matrix", "check=true") is None
    assert "mode=matrix" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_processes_and_shards_make_the_same_bytes(place, run, tmp_path):
    """Also that a run in a folder of its own ends with a run card."""
    what = ["mode=inter", "sources.count=3", "ask.types=[mel,nv,df]", "batch_size=2"]
    words = [*DATA, *what, f"data.folder={place / 'phantom'}", f"ckpt={place / 'transformer.ckpt'}", "device=cpu"]
    alone = run_module("lfvar.generate", *words, cwd=tmp_path, fresh=True)
    assert alone.returncode == 0, alone.stderr
    (card,) = tmp_path.rglob("run_card.json")
    two = run_module("lfvar.generate", *words, "processes=2", "output=two", cwd=tmp_path)
    assert two.returncode == 0, two.stderr
    expected = contents(tmp_path / "two")
    made = contents(card.parent)
    assert {name: made[name] for name in expected} == expected
    assert run(*what, "shard=1/2", output="parts") is None
    parts = contents(run(*what, "shard=2/2", output="parts"))
    assert {name for name in parts} == {name for name in expected}
    pictures = [name for name in expected if name.endswith(".png")]
    assert {name: parts[name] for name in pictures} == {name: expected[name] for name in pictures}


def test_another_seed_does_not_overwrite(run):
    folder = run("mode=intra", "sources.count=1", "ask.num_samples=1")
    assert Manifest.read(folder).header.settings["source"]["ask"]["set"] == {}  # as folders of 0.1.0 have it
    before = contents(folder)
    with pytest.raises(ArtefactError, match=r"source\.seed is 0 there and 1 here"):
        run("mode=intra", "sources.count=1", "ask.num_samples=1", "seed=1")
    assert contents(folder) == before
