"""Plans carried out: killed and continued, in shards, refused over other settings, and what is left behind."""

import errno
import shutil
from dataclasses import replace

import numpy as np
import pytest
from tests.generation_examples import Painter, make_planner

import lfvar
from lfvar.data.generated import read_generated
from lfvar.data.imageio import XMP, read_image, read_mask, read_png_text
from lfvar.data.journal import Journal
from lfvar.data.manifest import Manifest
from lfvar.data.provenance import read_provenance
from lfvar.errors import ArtefactError, DataError
from lfvar.generation.assembly import ANY, MAX_COLUMNS, assemble, write_sheets
from lfvar.generation.execution import carry_out, claim_folder, journal_file, read_items
from lfvar.generation.maker import Maker, Options
from lfvar.generation.modes import make_plan
from lfvar.generation.settings import AskConfig, MaskConfig, SourceConfig, SweepConfig
from lfvar.sampling.editing import EditConfig
from lfvar.sampling.filters import Filters
from lfvar.sampling.guidance import Guidance

SETTINGS = {"name": "generated", "source": {"kind": "generated", "seed": 0}}
HASHES = {"transformer": "a" * 64, "tokenizer": "b" * 64}
OPTIONS = Options(Guidance(), Filters(), EditConfig(), raw=True)


@pytest.fixture
def plan(pool):
    wish = {"sources": SourceConfig(count=3), "ask": AskConfig(types=("mel", "nv"), num_samples=2)}
    return make_plan(make_planner(pool, "inter", **wish), "x")


def run(folder, plan, pool, painter=None, settings=SETTINGS, batch_size=5, **options):
    painter = painter or Painter()
    claim_folder(folder, settings, raw=True, full=False)
    maker = Maker(painter, pool, OPTIONS, folder, hashes=HASHES)
    made = carry_out(plan, folder, settings, lambda number: maker, batch_size=batch_size, **options)
    items = read_items(folder, settings, plan)
    if len(items) == len(plan):
        header = {"command": "again", "settings": settings}
        assemble(folder, plan, items, pool, pool.classes, settings=settings, header=header, command="again")
        write_sheets(folder, plan, pool, HASHES)
    return made


def contents(folder):
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".jsonl")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_a_folder_is_a_dataset_that_says_how_it_was_made(plan, pool, tmp_path):
    assert run(tmp_path, plan, pool) == len(plan) == 12
    manifest, table = Manifest.read(tmp_path), read_generated(tmp_path)
    assert list(table["image_id"]) == [sample.image_id for sample in plan]
    assert table.attrs["header"]["settings"] == SETTINGS
    assert {row.split for row in manifest.rows} == {"train"}
    for sample, (_, row) in zip(plan, table.iterrows(), strict=True):
        made = next(r for r in manifest.rows if r.image_id == sample.image_id)
        source = pool.rows[sample.source_id]
        assert (row["source_id"], row["label"], row["seed"]) == (source.image_id, sample.label, sample.seed)
        assert row["asked_clinical_colour_lightness"] == sample.asked["clinical_colour_lightness"]
        assert np.isnan(row["asked_texture_glcm_contrast"])  # left free
        measured = pool.measured[source.image_id]
        assert row["asked_clinical_relative_area"] == measured["clinical_relative_area"]  # told by the mask
        assert made.lesion_id == (source.lesion_id or source.image_id)
        mask = read_mask(tmp_path / made.mask)
        assert np.array_equal(mask, pool.read_mask(source.image_id))
        image, original = read_image(tmp_path / made.image), pool.read_image(source.image_id)
        assert np.array_equal(image[~mask], original[~mask])
        assert not np.array_equal(image[mask], original[mask])
    assert (tmp_path / "sheets/types.png").is_file()
    assert len(list((tmp_path / "raw").glob("*.png"))) == 12


def test_a_killed_run_goes_on_and_makes_the_same_bytes(plan, pool, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(whole, plan, pool)
    with pytest.raises(KeyboardInterrupt):
        run(killed, plan, pool, Painter(fail_after=7))
    assert not (killed / "manifest.parquet").exists()
    assert run(killed, plan, pool) == 7  # the batch of 5 that was finished is not made again
    assert contents(killed) == contents(whole)
    assert run(killed, plan, pool) == 0


def test_what_is_lost_or_changed_is_made_again(plan, pool, tmp_path):
    run(tmp_path, plan, pool)
    before = contents(tmp_path)
    (tmp_path / "images" / f"{plan[0].image_id}.png").unlink()
    shutil.copy(tmp_path / "masks" / f"{plan[1].image_id}.png", tmp_path / "images" / f"{plan[11].image_id}.png")
    assert run(tmp_path, plan, pool) == 5 + 2  # the first batch of five and the last of two
    assert contents(tmp_path) == before


def test_what_a_killed_run_left_half_written_goes_when_nobody_else_writes(plan, pool, tmp_path):
    claim_folder(tmp_path, SETTINGS, raw=True, full=False)
    half = tmp_path / "images" / ".x.png.tmp-1"
    half.touch()
    with Journal(journal_file(tmp_path, (2, 3)), SETTINGS):
        run(tmp_path, plan, pool, shard=(1, 3))
        assert half.exists()
    run(tmp_path, plan, pool, shard=(3, 3))
    assert not half.exists()
    with Journal(journal_file(tmp_path, None), SETTINGS):
        half.touch()
        with pytest.raises(DataError, match="another process is writing"):
            run(tmp_path, plan, pool)
        assert half.exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EBADF])
def test_where_files_cannot_be_locked_nothing_half_written_goes(plan, pool, tmp_path, monkeypatch, number):
    def flock(file, how):
        raise OSError(number, "no locks here")

    monkeypatch.setattr("lfvar.data.journal.fcntl.flock", flock)
    run(tmp_path, plan, pool, shard=(1, 3))
    half = tmp_path / "images" / ".x.png.tmp-1"
    half.touch()
    run(tmp_path, plan, pool, shard=(2, 3))
    assert half.exists()


def test_shards_make_what_one_process_makes(plan, pool, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(whole, plan, pool)
    painters = [Painter() for _ in range(3)]
    for number in (2, 3, 1):
        run(parts, plan, pool, painters[number - 1], shard=(number, 3))
    assert [painter.painted.total() for painter in painters] == [4, 4, 4]
    assert contents(parts) == contents(whole)


def test_shards_of_different_batch_sizes_leave_no_holes(plan, pool, tmp_path):
    for number, size in ((1, 2), (2, 5), (3, 1)):
        run(tmp_path, plan, pool, shard=(number, 3), batch_size=size)
    assert (tmp_path / "manifest.parquet").exists()


def test_shards_keep_batches_whole_where_these_count(plan, pool, tmp_path):
    """12 samples in batches of 5 are three units for two shards: one has 5, the other 5 and 2."""
    painters = [Painter(), Painter()]
    for number, painter in enumerate(painters, 1):
        run(tmp_path, plan, pool, painter, shard=(number, 2), unit=5)
    assert [painter.painted.total() for painter in painters] == [5, 7]


def test_other_settings_never_overwrite(plan, pool, tmp_path):
    run(tmp_path, plan, pool)
    before = contents(tmp_path)
    other = {"name": "generated", "source": {"kind": "generated", "seed": 1}}
    with pytest.raises(ArtefactError) as caught:
        run(tmp_path, plan, pool, settings=other)
    assert "source.seed is 0 there and 1 here" in str(caught.value)
    assert "output=" in caught.value.cure
    assert contents(tmp_path) == before
    foreign = tmp_path / "foreign"
    (foreign / "images").mkdir(parents=True)
    (foreign / "images" / "holiday.jpg").touch()
    with pytest.raises(DataError, match="did not write"):
        run(foreign, plan, pool)


def test_a_job_that_cannot_be_done_stops_before_its_batch(plan, pool, tmp_path):
    class Refuses(Painter):
        def check(self, jobs):
            raise DataError("the mask is empty", cure="draw one")

    with pytest.raises(DataError, match="the mask is empty"):
        run(tmp_path, plan, pool, Refuses())
    assert not list((tmp_path / "images").iterdir())


def test_a_new_mask_takes_the_old_lesion_with_it(pool, tmp_path):
    wish = {"sources": SourceConfig(count=2), "ask": AskConfig(num_samples=1), "mask": MaskConfig(kind="bank")}
    plan = make_plan(make_planner(pool, "intra", **wish), "x")
    run(tmp_path, plan, pool)
    for sample in plan:
        image = read_image(tmp_path / "images" / f"{sample.image_id}.png")
        mask = read_mask(tmp_path / "masks" / f"{sample.image_id}.png")
        old, source = pool.read_mask(sample.source_id), pool.read_image(sample.source_id)
        assert np.array_equal(mask, pool.read_mask(sample.mask.image_id))
        assert np.array_equal(image[~(mask | old)], source[~(mask | old)])
        assert (image != source).any(axis=-1)[old & ~mask].mean() > 0.9


def test_a_sheet_shows_no_more_columns_than_fit(pool, tmp_path):
    wish = {"sources": SourceConfig(count=1), "ask": AskConfig(num_samples=MAX_COLUMNS + 3)}
    plan = make_plan(make_planner(pool, "intra", **wish), "x")
    run(tmp_path, plan, pool)
    few = tmp_path / "few"
    run(few, plan[:MAX_COLUMNS], pool)
    sheets = [read_image(folder / "sheets/samples.png") for folder in (tmp_path, few)]
    assert np.array_equal(*sheets)


def test_whole_images(pool, tmp_path):
    wish = {"ask": AskConfig(types=("mel",), num_samples=2, measurements="none"), "mask": MaskConfig(kind="none")}
    plan = make_plan(make_planner(pool, "whole", **wish), "x")
    plan[1] = replace(plan[1], label=None)
    run(tmp_path, plan, pool)
    manifest = Manifest.read(tmp_path)
    assert [row.label for row in manifest.rows] == ["mel", ANY]
    assert manifest.header.classes == (*pool.classes, ANY)
    assert all(row.lesion_fraction == 0 for row in manifest.rows)
    assert len({row.lesion_id for row in manifest.rows}) == 2
    assert read_generated(tmp_path)["source_id"].isna().all()


def test_a_segmenter_says_where_whole_lesions_lie(pool, tmp_path):
    plan = make_plan(make_planner(pool, "whole", ask=AskConfig(types=("mel",), num_samples=1)), "x")
    claim_folder(tmp_path, SETTINGS, raw=False, full=False)
    found = np.zeros((16, 16), bool)
    found[3:7, 2:9] = True
    options = replace(OPTIONS, raw=False)
    maker = Maker(Painter(), pool, options, tmp_path, find_lesion=lambda image_HWC: found)
    (item,) = maker.make([0], plan)
    assert np.array_equal(read_mask(tmp_path / "masks" / f"{plan[0].image_id}.png"), found)
    assert item["lesion_fraction"] == found.mean()


def test_sweeps_carry_captions_and_wanted_values(pool, tmp_path):
    sweep = SweepConfig("clinical_relative_area", values=(0.1, 0.2))
    plan = make_plan(make_planner(pool, "sweep", sources=SourceConfig(count=1), sweep=sweep), "x")
    run(tmp_path, plan, pool)
    assert list(read_generated(tmp_path)["asked_clinical_relative_area"]) == [0.1, 0.2]
    assert [sample.caption for sample in plan] == ["0.1", "0.2"]
    fractions = [row.lesion_fraction for row in Manifest.read(tmp_path).rows]
    assert fractions == [round(0.1 * 256) / 256, round(0.2 * 256) / 256]


def test_every_image_says_that_it_is_synthetic_and_how_it_was_made(plan, pool, tmp_path):
    run(tmp_path, plan, pool)
    for sample in plan:
        name = f"{sample.image_id}.png"
        facts = read_provenance(tmp_path / "images" / name)
        assert (facts["synthetic"], facts["not_for_diagnosis"]) == (True, True)
        assert (facts["seed"], facts["type"], facts["source"]) == (sample.seed, sample.label, sample.source_id)
        assert facts["hashes"] == HASHES
        assert facts["lfvar_version"] == lfvar.__version__
        assert set(facts["measurements"]) == {*sample.asked, *sample.wanted}
        text = read_png_text(tmp_path / "images" / name)
        assert "not for diagnosis" in text["Disclaimer"]
        assert text[XMP].count("compositeWithTrainedAlgorithmicMedia") == 1
        assert "digitalsourcetype/trainedAlgorithmicMedia" in read_png_text(tmp_path / "raw" / name)[XMP]
        assert read_provenance(tmp_path / "masks" / name) is None
    for sheet in (tmp_path / "sheets").iterdir():
        assert read_provenance(sheet)["hashes"] == HASHES
