"""The whole walk on a tiny tokenizer: every number against the function that defines it."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from lfvar.errors import DataError
from lfvar.measure.extract import measure
from lfvar.measure.schema import FEATURE_NAMES
from lfvar.measure.settings import MeasureSettings
from lfvar.measure.standardise import Standardiser
from lfvar.metrics.batches import as_batches, count_images, to_bytes
from lfvar.metrics.codebook import CodebookUsage
from lfvar.metrics.extractors import FeatureExtractor, PerceptualDistance
from lfvar.metrics.frechet import feature_distance
from lfvar.metrics.preservation import preservation_table
from lfvar.metrics.quality import drop, summarise_quality
from lfvar.metrics.regions import RegionQuality
from lfvar.metrics.tokenizer import EvaluationConfig, evaluate_tokenizer
from lfvar.metrics.tokenizer_page import render_markdown, write_report
from lfvar.nn.vqvae import VQVAE, VQVAEConfig
from lfvar.types import Batch, Sample

SIZE = 32


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return VQVAE(VQVAEConfig(8, (1, 2), 1, 4, 16, (1, 2, 4), stem_stride=4)).train()


@pytest.fixture(scope="module")
def samples():
    generator = torch.Generator().manual_seed(1)
    made = []
    for index in range(9):
        pixels = torch.randint(0, 256, (3, SIZE, SIZE), generator=generator)
        mask = torch.zeros(1, SIZE, SIZE)
        if index != 4:  # one image without lesion
            mask[:, 6 : 16 + index, 9:25] = 1
        made.append(Sample(pixels.float() / 127.5 - 1, mask, index % 2, f"image_{index}"))
    return made


@pytest.fixture(scope="module")
def standardiser(samples):
    rows = [measure(to_bytes(s.image_CHW[None])[0], s.mask_1HW[0].numpy() > 0).values for s in samples]
    return Standardiser.fit(pd.DataFrame(np.stack(rows), columns=list(FEATURE_NAMES)))


@pytest.fixture(scope="module")
def pooling():
    return FeatureExtractor("pooled", "0" * 12, lambda image_BCHW: image_BCHW.mean(dim=(2, 3)))


@pytest.fixture(scope="module")
def report(net, samples, standardiser, pooling):
    distance = PerceptualDistance("structure", lambda a, b, w: ((a - b).abs() * (1 if w is None else w)).mean())
    return evaluate_tokenizer(
        net,
        samples,
        config=EvaluationConfig(batch_size=4, num_splits=3, workers=1),
        standardiser=standardiser,
        distances=[distance],
        extractors=[pooling],
        classes=("mel", "nv"),
        about={"checkpoint": {"file": "a.ckpt"}, "data": {"name": "toys", "split": "test"}},
        notes=["from outside"],
    )


@pytest.fixture(scope="module")
def passed(net, samples):
    """The two reconstructions, and the token ids, by the shortest way."""
    batch = Batch.collate(samples)
    net.eval()
    with torch.no_grad():
        f = net.encode(batch.image_BCHW)
        quantised = net.quantiser(f)
        made = net.decode(quantised.f_hat_BChw), net.decode(f)
    net.train()
    return batch, *made, quantised.ids


def test_quality_equals_the_training_metric(report, passed):
    batch, recon, unquantised, _ = passed
    for name, made in (("reconstruction", recon), ("unquantised", unquantised)):
        metric = RegionQuality()
        metric.update(made, batch.image_BCHW, batch.mask_B1HW)
        for key, value in metric.compute().items():
            measure_name, region = key.removesuffix("_median").split("_")
            kind = "median" if key.endswith("_median") else "mean"
            assert report.quality[name][measure_name][region][kind] == pytest.approx(value.item(), abs=1e-4), key
    psnr = {name: report.quality[name]["psnr"]["all"]["mean"] for name in ("reconstruction", "unquantised")}
    assert psnr["reconstruction"] != psnr["unquantised"]
    assert report.drop["psnr"]["all"]["mean"] == pytest.approx(psnr["unquantised"] - psnr["reconstruction"])


def test_codebook_usage_is_per_scale(report, net, passed):
    usage = CodebookUsage(net.schedule, 16)
    usage.update(passed[3])
    assert report.codebook == pytest.approx({name: value.item() for name, value in usage.compute().items()})


def test_preservation_measures_rounded_images_with_the_same_mask(report, passed):
    batch, recon, _, _ = passed
    masks = batch.mask_B1HW[:, 0].numpy() > 0
    rows = [
        np.stack([measure(image, mask).values for image, mask in zip(to_bytes(made), masks, strict=True)])
        for made in (batch.image_BCHW, recon)
    ]
    pd.testing.assert_frame_equal(report.preservation_table, preservation_table(*rows))
    assert (report.preservation_table["missing"] >= 1).all()  # the image without lesion
    assert report.preservation["reconstruction"]["shape"]["spearman_median"] == pytest.approx(1)


def test_distances_are_between_bytes(report, passed):
    batch, recon, _, _ = passed
    measured, pooled = report.frechet
    assert (measured.extractor, pooled.extractor) == ("measurements", "pooled")
    assert (measured.comparison.count, pooled.comparison.count) == (8, 9)  # no measurements without lesion
    vectors = [to_bytes(made).astype(np.float64).mean(axis=(1, 2)) / 127.5 - 1 for made in (recon, batch.image_BCHW)]
    found = pooled.comparison.variants["reconstruction"].same_images
    assert found == pytest.approx(feature_distance(*vectors), rel=1e-4)
    assert measured.comparison.half_count == 4
    assert measured.comparison.variants["reconstruction"].across_halves.mean > measured.comparison.floor.mean


def test_missing_lesions_are_counted(report):
    assert report.counts["images"] == 9
    assert report.counts["without_lesion"] == 1
    assert report.counts["not_measurable"] == 1
    assert report.counts["types"] == {"mel": 5, "nv": 4}
    assert report.quality["reconstruction"]["psnr"]["inside"]["count"] == 8
    assert report.quality["reconstruction"]["structure"]["inside"]["count"] == 8
    assert any("no lesion" in note for note in report.notes)
    assert report.by_type["mel"]["count"] == 5
    assert np.isfinite(report.by_type["mel"]["psnr_inside"])


def test_batches_order_and_mode_change_nothing(report, net, samples, standardiser, pooling):
    assert net.training  # given back as it came
    loader = torch.utils.data.DataLoader(samples, batch_size=2, collate_fn=Batch.collate)
    again = evaluate_tokenizer(
        net,
        loader,
        config=EvaluationConfig(num_splits=3, workers=1),
        standardiser=standardiser,
        extractors=[pooling],
        classes=("mel", "nv"),
    )
    assert again.codebook == report.codebook
    for name, value in again.headline.items():
        assert value == pytest.approx(report.headline[name], rel=1e-4, abs=1e-5), name


def test_files(report, tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        paths = write_report(folder, report)
        assert set(paths) == {"report", "report to read", "images", "preservation"}
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()
    plain = json.loads((first / "report.json").read_text())
    assert plain["schema_version"] == 1
    assert plain["quality"]["drop_from_quantisation"]["psnr"]["all"]["mean"] == pytest.approx(
        report.drop["psnr"]["all"]["mean"]
    )
    assert plain["frechet"][0]["floor"]["mean"] > 0
    images = pd.read_csv(first / "images.csv")
    assert len(images) == 9
    assert images["psnr_inside"].isna().tolist() == [index == 4 for index in range(9)]
    assert len(pd.read_csv(first / "preservation.csv")) == len(FEATURE_NAMES)
    page = render_markdown(report)
    assert "FD(pooled)" in page
    assert "FID" not in page.replace("not FID", "")
    assert "1 by construction" in page
    assert "from outside" in page
    rows = [line for line in page.splitlines() if line.startswith("| PSNR")]
    assert f"{report.quality['reconstruction']['psnr']['inside']['mean']:.2f}" in rows[0]


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images(net, samples, count):
    with pytest.raises(DataError, match=f"{count} images"):
        evaluate_tokenizer(net, samples[:count], config=EvaluationConfig(measure=None))


def test_two_images_have_no_floor(net, samples, pooling):
    report = evaluate_tokenizer(net, samples[:2], config=EvaluationConfig(measure=None), extractors=[pooling])
    assert np.isnan(report.frechet[0].comparison.floor.mean)
    assert any("no floor" in note for note in report.notes)
    assert report.to_dict()["frechet"][0]["floor"]["mean"] is None
    assert report.preservation == {}
    assert report.preservation_table is None
    assert "Not measured" in render_markdown(report)


def test_no_lesion_anywhere(net, samples, standardiser):
    bare = [Sample(s.image_CHW, torch.zeros_like(s.mask_1HW), s.label, s.image_id) for s in samples[:4]]
    report = evaluate_tokenizer(net, bare, standardiser=standardiser)
    plain = report.to_dict()
    assert plain["quality"]["reconstruction"]["psnr"]["inside"] == {"mean": None, "median": None, "count": 0}
    assert report.quality["reconstruction"]["psnr"]["all"] == report.quality["reconstruction"]["psnr"]["outside"]
    assert report.frechet == []
    assert (report.preservation_table["outcome"] == "too few pairs").all()
    assert render_markdown(report).count("–") > 6
    assert "psnr_inside" not in report.headline


def test_other_sizes_are_named(net):
    sample = Sample(torch.zeros(3, 16, 16), torch.zeros(1, 16, 16), 0, "small")
    with pytest.raises(DataError, match=r"\(16, 16\).*32×32"):
        evaluate_tokenizer(net, [sample, sample])


def test_a_diverged_net_is_not_hidden(samples):
    net = VQVAE(VQVAEConfig(8, (1, 2), 1, 4, 16, (1, 2, 4), stem_stride=4))
    torch.nn.init.constant_(net.decoder.conv_out.bias, torch.nan)
    report = evaluate_tokenizer(net, samples[:4], config=EvaluationConfig(measure=MeasureSettings(), workers=1))
    assert np.isnan(report.quality["reconstruction"]["psnr"]["all"]["mean"])
    assert any("not finite" in note for note in report.notes)
    assert "psnr_all" not in report.headline


def test_surrounding_precision_does_not_matter(net, samples, report):
    with torch.autocast("cpu", torch.bfloat16):
        lowered = evaluate_tokenizer(net, samples, config=EvaluationConfig(batch_size=4, measure=None))
    assert lowered.codebook == report.codebook
    assert lowered.quality["reconstruction"]["psnr"] == report.quality["reconstruction"]["psnr"]


def test_data_come_in_many_ways(samples):
    batches = [Batch.collate(samples[:5]), Batch.collate(samples[5:])]

    class MapStyle(torch.utils.data.Dataset):
        def __len__(self):
            return len(samples)

        def __getitem__(self, index):
            return samples[index]

    for data in (samples, batches, MapStyle(), torch.utils.data.DataLoader(MapStyle(), 2, collate_fn=Batch.collate)):
        assert count_images(data) == 9
        ids = [name for batch in as_batches(data, 4) for name in batch.image_id]
        assert ids == [sample.image_id for sample in samples]
    assert count_images(iter(samples)) == 0


def test_bytes_survive():
    levels = torch.arange(256).float() / 127.5 - 1
    assert to_bytes(levels.view(1, 1, 16, 16).expand(1, 3, 16, 16))[0, ..., 0].flatten().tolist() == list(range(256))
    assert to_bytes(torch.tensor([-3.0, 3.0, torch.nan]).view(1, 3, 1, 1)).flatten().tolist() == [0, 255, 0]


def test_summary_leaves_out_what_is_absent_and_keeps_nan():
    values = {f"psnr_{region}": np.array([20.0, 30.0, np.inf, 40.0]) for region in ("inside", "outside", "all")}
    values["psnr_all"] = np.array([1.0, np.nan])
    summary = summarise_quality(values)
    assert summary["psnr"]["inside"] == {"mean": 30, "median": 30, "count": 3}
    assert np.isnan(summary["psnr"]["all"]["median"])
    assert drop(summary, summary)["psnr"]["inside"] == {"mean": 0, "median": 0}


@pytest.mark.parametrize("setting", [{"num_splits": 0}, {"batch_size": 0}, {"workers": -1}, {"seed": -1}])
def test_nonsense_is_named(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        EvaluationConfig(**setting)
