import pytest
import torch

from lfvar.errors import ArtefactError
from lfvar.interop.checkpoints import describe_checkpoint, load_vqvae, read_checkpoint, require_same_model
from lfvar.nn.vqvae import VQVAE, VQVAEConfig

CONFIG = VQVAEConfig(16, (1, 2), 1, 4, 8, (1, 2))


@pytest.fixture
def path(tmp_path):
    torch.manual_seed(0)
    net = VQVAE(CONFIG)
    average = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    checkpoint = {
        "lfvar": describe_checkpoint("vqvae", CONFIG),
        "state_dict": {f"net.{name}": tensor for name, tensor in net.state_dict().items()},
        "ema": {"weights": average, "num_updates": 1, "decay": 0.9},
    }
    torch.save(checkpoint, tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


def test_average_or_last(path):
    assert load_vqvae(path).decoder.conv_in.weight.abs().sum() == 0
    last = load_vqvae(path, weights="last")
    assert last.decoder.conv_in.weight.abs().sum() > 0
    assert last.config == CONFIG
    assert not last.training


def test_other_files_are_named(tmp_path, path):
    with pytest.raises(ArtefactError, match="no checkpoint at"):
        read_checkpoint(tmp_path / "absent.ckpt")
    (tmp_path / "cut.ckpt").write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ArtefactError, match="cannot be read"):
        read_checkpoint(tmp_path / "cut.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(ArtefactError, match="not written by lfvar"):
        read_checkpoint(tmp_path / "foreign.ckpt")
    torch.save({"lfvar": describe_checkpoint("vqvae", CONFIG) | {"version": 0}}, tmp_path / "old.ckpt")
    with pytest.raises(ArtefactError, match="version 0; this lfvar reads version 1"):
        read_checkpoint(tmp_path / "old.ckpt")
    torch.save({"lfvar": describe_checkpoint("var", CONFIG)}, tmp_path / "var.ckpt")
    with pytest.raises(ArtefactError, match="holds a var"):
        load_vqvae(tmp_path / "var.ckpt")


def test_nothing_is_unpickled_freely(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    torch.save({"lfvar": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(ArtefactError, match="cannot be read"):
        read_checkpoint(tmp_path / "evil.ckpt")
    assert not (tmp_path / "written").exists()


def test_every_difference_is_named():
    there = {"lfvar": {"kind": "vqvae", "model": {"channels": 8, "patch_nums": [1, 2], "vocab_size": 4}}}
    require_same_model(there, kind="vqvae", model={"channels": 8, "patch_nums": (1, 2), "vocab_size": 4})
    with pytest.raises(ArtefactError, match=r"channels: checkpoint 8, this run 16.*vocab_size"):
        require_same_model(there, kind="vqvae", model={"channels": 16, "patch_nums": (1, 2), "vocab_size": 5})
    with pytest.raises(ArtefactError, match="this run trains a var"):
        require_same_model(there, kind="var", model={})
