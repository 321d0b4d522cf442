import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lfvar.data.manifest import Manifest, ManifestHeader, ManifestRow
from lfvar.data.records import HAM10000_CLASSES
from lfvar.errors import ArtefactError
from lfvar.figures.measurements import CHOSEN, draw_class_counts, draw_correlations, draw_distributions, write_figures
from lfvar.figures.style import save_png
from lfvar.measure.labelled import label_table
from lfvar.measure.schema import FEATURE_NAMES, SCHEMA, feature


def make_manifest(count: int, classes=HAM10000_CLASSES) -> Manifest:
    rng = np.random.default_rng(0)
    rows = tuple(
        ManifestRow(
            image_id=f"im{index:04d}",
            label=classes[index % len(classes)],
            lesion_id=f"L{index // 2}" if index % 3 else None,
            patient_id=None,
            split=("train", "train", "train", "val", "test")[index // len(classes) % 5],
            fold=None,
            image="",
            mask="",
            original_width=60,
            original_height=45,
            frame_x0=0,
            frame_y0=0,
            frame_width=45,
            frame_height=45,
            lesion_fraction=float(rng.beta(3, 5)),
            lesion_in_view=1.0,
            source_image_hash=str(index),
            source_mask_hash=str(index),
            image_hash=str(index),
            mask_hash=str(index),
        )
        for index in range(count)
    )
    header = ManifestHeader("made-up", tuple(classes), 16, {"split": {}}, "", None, "python -m lfvar.prepare", "0")
    return Manifest(header, rows)


def make_table(manifest: Manifest) -> pd.DataFrame:
    """Measurements with a few common causes; some rows have none, one feature is constant, one absent."""
    rng = np.random.default_rng(1)
    count, width = len(manifest.rows), len(FEATURE_NAMES)
    causes = rng.normal(size=(count, 5)) + np.array([[hash_of(row.label)] * 5 for row in manifest.rows])
    values = causes @ rng.normal(size=(5, width)) + rng.normal(size=(count, width))
    table = pd.DataFrame(np.exp(values / 3), columns=list(FEATURE_NAMES))
    table[FEATURE_NAMES[5]] = 1.0
    table[FEATURE_NAMES[6]] = np.nan
    table.iloc[::17] = np.nan
    table.insert(0, "image_id", [row.image_id for row in manifest.rows])
    table["reason"] = None
    return table


def hash_of(label: str) -> float:
    return (sum(map(ord, label)) % 7) / 2


@pytest.fixture(scope="module")
def made():
    manifest = make_manifest(140)
    return manifest, make_table(manifest)


def test_write_figures(made, tmp_path):
    manifest, table = made
    before = dict(mpl.rcParams)
    paths = write_figures(tmp_path, manifest, table)
    assert [path.name for path in paths] == [
        "class_counts.png",
        "mask_area.png",
        "measurements_by_type.png",
        "correlation.png",
        "map_pca.png",
        "map_tsne.png",
    ]
    assert {path.parent for path in paths} == {tmp_path / "figures"}
    for path in paths:
        with Image.open(path) as picture:
            assert picture.width >= 1000
            pixels = np.asarray(picture.convert("L"))
        assert 0.01 < (pixels < 200).mean() < 0.9, f"{path.name} is empty or full"
    assert dict(mpl.rcParams) == before
    assert mpl.get_backend().lower() == "agg" or "pyplot" not in mpl.__dict__


def test_the_same_bytes_again(made, tmp_path):
    manifest, table = made
    rows = label_table(manifest, table)
    first, second = (save_png(draw_class_counts(rows, HAM10000_CLASSES), tmp_path / f"{i}.png") for i in range(2))
    assert first.read_bytes() == second.read_bytes()
    assert b"matplotlib" not in first.read_bytes().lower()


def test_counts_are_right(made):
    manifest, table = made
    rows = label_table(manifest, table)
    axes = draw_class_counts(rows, HAM10000_CLASSES).axes[0]
    assert [text.get_text() for text in axes.texts] == ["20"] * 7
    heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
    assert heights == [[12] * 7, [4] * 7, [4] * 7]


def test_a_group_stays_together_in_the_heat_map(made):
    manifest, table = made
    figure = draw_correlations(label_table(manifest, table), SCHEMA)
    names = [text.get_text() for text in figure.axes[0].texts]
    # Two of the shape features do not vary.
    assert names == ["shape (7)", "histogram (18)", "texture (75)", "clinical (18)"]
    assert figure.axes[0].images[0].get_array().shape == (118, 118)


def test_few_images_and_few_features(tmp_path):
    manifest = make_manifest(6, classes=("a", "long_type_name"))
    table = make_table(manifest)[["image_id", "shape_sphericity", "shape_elongation", "reason"]]
    assert [path.stem for path in write_figures(tmp_path, manifest, table)] == [
        "class_counts",
        "mask_area",
        "measurements_by_type",
        "correlation",
    ]


def test_nothing_measured(tmp_path):
    manifest = make_manifest(12)
    table = make_table(manifest)
    table[list(FEATURE_NAMES)] = np.nan
    assert [path.stem for path in write_figures(tmp_path, manifest, table)] == ["class_counts", "mask_area"]


def test_distributions_of_tiny_types(made):
    manifest, table = made
    rows = label_table(manifest, table)
    rows = rows[(rows["label"] != "df") | (rows.index < 30)]
    figure = draw_distributions(rows, HAM10000_CLASSES, [feature(name) for name in CHOSEN])
    save = io.BytesIO()
    figure.savefig(save, format="png")
    assert len(figure.axes) == 9


def test_label_table(made):
    manifest, table = made
    rows = label_table(manifest, table.sample(frac=1, random_state=0))
    assert rows["image_id"].tolist() == [row.image_id for row in manifest.rows]
    assert rows["lesion"].notna().all()
    with pytest.raises(ArtefactError, match=r"1 of 140 images .* \(first: im0003\)"):
        label_table(manifest, table.drop(index=3))
