"""What a classifier, a tokenizer and the sources add to a report."""

import numpy as np
import pandas as pd
import pytest
import torch

from generated_folders import CLASSES, COLOURS, many, write_edits, write_folder
from lfvar.data.generated import read_generated
from lfvar.data.imageio import write_png
from lfvar.data.manifest import Manifest
from lfvar.errors import ConfigError, DataError
from lfvar.evaluation.set_extras import background, tokenizer_ceiling, type_agreement
from lfvar.evaluation.set_features import measure_set
from lfvar.evaluation.sets import open_set
from lfvar.measure.settings import MeasureSettings
from lfvar.metrics.editing import background_psnr
from lfvar.metrics.preservation import preservation_table
from lfvar.nn.vqvae import VQVAE, VQVAEConfig

REAL = many(24)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extras")
    manifest = write_folder(folder / "real", REAL, splits=("test",))
    write_edits(folder / "generated", REAL, manifest, range(12))
    return folder


def opened(place, name):
    return open_set(name, place / name, Manifest.read(place / name))


def by_colour(pixels):
    """The type whose colour the middle of the image has; in an order of its own."""
    middle = pixels[:, 14:18, 14:18].astype(float).mean(axis=(1, 2))
    table = np.array([COLOURS[label] for label in CLASSES[::-1]], float)
    return np.linalg.norm(middle[:, None] - table, axis=2).argmin(axis=1)


def test_agreement_counts_by_name(place):
    generated, real = opened(place, "generated"), opened(place, "real")
    found = type_agreement(by_colour, CLASSES[::-1], generated, real, about={"file": "toy"}, batch_size=5)
    truth = np.array(generated.labels)
    answers = np.array(CLASSES[::-1])[by_colour(generated.images(range(len(generated))))]
    assert found.agreement == pytest.approx((truth == answers).mean())
    assert found.agreement > 0.8
    assert found.rows["count"].tolist() == [4, 4, 4]
    assert found.rows["real_count"].tolist() == [8, 8, 8]
    assert found.balanced_accuracy == pytest.approx(found.accuracy)
    assert found.predicted.to_numpy().sum() == 12
    for label in CLASSES:
        assert found.rows.loc[label, "share"] == pytest.approx((answers[truth == label] == label).mean())
        assert found.rows.loc[label, "low"] <= found.rows.loc[label, "share"] <= found.rows.loc[label, "high"]


def test_the_ceiling_is_what_the_tokenizer_keeps(place):
    torch.manual_seed(0)
    net = VQVAE(VQVAEConfig(8, (1, 2), 1, 4, 16, (1, 2, 4), stem_stride=4))
    real, settings = opened(place, "real"), MeasureSettings()
    measured = measure_set(real, settings, place / "cache", 1)
    found = tokenizer_ceiling(net, real, measured, settings, device=torch.device("cpu"), batch_size=7, workers=1)
    pd.testing.assert_frame_equal(found.query("group == 'shape'"), preservation_table(measured, measured)[:9])
    lossy = found.query("group == 'histogram'")
    assert (lossy["error"] > 0).all()
    other = VQVAE(VQVAEConfig(8, (1, 2), 1, 4, 16, (1, 2), stem_stride=4))
    with pytest.raises(ConfigError, match="takes 16 pixels"):
        tokenizer_ceiling(other, real, measured, settings, device=torch.device("cpu"))


def test_a_changed_background_is_seen(place, tmp_path):
    generated, sources = opened(place, "generated"), Manifest.read(place / "real")
    details = read_generated(place / "generated")
    found = background(generated, details, sources, place / "real")
    assert (found.num_edits, found.num_identical) == (12, 12)
    image, mask = generated.read(3)
    raw = generated.images([3])[0].copy()
    raw[~mask] = np.clip(raw[~mask].astype(int) + 5, 0, 255)
    assert found.raw_psnr_N[3] == pytest.approx(background_psnr(raw, REAL[3][1], mask))
    assert found.source_seam > 1  # lesions end at their mask
    row = generated.rows[3]
    image[0, 0] ^= 1
    path = place / "generated" / row.image
    before = path.read_bytes()
    write_png(path, image)
    assert background(generated, details, sources, place / "real").num_identical == 11
    path.write_bytes(before)
    none = details.assign(source_id=None)
    assert background(generated, none, sources, place / "real") is None
    small = write_folder(tmp_path / "small", [(label, i[:16, :16], m[:16, :16]) for label, i, m in REAL], size=16)
    with pytest.raises(DataError, match="and its edit"):
        background(generated, details, small, tmp_path / "small")
