import csv
import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lfvar.data import files, imageio, pairs
from lfvar.data.execution import count_workers
from lfvar.data.journal import Journal
from lfvar.data.manifest import MANIFEST_FILE, Manifest
from lfvar.data.prepare import (
    JOURNAL_FILE,
    PrepareConfig,
    PrepareReport,
    check_prepared,
    prepare,
)
from lfvar.data.records import Pair, Record
from lfvar.data.screening import choose_stems
from lfvar.data.sources.folder import Folder
from lfvar.data.sources.ham10000 import HAM10000
from lfvar.data.splits import SplitConfig
from lfvar.errors import ArtefactError, ConfigError, DataError
from lfvar.progress import ProgressBar

COMMAND = "python -m lfvar.prepare data=ham10000"
FRACTIONS = SplitConfig()
SMALL = PrepareConfig(image_size=32, workers=1)


def run(source: object, folder: Path, config: PrepareConfig = SMALL, split: SplitConfig = FRACTIONS) -> PrepareReport:
    return prepare(source, "ham10000", config, split, folder, COMMAND)


def read_rejections(folder: Path) -> dict[str, str]:
    with (folder / "rejected.csv").open(newline="") as file:
        return {row["image_id"]: row["reason"] for row in csv.DictReader(file)}


def test_prepared_folder(make_ham, tmp_path):
    report = run(HAM10000(make_ham()), tmp_path / "out")
    manifest = Manifest.read(tmp_path / "out")
    assert (report.num_listed, report.num_prepared, report.num_new) == (28, 28, 28)
    assert report.manifest_hash == manifest.hash
    assert report.num_rejected == 0
    assert len(manifest.rows) == 28
    assert manifest.header.image_size == 32
    assert manifest.header.command == COMMAND
    for row in manifest.rows:
        data = (tmp_path / "out" / row.image).read_bytes()
        assert files.hash_bytes(data) == row.image_hash
        assert imageio.read_image(tmp_path / "out" / row.image).shape == (32, 32, 3)
        mask = imageio.read_mask(tmp_path / "out" / row.mask)
        assert mask.mean() == row.lesion_fraction
        assert (row.frame_width, row.frame_height) == (45, 45)
        assert row.lesion_in_view == 1
    # the brown disc of the image lies under the mask
    assert imageio.read_image(tmp_path / "out" / row.image)[mask].mean() < 100
    assert (tmp_path / "out/rejected.csv").read_text() == "image_id,reason,path\n"
    assert not (tmp_path / "out/factors.parquet").exists()
    assert "28 of 28 images prepared" in str(report)
    assert "akiec" in str(report)


def test_every_reason_for_rejection(make_ham, tmp_path):
    root = make_ham()
    images = {path.stem: path for path in root.glob("HAM10000_images_part_*/*.jpg")}
    masks = root / "HAM10000_segmentations_lesion_tschandl"
    ids = sorted(images)

    def mask(index: int) -> Path:
        return masks / f"{ids[index]}_segmentation.png"

    images[ids[0]].unlink()
    mask(1).unlink()
    images[ids[2]].write_bytes(images[ids[2]].read_bytes()[:-100])
    mask(3).write_bytes(b"no image")
    Image.new("L", (30, 22), 255).save(mask(4))
    Image.new("L", (60, 45), 0).save(mask(5))
    Image.new("L", (60, 45), 255).save(mask(6))
    speck = np.zeros((45, 60), dtype=np.uint8)
    speck[20, 30] = 255
    Image.fromarray(speck).save(mask(7))
    Image.fromarray((imageio.read_mask(mask(8)) * 253).astype(np.uint8)).save(mask(8))  # fine, despite 253
    table = root / "HAM10000_metadata.csv"
    rows = table.read_text().splitlines()
    rows[10] = rows[10].replace(",bkl,", ",scc,").replace(",bcc,", ",scc,")
    rows.append(rows[11])  # ids[10] word for word again
    rows.append(rows[12].replace(",bkl,", ",nv,").replace(",bcc,", ",nv,"))  # ids[11] with another type
    rows.append("HAM_9,,nv,histo")
    table.write_text("\n".join(rows) + "\n")

    report = run(HAM10000(root), tmp_path / "out")
    expected = {
        ids[0]: "missing image: looked for HAM10000_images_part_1/",
        ids[1]: "missing mask: looked for HAM10000_segmentations_lesion_tschandl/",
        ids[2]: f"undecodable image: {ids[2]}.jpg: ",
        ids[3]: f"undecodable mask: {ids[3]}_segmentation.png: not an image file",
        ids[4]: "size mismatch: image 60×45, mask 30×22",
        ids[5]: "empty mask: no lesion pixel",
        ids[6]: "full mask: no skin pixel",
        ids[7]: "empty mask: lesion on ",
        ids[9]: "unknown type: 'scc' is none of akiec, bcc",
        ids[10]: "duplicate id: repeats an earlier row",
        ids[11]: "duplicate id: 2 rows that differ",
        "": "missing id",
    }
    found = read_rejections(tmp_path / "out")
    assert found.keys() == expected.keys()
    for image_id, reason in expected.items():
        assert found[image_id].startswith(reason), image_id
    prepared = {row.image_id for row in Manifest.read(tmp_path / "out").rows}
    assert prepared == set(ids) - (expected.keys() - {ids[10]})
    assert report.num_rejected == 13
    assert report.rejected["duplicate id"] == 3
    assert report.rejected["empty mask"] == 2
    assert "rejected: 3 duplicate id" in str(report)


def test_lesion_outside_the_centre_is_rejected(make_folder, tmp_path):
    root = make_folder()
    mask = np.zeros((45, 60), dtype=np.uint8)
    mask[10:20, :6] = 255
    Image.fromarray(mask).save(root / "masks/im3.png")
    run(Folder(root), tmp_path / "lesion")
    assert read_rejections(tmp_path / "lesion") == {}
    run(Folder(root), tmp_path / "centre", PrepareConfig(image_size=32, framing="centre", workers=1))
    assert read_rejections(tmp_path / "centre")["im3"].startswith("out of view")


def test_workers_make_no_difference(make_ham, tmp_path):
    source = HAM10000(make_ham(lesions=4))
    run(source, tmp_path / "one")
    run(source, tmp_path / "two", PrepareConfig(image_size=32, workers=2))
    assert (tmp_path / "one" / MANIFEST_FILE).read_bytes() == (tmp_path / "two" / MANIFEST_FILE).read_bytes()


SLOW_RUN = """
import sys, time
from pathlib import Path
import lfvar.data.sources.ham10000 as ham
from lfvar.data.prepare import PrepareConfig, prepare
from lfvar.data.splits import SplitConfig

class HAM10000(ham.HAM10000):
    def load(self, record):
        time.sleep(0.03)
        return super().load(record)

if __name__ == "__main__":
    root, folder, workers, command = sys.argv[1:]
    config = PrepareConfig(image_size=32, workers=int(workers))
    prepare(HAM10000(root), "ham10000", config, SplitConfig(), Path(folder), command)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_run_continues_and_loses_nothing(make_ham, tmp_path, workers):
    source = HAM10000(make_ham(lesions=9))
    run(source, tmp_path / "undisturbed")
    script, folder = tmp_path / "slow.py", tmp_path / "killed"
    script.write_text(SLOW_RUN)
    arguments = [sys.executable, str(script), str(source.root), str(folder), str(workers), COMMAND]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    journal = folder / JOURNAL_FILE
    deadline = time.monotonic() + 60
    while not journal.exists() or journal.read_bytes().count(b"\n") < 20:
        assert process.poll() is None, "ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=15)  # returns when the last worker is gone too
    finished = journal.read_bytes().count(b"\n") - 1
    assert 19 <= finished < 70
    assert not (folder / MANIFEST_FILE).exists()
    assert check_prepared(source, "ham10000", SMALL, SplitConfig(), folder) is None

    report = run(source, folder)
    assert report.num_new == 70 - finished
    assert (folder / MANIFEST_FILE).read_bytes() == (tmp_path / "undisturbed" / MANIFEST_FILE).read_bytes()
    for row in Manifest.read(folder).rows:
        assert files.hash_bytes((folder / row.image).read_bytes()) == row.image_hash
        assert files.hash_bytes((folder / row.mask).read_bytes()) == row.mask_hash


def test_journal_cut_in_mid_line(make_ham, tmp_path):
    source, folder = HAM10000(make_ham()), tmp_path / "out"
    run(source, folder)
    before = (folder / MANIFEST_FILE).read_bytes()
    journal = folder / JOURNAL_FILE
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:10]) + lines[10][:57])
    (folder / "images/.x.png.tmp-1").write_bytes(b"half")
    report = run(source, folder)
    assert report.num_new == 28 - 9
    assert (folder / MANIFEST_FILE).read_bytes() == before
    assert len(journal.read_bytes().splitlines()) == 29
    assert not list(folder.glob("images/.*"))
    assert run(source, folder).num_new == 0  # the first line after the cut is whole too


def test_second_run_opens_only_what_changed(make_ham, tmp_path):
    root, folder = make_ham(), tmp_path / "out"
    source = HAM10000(root)
    first = run(source, folder)
    assert run(source, folder).num_new == 0
    masks = sorted((root / "HAM10000_segmentations_lesion_tschandl").iterdir())
    Image.new("L", (60, 45), 0).save(masks[0])  # the source changed
    (folder / "images/ISIC_0000005.png").unlink()  # so did what we made
    (folder / "masks/ISIC_0000006.png").write_bytes(b"damaged")
    report = run(source, folder)
    assert report.num_new == 3
    assert report.rejected == {"empty mask": 1}
    assert Manifest.read(folder).hash == report.manifest_hash != first.manifest_hash
    assert imageio.read_mask(folder / "masks/ISIC_0000006.png").any()


def test_corrected_labels_need_no_new_pixels(make_ham, tmp_path):
    root, folder = make_ham(), tmp_path / "out"
    run(HAM10000(root), folder)
    table = root / "HAM10000_metadata.csv"
    table.write_text(table.read_text().replace("HAM_0000000,ISIC_0000000,akiec", "HAM_0000000,ISIC_0000000,bcc"))
    with pytest.raises(ArtefactError, match="list of images of 'ham10000' has changed"):
        check_prepared(HAM10000(root), "ham10000", SMALL, SplitConfig(), folder, COMMAND)
    assert run(HAM10000(root), folder).num_new == 0
    assert Manifest.read(folder).rows[0].label == "bcc"


def test_changed_settings_are_an_error_with_two_ways_out(make_ham, tmp_path):
    source, folder = HAM10000(make_ham()), tmp_path / "out"
    run(source, folder)
    before = (folder / MANIFEST_FILE).read_bytes()
    other = PrepareConfig(image_size=48, workers=1)
    with pytest.raises(ArtefactError) as caught:
        run(source, folder, other)
    assert "prepare.image_size is 32 there and 48 here" in caught.value.message
    assert "another folder" in caught.value.cure
    assert "overwrite=true" in caught.value.cure
    with pytest.raises(ArtefactError, match=r"prepare.image_size is 32 there and 48 here"):
        check_prepared(source, "ham10000", other, SplitConfig(), folder, COMMAND)
    assert (folder / MANIFEST_FILE).read_bytes() == before

    report = run(source, folder, PrepareConfig(image_size=48, workers=1, overwrite=True))
    assert report.num_new == 28
    assert Manifest.read(folder).header.image_size == 48


def test_settings_are_compared_after_a_kill_too(make_ham, tmp_path):
    source, folder = HAM10000(make_ham()), tmp_path / "out"
    run(source, folder)
    (folder / MANIFEST_FILE).unlink()
    with pytest.raises(ArtefactError, match=r"prepare\.framing"):
        run(source, folder, PrepareConfig(image_size=32, framing="squash", workers=1))


def test_another_split_keeps_the_images(make_ham, tmp_path):
    source, folder = HAM10000(make_ham()), tmp_path / "out"
    run(source, folder)
    with pytest.raises(ArtefactError, match=r"split\.seed is 0 there and 1 here"):
        run(source, folder, split=SplitConfig(seed=1))
    report = run(source, folder, PrepareConfig(image_size=32, workers=1, overwrite=True), SplitConfig(seed=1))
    assert report.num_new == 0


def test_all_folds_come_from_one_folder(make_ham, tmp_path):
    source, folder = HAM10000(make_ham()), tmp_path / "out"
    run(source, folder, split=SplitConfig(num_folds=3))
    tested = Counter()
    for fold in range(3):
        manifest = check_prepared(source, "ham10000", SMALL, SplitConfig(num_folds=3, fold=fold), folder)
        tested.update(row.image_id for row in manifest.select("test"))
        places = {(row.lesion_id, row.split) for row in manifest.rows}
        assert len(places) == 21
    assert tested == Counter(row.image_id for row in manifest.rows)


def test_check_prepared(make_ham, tmp_path):
    source, folder = HAM10000(make_ham()), tmp_path / "out"
    assert check_prepared(source, "ham10000", SMALL, SplitConfig(), folder) is None
    report = run(source, folder)
    assert check_prepared(source, "ham10000", SMALL, SplitConfig(), folder).hash == report.manifest_hash
    source.root.rename(tmp_path / "archived")  # the originals may be gone
    assert check_prepared(source, "ham10000", SMALL, SplitConfig(), folder).hash == report.manifest_hash
    (folder / "masks/ISIC_0000006.png").unlink()
    with pytest.raises(ArtefactError, match=r"(?s)ISIC_0000006.png' is missing.*" + COMMAND):
        check_prepared(source, "ham10000", SMALL, SplitConfig(), folder, COMMAND)


def test_nothing_or_too_little_left(make_ham, tmp_path):
    root = make_ham()
    with pytest.raises(DataError, match="only 28 of 28 images can be used, fewer than min_images=100"):
        run(HAM10000(root), tmp_path / "out", PrepareConfig(image_size=32, workers=1, min_images=100))
    masks = sorted((root / "HAM10000_segmentations_lesion_tschandl").iterdir())
    for path in masks[:16]:
        path.unlink()
    with pytest.raises(DataError, match=r"16 of 28 images were rejected.*max_rejected_fraction"):
        run(HAM10000(root), tmp_path / "out")
    for path in masks[16:]:
        path.write_bytes(b"")
    with pytest.raises(
        DataError, match=r"(?s)none of 28 images.*16 × missing mask; 12 × undecodable mask.*rejected.csv"
    ):
        run(HAM10000(root), tmp_path / "out")
    assert len(read_rejections(tmp_path / "out")) == 28
    assert not (tmp_path / "out" / MANIFEST_FILE).exists()
    (root / "HAM10000_metadata.csv").write_text("lesion_id,image_id,dx\n")
    with pytest.raises(DataError, match="lists no image"):
        run(HAM10000(root), tmp_path / "out")


def test_missing_type_is_a_warning(make_folder, tmp_path):
    report = run(Folder(make_folder(), classes=["a", "b", "c"]), tmp_path / "out")
    assert "type 'c' has no usable image: a model cannot learn it" in report.warnings
    assert "warning: type 'c'" in str(report)


def test_copies_across_splits_and_small_images_are_warnings(make_folder, tmp_path):
    root = make_folder()
    for index in range(1, 12):
        (root / f"images/im{index}.jpg").write_bytes((root / "images/im0.jpg").read_bytes())
    report = run(Folder(root), tmp_path / "out", PrepareConfig(image_size=64, workers=1))
    assert any("are copies of an image in another split" in warning for warning in report.warnings)
    assert "12 images are smaller than image_size=64 and were enlarged" in report.warnings


def test_full_disk_is_an_error_and_the_next_run_continues(make_ham, tmp_path, monkeypatch):
    source, folder = HAM10000(make_ham()), tmp_path / "out"
    write_png, written = pairs.write_png, []

    def fill_up(path: Path, pixels: np.ndarray) -> str:
        if len(written) >= 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        return write_png(path, pixels)

    monkeypatch.setattr(pairs, "write_png", fill_up)
    with pytest.raises(DataError, match=r"(?s)no room left.*finished images are kept"):
        run(source, folder)
    assert not (folder / MANIFEST_FILE).exists()
    monkeypatch.undo()
    assert run(source, folder).num_new == 28 - 10


def test_foreign_files_are_not_overwritten(make_folder, tmp_path):
    root = make_folder()
    before = (root / "images/im0.jpg").read_bytes()
    with pytest.raises(DataError, match="files that lfvar did not make"):
        run(Folder(root), root)
    assert (root / "images/im0.jpg").read_bytes() == before


def test_two_runs_in_one_folder(make_ham, tmp_path):
    source, folder = HAM10000(make_ham()), tmp_path / "out"
    run(source, folder)
    header = json.loads((folder / JOURNAL_FILE).read_text().splitlines()[0])
    with Journal(folder / JOURNAL_FILE, header), pytest.raises(DataError, match="another process"):
        run(source, folder)


class Generated:
    """A source without files."""

    classes = ("a", "b")

    def describe(self) -> dict[str, object]:
        return {"seed": 0}

    def records(self) -> list[Record]:
        return [Record(f"g{index}", self.classes[index % 2]) for index in range(12)]

    def load(self, record: Record) -> Pair:
        number = int(record.image_id[1:])
        mask = np.zeros((20, 20), dtype=bool)
        mask[5 : 8 + number % 5, 5:9] = True
        return Pair(np.full((20, 20, 3), number, dtype=np.uint8), mask, {"size": 3 + number % 5, "shade": number})


def test_generated_pairs_and_their_factors(tmp_path):
    folder = tmp_path / "out"
    report = run(Generated(), folder)
    factors = pd.read_parquet(folder / "factors.parquet")
    assert factors.columns.tolist() == ["image_id", "size", "shade"]
    assert factors.set_index("image_id").loc["g7", "size"] == 5
    before = {path.name: path.read_bytes() for path in folder.glob("*.parquet")}
    assert run(Generated(), folder).num_new == 0
    assert {path.name: path.read_bytes() for path in folder.glob("*.parquet")} == before
    assert len({row.source_image_hash for row in Manifest.read(folder).rows}) == report.num_prepared == 12


def test_sources_run_with_one_opencv_thread(tmp_path):
    class Threads(Generated):
        def load(self, record: Record) -> Pair:
            assert cv2.getNumThreads() == 1  # with more, phantoms differ by a grey level here and there
            return super().load(record)

    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        run(Threads(), tmp_path / "out")
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


def test_ids_become_safe_file_names():
    stems = choose_stems(["a", "../../b", "C d", "x", "X", "é" * 80])
    assert stems["a"] == "a"
    assert len({stem.casefold() for stem in stems.values()}) == 6
    assert all("/" not in stem and len(stem) < 200 for stem in stems.values())


@pytest.mark.parametrize(
    "wrong",
    [
        {"image_size": 4},
        {"framing": "circle"},
        {"margin": 0.5},
        {"min_side": 0},
        {"min_lesion_fraction": 0.5, "max_lesion_fraction": 0.4},
        {"min_images": 0},
        {"workers": -1},
        {"max_rejected_fraction": 2},
    ],
)
def test_wrong_settings_are_config_errors(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        PrepareConfig(**wrong)


def test_worker_count():
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert count_workers(0, 100_000) == cores
    assert count_workers(0, 10) == 1
    assert count_workers(8, 3) == 3
    assert count_workers(1, 0) == 1


def test_progress_without_a_terminal_is_a_line_now_and_then():
    stream = io.StringIO()
    with ProgressBar(10, "preparing", interval=0, stream=stream) as bar:
        for _ in range(10):
            bar.advance()
    assert stream.getvalue().splitlines()[-1].startswith("preparing: 10/10, ")


@pytest.mark.slow
def test_real_images(shared_ham, tmp_path):
    report = prepare(HAM10000(shared_ham), "ham10000", SMALL, SplitConfig(), tmp_path / "out")
    manifest = Manifest.read(tmp_path / "out")
    assert report.num_listed == 1604
    assert report.num_rejected < 20
    assert len({(row.lesion_id, row.split) for row in manifest.rows}) == len({row.lesion_id for row in manifest.rows})
    for split, fraction in (("val", 0.1), ("test", 0.2)):
        for label, count in report.counts[split].items():
            total = sum(report.counts[other][label] for other in report.counts)
            assert count / total == pytest.approx(fraction, abs=0.04), (split, label)
