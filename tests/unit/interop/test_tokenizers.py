import hashlib

import pytest
import torch

from lfvar.errors import ArtefactError, ConfigError
from lfvar.interop.checkpoints import describe_checkpoint
from lfvar.interop.tokenizers import load_tokenizer
from lfvar.nn.vqvae import VQVAE, VQVAEConfig

CONFIG = VQVAEConfig(16, (1, 2), 1, 4, 8, (1, 2))


@pytest.fixture
def checkpoint():
    torch.manual_seed(0)
    net = VQVAE(CONFIG)
    return {
        "lfvar": describe_checkpoint("vqvae", CONFIG),
        "state_dict": {f"net.{name}": tensor for name, tensor in net.state_dict().items()},
        "global_step": 7,
        "LesionDataModule": {"manifest_hash": "abc"},
    }


def test_ours_says_where_it_comes_from(checkpoint, tmp_path):
    path = tmp_path / "a.ckpt"
    torch.save(checkpoint, path)
    loaded = load_tokenizer(path)
    assert loaded.net.config == CONFIG
    assert not loaded.net.training
    assert loaded.about["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert loaded.about["weights"] == "last"  # no average was kept
    assert (loaded.about["step"], loaded.about["trained_on_manifest"]) == (7, "abc")
    with pytest.raises(ConfigError, match="stores its own schedule"):
        load_tokenizer(path, patch_nums=(1, 2))


def test_a_net_of_another_time_is_named(checkpoint, tmp_path):
    path = tmp_path / "a.ckpt"
    checkpoint["state_dict"]["net.quantiser.of_the_past"] = torch.zeros(1)
    torch.save(checkpoint, path)
    with pytest.raises(ArtefactError, match="does not know"):
        load_tokenizer(path)
    checkpoint["lfvar"]["model"]["of_the_future"] = 1
    torch.save(checkpoint, path)
    with pytest.raises(ArtefactError, match="of_the_future"):
        load_tokenizer(path)


def test_published_schedules_follow_the_image_size(tmp_path):
    with pytest.raises(ConfigError, match="no schedule was published for image_size=64"):
        load_tokenizer(tmp_path / "vae.pth", image_size=64)
    for image_size in (None, 256, 512):
        with pytest.raises(ArtefactError, match="no checkpoint at"):
            load_tokenizer(tmp_path / "vae.pth", image_size=image_size)
