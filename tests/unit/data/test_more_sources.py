"""ISIC 2017, PH² and Dermofit: tiny copies of each published layout."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lfvar.data.prepare import PrepareConfig, prepare
from lfvar.data.records import HAM10000_CLASSES, PairError, Source
from lfvar.data.sources.dermofit import CLASSES as DERMOFIT_CLASSES
from lfvar.data.sources.dermofit import Dermofit
from lfvar.data.sources.isic2017 import ISIC2017
from lfvar.data.sources.ph2 import PH2, read_diagnoses
from lfvar.data.splits import SplitConfig
from lfvar.errors import ConfigError, DataError

PH2_HEADING = (
    "||   Name || Histological Diagnosis || Clinical Diagnosis || Asymmetry | Pigment Network | Dots/Globules | "
    "Streaks | Regression Areas | Blue-Whitish Veil ||           Colors ||\n"
)
PH2_LEGEND = """
Legends:
   Clinical Diagnosis:
      0 - Common Nevus;
      1 - Atypical Nevus;
      2 - Melanoma;
"""


def write_pair(image_path: Path, mask_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((45, 60), dtype=bool)
    mask[12:30, 15 + seed % 10 : 40] = True
    image = np.where(mask[..., None], (120, 70, 50), (220, 170, 150)) + rng.normal(0, 5, (45, 60, 3))
    for path in (image_path, mask_path):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(image_path)
    Image.fromarray(mask.astype(np.uint8) * 255).save(mask_path)


@pytest.fixture
def make_isic(tmp_path):
    def make(parts=("Training",), *, nested=False, rows=("1.0,0.0", "0.0,1.0", "0.0,0.0", "0.0,0.0")):
        root = tmp_path / "isic"
        for number, part in enumerate(parts):
            prefix = f"ISIC-2017_{part}"
            images = root / f"{prefix}_Data" / (f"{prefix}_Data" if nested else "")
            masks = root / f"{prefix}_Part1_GroundTruth" / (f"{prefix}_Part1_GroundTruth" if nested else "")
            lines = ["image_id,melanoma,seborrheic_keratosis"]
            for index, flags in enumerate(rows):
                image_id = f"ISIC_{number * 100 + index:07d}"
                write_pair(images / f"{image_id}.jpg", masks / f"{image_id}_segmentation.png", seed=index)
                write_pair(images / f"{image_id}_superpixels.png", images / "unused.png", seed=index)
                lines.append(f"{image_id},{flags}")
            (root / f"{prefix}_Part3_GroundTruth.csv").write_text("\n".join(lines) + "\n")
        return root

    return make


@pytest.fixture
def make_ph2(tmp_path):
    def make(codes=(0, 1, 2, 2), *, inner="PH2Dataset", images="PH2 Dataset images"):
        root = tmp_path / "ph2"
        table = PH2_HEADING
        (root / inner).mkdir(parents=True)
        for index, code in enumerate(codes):
            name = f"IMD{index:03d}"
            histology = "Melanoma" if code == 2 else ""
            table += f"|| {name} || {histology:>22} || {code:>18} ||    0 | T | A | A | A | A ||          1  4 ||\n"
            folder = root / inner / images / name
            write_pair(
                folder / f"{name}_Dermoscopic_Image/{name}.bmp", folder / f"{name}_lesion/{name}_lesion.bmp", seed=index
            )
        (root / inner / "PH2_dataset.txt").write_text(table + PH2_LEGEND)
        return root

    return make


@pytest.fixture
def make_dermofit(tmp_path):
    def make(*, capitals=False, below="", deep=True):
        root = tmp_path / "dermofit"
        for index, label in enumerate(DERMOFIT_CLASSES):
            for lesion in (f"{label.upper()}{index}x1", f"{label.upper()}{index}x2"):
                folder = root / below / (label.upper() if capitals else label) / (lesion if deep else "")
                write_pair(folder / f"{lesion}.png", folder / f"{lesion}mask.png", seed=index)
        (root / "lesionlist.txt").write_text("1   A1   AK\n")
        (root / "__MACOSX/ak").mkdir(parents=True)
        (root / "__MACOSX/ak/._A1.png").write_bytes(b"not an image")
        return root

    return make


@pytest.mark.parametrize("nested", [False, True])
def test_isic2017(make_isic, nested):
    source = ISIC2017(make_isic(nested=nested))
    records = source.records()
    assert isinstance(source, Source)
    assert tuple(source.classes) == ("melanoma", "nevus", "seborrheic_keratosis")
    assert [record.label for record in records] == ["melanoma", "seborrheic_keratosis", "nevus", "nevus"]
    assert all(record.problem is None and record.image_path.suffix == ".jpg" for record in records)
    assert source.load(records[0]).image_HWC.shape == (45, 60, 3)
    assert source.load(records[0]).mask_HW.any()


def test_isic2017_keeps_the_published_parts_apart(make_isic):
    root = make_isic(parts=("Training", "Validation", "Test_v2"))
    ids = {
        part: {record.image_id for record in ISIC2017(root, parts=[part]).records()}
        for part in ("training", "validation", "test")
    }
    assert {record.image_id for record in ISIC2017(root).records()} == ids["training"]
    assert len(ids["training"] | ids["validation"] | ids["test"]) == 12
    assert len(ISIC2017(root, parts=["test", "training"]).records()) == 8
    # The order in which parts are named changes nothing.
    assert (
        ISIC2017(root, parts=["test", "training"]).describe() == ISIC2017(root, parts=["training", "test"]).describe()
    )


def test_isic2017_contradictions_are_no_type(make_isic):
    records = ISIC2017(make_isic(rows=("1.0,1.0", "x,0", "0,1"))).records()
    assert [record.label for record in records] == [
        "melanoma=1.0 seborrheic_keratosis=1.0",
        "melanoma=x seborrheic_keratosis=0",
        "seborrheic_keratosis",
    ]


def test_isic2017_says_what_is_missing(make_isic):
    root = make_isic()
    with pytest.raises(DataError, match=r"no table of the test part .*looked for ISIC-2017_Test_v2_Part3_GroundTruth"):
        ISIC2017(root, parts=["test"]).records()
    (root / "ISIC-2017_Training_Data/ISIC_0000001.jpg").unlink()
    assert ISIC2017(root).records()[1].problem.startswith("missing image: looked for ISIC-2017_Training_Data/ISIC_000")
    (root / "ISIC-2017_Training_Part1_GroundTruth").rename(root / "elsewhere")
    with pytest.raises(DataError, match="no mask folder of the training part"):
        ISIC2017(root).records()
    with pytest.raises(DataError, match="no folder"):
        ISIC2017(root / "nowhere").records()
    for wrong in ([], ["train"], ["test", "test"]):
        with pytest.raises(ConfigError, match=r"data\.source\.parts"):
            ISIC2017(root, parts=wrong)


def test_real_isic2017():
    root = Path(__file__).parents[3] / "../shared/data/isic2017"
    if not root.is_dir():
        pytest.skip(f"no real images at {root}")
    records = ISIC2017(root, types="ham10000").records()
    labels = [record.label for record in records]
    assert {label: labels.count(label) for label in ("nv", "mel", "bkl")} == {"nv": 160, "mel": 80, "bkl": 60}
    assert not [record for record in records if record.problem]


@pytest.mark.parametrize("layout", [{}, {"inner": "."}, {"inner": ".", "images": "."}])
def test_ph2(make_ph2, layout):
    source = PH2(make_ph2(**layout))
    records = source.records()
    assert isinstance(source, Source)
    assert [record.image_id for record in records] == ["IMD000", "IMD001", "IMD002", "IMD003"]
    assert [record.label for record in records] == ["common_nevus", "atypical_nevus", "melanoma", "melanoma"]
    assert not [record for record in records if record.problem]
    assert source.load(records[3]).mask_HW.any()


def test_ph2_rows_as_published_and_not():
    rows = "|| IMD437 ||  || 1 || 0 | T ||\n\n|| IMD008 || Melanoma | in situ || 2 || 1 | AT ||\n"
    rows += "IMD001 0\n||Name||x||0||\n"
    assert read_diagnoses(PH2_HEADING + rows + PH2_LEGEND) == [("IMD437", "1"), ("IMD008", "2")]


def test_ph2_says_what_is_missing(make_ph2):
    root = make_ph2((0, 7))
    assert PH2(root).records()[1].label == "clinical diagnosis 7"
    table = root / "PH2Dataset/PH2_dataset.txt"
    (root / "PH2Dataset/PH2 Dataset images/IMD000/IMD000_lesion/IMD000_lesion.bmp").unlink()
    assert PH2(root).records()[0].problem.startswith("missing mask: looked for PH2 Dataset images/IMD000/IMD000_lesion")
    table.write_text("image_id,label\n")
    with pytest.raises(DataError, match="no row as published"):
        PH2(root).records()
    table.unlink()
    with pytest.raises(DataError, match=r"(?s)PH2_dataset.txt' cannot be read.*data\.root"):
        PH2(root).records()


@pytest.mark.parametrize("layout", [{}, {"capitals": True, "below": "ALLTYPES"}, {"deep": False}])
def test_dermofit(make_dermofit, layout):
    source = Dermofit(make_dermofit(**layout))
    records = source.records()
    assert isinstance(source, Source)
    assert len(records) == 20
    assert [record.label for record in records] == [label for label in DERMOFIT_CLASSES for _ in range(2)]
    assert len({record.image_id for record in records}) == 20
    assert not [record for record in records if record.problem or "mask" in record.image_path.name]
    assert source.load(records[0]).mask_HW.sum() == 18 * 25


def test_dermofit_says_what_is_missing(make_dermofit, tmp_path):
    root = make_dermofit()
    (root / "ak/AK0x1/AK0x1mask.png").unlink()
    assert Dermofit(root).records()[0].problem.startswith("missing mask: looked for AK0x1mask.png in")
    with pytest.raises(PairError, match="missing mask"):
        Dermofit(root).load(Dermofit(root).records()[0])
    (tmp_path / "zipped").mkdir()
    with pytest.raises(DataError, match="no folder of a lesion type"):
        Dermofit(tmp_path / "zipped").records()
    (tmp_path / "zipped/AK.zip").touch()
    with pytest.raises(DataError, match=r"(?s)not unpacked: AK.zip.*unzip"):
        Dermofit(tmp_path / "zipped").records()


def test_types_of_ham10000(make_isic, make_ph2, make_dermofit):
    for source, labels in (
        (ISIC2017(make_isic(), types="ham10000"), ["mel", "bkl", "nv", "nv"]),
        (PH2(make_ph2(), types="ham10000"), ["nv", "nv", "mel", "mel"]),
    ):
        assert tuple(source.classes) == HAM10000_CLASSES
        assert [record.label for record in source.records()] == labels
        assert source.describe()["types"] == "ham10000"
    mapped = [record.label for record in Dermofit(make_dermofit(), types="ham10000").records()][::2]
    none = "scc (no HAM10000 type)"
    # ml is the mole and mel the melanoma: LF-VAR's script has them swapped.
    assert mapped == ["akiec", "bcc", "df", "akiec", "mel", "nv", "vasc", none, "bkl", "vasc"]
    for kind in (ISIC2017, PH2, Dermofit):
        with pytest.raises(ConfigError, match=r"data\.source\.types"):
            kind(None, types="isic")


def test_prepare_rejects_unmapped_types_and_says_why(make_dermofit, tmp_path):
    config = PrepareConfig(image_size=16, min_images=1, workers=1)
    report = prepare(
        Dermofit(make_dermofit(), types="ham10000"), "dermofit", config, SplitConfig(), tmp_path / "prepared"
    )
    assert (report.num_listed, report.num_prepared) == (20, 18)
    rejected = (tmp_path / "prepared/rejected.csv").read_text()
    assert "unknown type: 'scc (no HAM10000 type)' is none of akiec, bcc, bkl, df, mel, nv, vasc" in rejected


def test_more_sources_work_without_originals_and_travel(make_isic):
    for kind in (ISIC2017, PH2, Dermofit):
        source = kind(None)
        assert source.classes
        with pytest.raises(DataError, match=r"data\.root"):
            source.records()
    source = ISIC2017(make_isic())
    source.records()
    assert len(pickle.dumps(source)) < 500
