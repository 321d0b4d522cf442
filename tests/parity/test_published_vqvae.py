"""The tokenizer computes what the published one computes: expected outputs of two small models in their layout."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from lfvar.errors import ArtefactError
from lfvar.interop.published import infer_config, load_published_vqvae, translate_vqvae
from lfvar.losses.quantisation import quantisation_loss
from lfvar.nn.vqvae import VQVAE

FIXTURES = Path(__file__).parent / "fixtures"
TOLERANCE = 2e-4  # max abs difference that holds across library versions; tokens are identical


def formula_tensor(name, shape):
    """The fixtures ship no weights: each tensor follows from its name (see the fixtures' README)."""
    if name.endswith("ema_vocab_hit_SV"):
        return torch.zeros(shape)
    r = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if "norm" in name.lower() and name.endswith("weight") and len(shape) == 1:
        return 1 + 0.05 * r
    if name.endswith("embedding.weight"):
        return r
    if name.endswith("weight") and len(shape) >= 2:
        return r * r[0].numel() ** -0.5
    return 0.05 * r


@pytest.fixture(scope="module", params=["lfvar_small", "var_small_shared_aln"])
def case(request):
    spec = json.loads((FIXTURES / f"{request.param}.json").read_text())
    state = {name: formula_tensor(name, shape) for name, shape in spec["keys"]["vqvae"].items()}
    ours = translate_vqvae(state)
    net = VQVAE(infer_config(ours, tuple(spec["config"]["patch_nums"])))
    net.load_state_dict(ours)
    expected = {key: torch.from_numpy(value) for key, value in np.load(FIXTURES / f"{request.param}.npz").items()}
    return spec, state, net.eval(), expected


def assert_near(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=0)


def test_sizes_are_read_off_the_tensors(case):
    spec, _, net, _ = case
    assert net.config.channels == spec["config"]["ch"]
    assert net.config.vocab_size == spec["config"]["vocab_size"]
    assert net.config.latent_channels == spec["config"]["z_channels"]
    assert net.config.channel_multipliers == (1, 1, 2, 2, 4)
    assert net.config.image_size == 64


def test_features_tokens_and_reconstruction(case):
    _, _, net, expected = case
    with torch.no_grad():
        f = net.encode(expected["image"])
    assert_near(f, expected["f"])
    ids = net.encode_ids(expected["image"])
    assert torch.equal(torch.cat(ids, dim=1), expected["tokens"].long())
    partials = net.quantiser.decode_partials(ids)
    assert_near(partials[0], expected["f_hat_first"])
    assert_near(partials[-1], expected["f_hat_last"])
    assert_near(net.decode_ids(ids), expected["recon"])


def test_training_pass(case):
    _, _, net, expected = case
    recon, f, quantised = net.train()(expected["image"])
    net.eval()
    assert_near(recon.detach(), expected["train_recon"])
    assert_near(quantisation_loss(f, quantised.partials, beta=0.25).detach(), expected["train_vq_loss"].reshape(()))


def test_file_on_disk(case, tmp_path):
    spec, state, net, expected = case
    patch_nums = tuple(spec["config"]["patch_nums"])
    torch.save({"trainer": {"vae_local": state}}, tmp_path / "nested.pth")
    loaded = load_published_vqvae(tmp_path / "nested.pth", patch_nums)
    assert torch.equal(
        torch.cat(loaded.encode_ids(expected["image"]), 1), torch.cat(net.encode_ids(expected["image"]), 1)
    )


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ArtefactError, match="no checkpoint at"):
        load_published_vqvae(tmp_path / "absent.pth")
    (tmp_path / "noise.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(ArtefactError, match="cannot be read as tensors"):
        load_published_vqvae(tmp_path / "noise.pth")
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(ArtefactError, match="not a published tokenizer"):
        load_published_vqvae(tmp_path / "other.pth")
