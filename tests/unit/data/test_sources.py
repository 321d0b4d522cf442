import csv
import pickle

import numpy as np
import pytest
from PIL import Image

from lfvar.data.records import HAM10000_CLASSES, PairError, Source
from lfvar.data.sources.folder import Folder
from lfvar.data.sources.ham10000 import HAM10000
from lfvar.data.sources.table import read_table
from lfvar.errors import ConfigError, DataError


@pytest.mark.parametrize("layout", ["parts", "lower", "one"])
def test_ham_layouts(make_ham, layout):
    source = HAM10000(make_ham(layout=layout))
    records = source.records()
    assert isinstance(source, Source)
    assert len(records) == 28
    assert all(record.problem is None for record in records)
    assert tuple(source.classes) == HAM10000_CLASSES
    assert [records[0].label, records[0].lesion_id, records[1].lesion_id] == ["akiec", "HAM_0000000", "HAM_0000000"]
    pair = source.load(records[0])
    assert pair.image_HWC.shape == (45, 60, 3)
    assert pair.mask_HW.shape == (45, 60)
    assert pair.mask_HW.any()


@pytest.mark.parametrize("missing", ["images", "masks", "table", "root"])
def test_ham_says_where_it_looked_and_two_ways_out(make_ham, missing):
    root = make_ham(layout="one")
    names = {"images": "HAM10000_images", "masks": "HAM10000_GroundTruth", "table": "HAM10000_metadata.csv"}
    if missing == "root":
        root = root / "nowhere"
    else:
        (root / names[missing]).rename(root / "elsewhere")
    with pytest.raises(DataError) as caught:
        HAM10000(root).records()
    assert str(root) in caught.value.message
    if missing != "root":
        assert "looked for HAM10000_" in caught.value.message
    assert "data.root" in caught.value.cure
    assert "data=folder" in caught.value.cure


def test_ham_missing_files_say_what_was_looked_for(make_ham):
    root = make_ham(layout="one")
    (root / "HAM10000_images/ISIC_0000002.jpg").unlink()
    (root / "HAM10000_GroundTruth/ISIC_0000003_segmentation.png").unlink()
    records = HAM10000(root).records()
    assert records[2].problem.startswith("missing image: looked for HAM10000_images/ISIC_0000002.jpg")
    assert records[3].problem.startswith("missing mask: looked for HAM10000_GroundTruth/ISIC_0000003_segmentation.png")
    assert records[4].problem is None


def test_ham_missing_column(make_ham):
    root = make_ham()
    path = root / "HAM10000_metadata.csv"
    path.write_text(path.read_text().replace("lesion_id", "lesion"))
    with pytest.raises(DataError, match="no column 'lesion_id'; it has 'lesion', 'image_id', 'dx', 'dx_type'"):
        HAM10000(root).records()


def test_real_ham(shared_ham):
    source = HAM10000(shared_ham)
    records = source.records()
    assert len(records) == 1604
    assert {record.label for record in records} == set(HAM10000_CLASSES)
    assert not [record for record in records if record.problem]
    assert source.load(records[0]).image_HWC.shape == (256, 341, 3)


def test_folder(make_folder):
    source = Folder(make_folder(), lesion_column="lesion")
    records = source.records()
    assert isinstance(source, Source)
    assert tuple(source.classes) == ("a", "b")
    assert len(records) == 12
    assert (records[3].image_id, records[3].label, records[3].lesion_id) == ("im3", "b", "L3")
    assert records[3].patient_id is None
    assert source.load(records[3]).image_HWC.shape == (45, 60, 3)


def test_folder_patterns_columns_and_class_order(tmp_path):
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    for label, name in (("mel", "x"), ("nv", "y")):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        Image.fromarray(image).save(tmp_path / "pictures" / label / f"{name}.png")
    Image.fromarray(image[..., 0]).save(tmp_path / "x-mask.png")
    (tmp_path / "list.tsv").write_text("file\tdx\tperson\nx\tmel\tp1\ny\tnv\t\n", encoding="utf-8-sig")
    source = Folder(
        tmp_path,
        "list.tsv",
        image_pattern=["nowhere/{id}.png", "pictures/{label}/{id}.png"],
        mask_pattern="{id}-mask.png",
        id_column="file",
        label_column="dx",
        patient_column="person",
        classes=["nv", "mel"],
    )
    first, second = source.records()
    assert tuple(source.classes) == ("nv", "mel")
    assert first.image_path == tmp_path / "pictures/mel/x.png"
    assert (first.patient_id, second.patient_id) == ("p1", None)
    assert first.problem is None
    assert second.problem.startswith("missing mask: looked for y-mask.png")


def test_folder_errors_name_the_setting(make_folder, tmp_path):
    with pytest.raises(DataError, match=r"no folder .*data.root"):
        Folder(tmp_path / "nowhere").records()
    with pytest.raises(DataError, match=r"(?s)none.csv' cannot be read.*set data.source.table"):
        Folder(make_folder(), "none.csv").records()
    with pytest.raises(
        DataError, match=r"(?s)no column 'diagnosis'; it has 'image_id'.*data.source.id_column, label_column"
    ):
        Folder(make_folder(), label_column="diagnosis").records()
    for wrong in ("images/*.jpg", "images/{name}.jpg", "images/{id", []):
        with pytest.raises(ConfigError, match=r"data\.source\.image_pattern"):
            Folder(tmp_path, image_pattern=wrong)
    with pytest.raises(ConfigError, match=r"data\.source\.classes"):
        Folder(tmp_path, classes=["nv", "nv"])


def test_size_mismatch(make_folder):
    root = make_folder()
    Image.new("L", (30, 45), 255).save(root / "masks/im1.png")
    source = Folder(root)
    with pytest.raises(PairError, match="size mismatch: image 60×45, mask 30×45"):
        source.load(source.records()[1])


def test_sources_are_small_to_send(make_ham):
    source = HAM10000(make_ham())
    source.records()
    assert len(pickle.dumps(source)) < 500


def test_table_that_is_no_text(tmp_path):
    (tmp_path / "table.csv").write_bytes(b"\xff\xfe\x00a,b\n")
    with pytest.raises(DataError, match="no UTF-8 CSV"):
        read_table(tmp_path / "table.csv", ["a"], cure="mend it")


def test_labels_that_look_like_nothing_stay_text(tmp_path):
    with (tmp_path / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image_id", "label"], ["007", " NA "]])
    assert read_table(tmp_path / "table.csv", ["image_id"], cure="") == [{"image_id": "007", "label": "NA"}]
