"""Images without masks, without a table, or without either."""

import csv
import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from lfvar.data.datamodule import LesionDataModule
from lfvar.data.framing import Frame, choose_frame
from lfvar.data.imageio import read_image, read_mask
from lfvar.data.loading import LoaderConfig
from lfvar.data.manifest import Manifest
from lfvar.data.prepare import PrepareConfig, check_prepared, prepare
from lfvar.data.sources.folder import Folder
from lfvar.data.sources.listing import list_files
from lfvar.data.splits import SplitConfig
from lfvar.errors import ConfigError, DataError

SMALL = PrepareConfig(image_size=16, workers=1)
SPLIT = SplitConfig(val_fraction=0.2)


def draw(path, seed=0, size=(30, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def plain(tmp_path):
    """Twenty pictures, nothing else, at two depths."""
    root = tmp_path / "pictures"
    for index in range(20):
        draw(root / ("deep/er" if index % 2 else ".") / f"p{index:02d}{'.PNG' if index % 3 else '.png'}", index)
    return root


def alone(root, **options):
    return Folder(root, None, mask_pattern=None, **options)


def rejections(folder):
    with (folder / "rejected.csv").open(newline="") as file:
        return {row["image_id"]: row["reason"] for row in csv.DictReader(file)}


def test_every_image_below_the_root_is_listed(plain):
    (plain / "notes.txt").write_text("no image")
    draw(plain / ".thumbnails/t.png")
    draw(plain / "__MACOSX/m.png")
    source = alone(plain)
    records = source.records()
    assert [record.image_id for record in records[:2]] == ["deep/er/p01", "deep/er/p03"]
    assert len(records) == 20
    assert tuple(source.classes) == ("image",)
    assert {(record.label, record.mask_path, record.problem) for record in records} == {("image", None, None)}
    pair = source.load(records[0])
    assert pair.image_HWC.shape == (20, 30, 3)
    assert pair.mask_HW is None
    assert len(pickle.dumps(source)) < 1500


def test_what_lfvar_wrote_below_the_root_is_no_input(plain):
    before = [record.image_id for record in alone(plain).records()]
    folder = plain / "prepared/pictures-16px"
    prepare(alone(plain), "pictures", SMALL, SPLIT, folder)
    run = plain / "runs/vqvae/pictures/now"
    draw(run / "pictures/latest.png")
    (run / "run_card.json").write_text("{}")
    assert [record.image_id for record in alone(plain).records()] == before
    assert check_prepared(alone(plain), "pictures", SMALL, SPLIT, folder) is not None
    (folder / "manifest.parquet").unlink()  # killed before the end: the journal is there from the start
    assert [record.image_id for record in alone(plain).records()] == before


def test_folders_as_types(tmp_path):
    for label in ("rose", "tulip"):
        for index in range(3):
            draw(tmp_path / label / f"{index}.jpg", index)
    draw(tmp_path / "loose.jpg")
    source = alone(tmp_path, image_pattern="{label}/{id}.jpg")
    assert tuple(source.classes) == ("rose", "tulip")
    records = source.records()
    assert [record.image_id for record in records] == [f"{t}/{i}" for t in ("rose", "tulip") for i in range(3)]
    ordered = alone(tmp_path, image_pattern="{label}/{id}.jpg", classes=["tulip", "rose"])
    assert tuple(ordered.classes) == ("tulip", "rose")


def test_fields_may_repeat_and_the_first_pattern_decides(tmp_path):
    for name in ("a/a_1.png", "a/b_2.png", "c(d)/x.png"):
        draw(tmp_path / name)
    found = list_files(tmp_path, ["{label}/{label}_{id}.png", "c(d)/{id}.png", "{id}.PNG"])
    assert [(item.id, item.label) for item in found] == [("1", "a"), ("a/b_2", None), ("x", None)]


def test_masks_without_a_table(make_folder):
    root = make_folder()
    (root / "labels.csv").unlink()
    (root / "masks/im3.png").unlink()
    records = Folder(root, None).records()
    assert [record.image_id for record in records][:2] == ["im0", "im1"]
    assert len(records) == 12  # masks are not taken for images
    assert records[0].mask_path == root / "masks/im0.png"
    (missing,) = [record for record in records if record.problem]
    assert missing.problem.startswith("missing mask: looked for masks/")


def test_a_table_without_masks_or_labels(make_folder):
    root = make_folder()
    shutil.rmtree(root / "masks")
    source = Folder(root, mask_pattern=None, lesion_column="lesion")
    assert tuple(source.classes) == ("a", "b")
    assert not [record for record in source.records() if record.problem]
    assert source.records()[3].lesion_id == "L3"
    unlabelled = Folder(root, mask_pattern=None, label_column=None)
    assert tuple(unlabelled.classes) == ("image",)
    assert {record.label for record in unlabelled.records()} == {"image"}


def test_errors_name_the_setting(tmp_path):
    with pytest.raises(DataError, match=r"no image below .*looked for \{id\}\.jpg") as caught:
        alone(tmp_path).records()
    assert "data.source.image_pattern" in caught.value.cure
    with pytest.raises(DataError, match=r"no folder .*data\.root"):
        alone(tmp_path / "nowhere").records()
    with pytest.raises(ConfigError, match=r"table is null, so there is no column 'lesion'"):
        alone(tmp_path, lesion_column="lesion")
    for wrong in ("*.jpg", "{name}.jpg", []):
        with pytest.raises(ConfigError, match=r"data\.source\.image_pattern"):
            alone(tmp_path, image_pattern=wrong)


def test_same_names_in_two_formats_are_rejected(plain, tmp_path):
    draw(plain / "p00.jpg", 99)
    report = prepare(alone(plain), "pictures", SMALL, SPLIT, tmp_path / "out")
    assert report.num_prepared == 19
    assert rejections(tmp_path / "out") == {"p00": "duplicate id: 2 rows that differ"}


def test_prepared_without_masks(plain, tmp_path):
    (plain / "p00.png").write_bytes(b"no image")
    folder = tmp_path / "out"
    report = prepare(alone(plain), "pictures", SMALL, SPLIT, folder)
    assert (report.num_listed, report.num_prepared) == (20, 19)
    assert rejections(folder)["p00"].startswith("undecodable image")
    manifest = Manifest.read(folder)
    assert not manifest.has_lesions
    for row in manifest.rows:
        assert (row.lesion_fraction, row.lesion_in_view) == (0.0, 1.0)
        assert row.frame == Frame(5, 0, 20, 20)  # the middle of 30 × 20
        assert read_image(folder / row.image).shape == (16, 16, 3)
        assert not read_mask(folder / row.mask).any()
    again = prepare(alone(plain), "pictures", SMALL, SPLIT, folder)
    assert (again.num_new, again.manifest_hash) == (0, report.manifest_hash)
    data = LesionDataModule(folder, manifest, LoaderConfig(batch_size=4, num_workers=0))
    batch = next(iter(data.train_dataloader()))
    assert batch.image_BCHW.shape == (4, 3, 16, 16)
    assert batch.mask_B1HW.sum() == 0
    assert batch.label_B.tolist() == [0] * 4


def test_other_framings_need_no_lesion_either(plain, tmp_path):
    squash = PrepareConfig(image_size=16, framing="squash", workers=1)
    prepare(alone(plain), "pictures", squash, SPLIT, tmp_path / "out")
    assert {row.frame for row in Manifest.read(tmp_path / "out").rows} == {Frame(0, 0, 30, 20)}
    assert choose_frame(np.zeros((45, 60), dtype=bool)) == Frame(7, 0, 45, 45)


def test_an_empty_mask_among_masks_is_still_rejected(make_folder, tmp_path):
    root = make_folder()
    Image.new("L", (60, 45), 0).save(root / "masks/im3.png")
    prepare(Folder(root), "mine", SMALL, SPLIT, tmp_path / "out")
    assert rejections(tmp_path / "out") == {"im3": "empty mask: no lesion pixel"}
    assert Manifest.read(tmp_path / "out").has_lesions


def test_all_losses_are_finite_without_a_lesion():
    from lfvar.losses.tokenizer import TokenizerLoss, TokenizerLossConfig
    from lfvar.nn.vqvae import VQVAE, VQVAEConfig

    config = VQVAEConfig(
        channels=8, channel_multipliers=(1, 2), num_res_blocks=1, latent_channels=4, vocab_size=16, patch_nums=(1, 4)
    )
    net, image = VQVAE(config), torch.rand(2, 3, 8, 8) * 2 - 1
    recon, f, quantised = net(image)
    empty = torch.zeros(2, 1, 8, 8)
    focused = TokenizerLoss(TokenizerLossConfig(focus_residual=1, focus_quantisation=2, focus_pixel=2))
    terms = focused(recon, image, empty, f, quantised)
    plain_terms = TokenizerLoss(TokenizerLossConfig())(recon, image, empty, f, quantised)
    for name, term in plain_terms.items():
        torch.testing.assert_close(terms[name], term)  # nothing to focus on: the plain loss
    assert terms["focus_residual"].item() == 0
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())
