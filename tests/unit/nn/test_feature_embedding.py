import math

import pytest
import torch

from lfvar.nn.feature_embedding import MeasurementEmbedding, PeriodicFeatures, PiecewiseFeatures


def test_periodic_is_the_formula():
    features = PeriodicFeatures(2, num_frequencies=3)
    out = features(torch.tensor([[0.5, -1.0]]))
    assert out.shape == (1, 2, features.num_outputs)
    c = features.frequencies_MF[1, 2].item()
    assert out[0, 1, 0] == -1
    assert out[0, 1, 3].item() == pytest.approx(math.sin(-2 * math.pi * c), abs=1e-6)
    assert out[0, 1, 6].item() == pytest.approx(math.cos(-2 * math.pi * c), abs=1e-6)


def test_piecewise_is_the_formula():
    features = PiecewiseFeatures(1, num_bins=4)
    features.set_edges(torch.tensor([[-2.0, -1.0, 0.0, 2.0, 4.0]]))
    assert features(torch.tensor([[0.5]])).flatten().tolist() == [1, 1, 0.25, 0]
    assert features(torch.tensor([[-3.0]])).flatten().tolist() == [0, 0, 0, 0]
    with pytest.raises(ValueError, match="grow strictly"):
        features.set_edges(torch.tensor([[0.0, 1.0, 1.0, 2.0, 3.0]]))


def test_piecewise_bins_hold_equal_shares_of_a_normal():
    torch.manual_seed(0)
    features = PiecewiseFeatures(1, num_bins=8)
    x = torch.randn(40000)
    counts = torch.bucketize(x, features.edges_ME[0, 1:-1]).bincount(minlength=8)
    assert (counts / 40000).tolist() == pytest.approx([1 / 8] * 8, abs=0.01)


@pytest.mark.parametrize("kind", ["periodic", "piecewise"])
def test_features_do_not_share_weights(kind):
    """The same value in two places must be told apart, and each reaches its own weights only."""
    torch.manual_seed(0)
    embedding = MeasurementEmbedding(3, 8, kind=kind)
    torch.nn.init.normal_(embedding.out.weight)
    here, there = torch.tensor([[True, False, False]]), torch.tensor([[False, True, False]])
    x = torch.full((1, 3), 0.7)
    assert not torch.allclose(embedding(x, here), embedding(x, there))
    embedding(x, here).sum().backward()
    assert embedding.weight_MFE.grad[0].abs().sum() > 0
    assert embedding.weight_MFE.grad[1:].abs().sum() == 0
    assert embedding.missing_ME.grad[0].abs().sum() == 0
    assert (embedding.missing_ME.grad[1:].abs().sum(dim=1) > 0).all()


def test_starts_at_zero_learns_from_there_and_stays_float32():
    embedding = MeasurementEmbedding(3, 8)
    x, present = torch.randn(4, 3), torch.ones(4, 3, dtype=torch.bool)
    out = embedding(x, present)
    assert (out == 0).all()
    (out - 1).square().sum().backward()
    assert embedding.out.weight.grad.abs().sum() > 0
    torch.nn.init.normal_(embedding.out.weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(embedding(x, present), embedding(x, present).float())
        lowered = embedding(x, present)
    assert torch.equal(lowered, embedding(x, present))


def test_outliers_are_clipped():
    embedding = MeasurementEmbedding(1, 8)
    torch.nn.init.normal_(embedding.out.weight)
    present = torch.ones(1, 1, dtype=torch.bool)
    assert torch.equal(embedding(torch.tensor([[50.0]]), present), embedding(torch.tensor([[4.0]]), present))
