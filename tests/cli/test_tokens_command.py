"""`python -m lfvar.prepare stage=tokens` as people type it."""

import shlex

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from tiny_settings import run_module

from lfvar.config import compose
from lfvar.data.manifest import Manifest
from lfvar.data.token_cache import TokenCache, TokenizerIdentity, cache_folder
from lfvar.errors import ConfigError
from lfvar.interop.checkpoints import describe_checkpoint
from lfvar.interop.tokenizers import load_tokenizer
from lfvar.nn.vqvae import VQVAE, VQVAEConfig
from lfvar.prepare import check_stage, tokens_command, write_tokens

DATA = ["data.source.num_images=60", "data.source.size=40", "data.split.val_fraction=0.3", "data.prepare.workers=1"]
SIZES = VQVAEConfig(8, (1, 2), 1, 4, 16, (1, 2, 4), stem_stride=4)  # 32 px


def save(path, seed):
    torch.manual_seed(seed)
    net = VQVAE(SIZES)
    state = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
    torch.save({"lfvar": describe_checkpoint("vqvae", SIZES), "state_dict": state}, path)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens")
    save(folder / "tiny.ckpt", 0)
    save(folder / "other.ckpt", 1)
    return folder


@pytest.fixture
def config(place):
    """Compose in this process, in the same folders as the command's."""

    def run(*overrides):
        GlobalHydra.instance().clear()
        return compose("prepare", [*DATA, f"paths.prepared={place}/prepared", f"paths.runs={place}/runs", *overrides])

    return run


@pytest.mark.slow
def test_the_command_its_cache_and_its_errors(place, config, capsys):
    """Nothing is prepared yet: one command prepares and encodes, at the size of the tokenizer, not the default's."""
    done = run_module("lfvar.prepare", "stage=tokens", "ckpt=tiny.ckpt", *DATA, "batch_size=13", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "60 now" in done.stdout
    (path,) = place.rglob("manifest.parquet")
    folder, manifest = path.parent, Manifest.read(path.parent)
    assert manifest.header.image_size == 32
    identity = TokenizerIdentity.of(load_tokenizer(place / "tiny.ckpt").net)
    cache = TokenCache.open(cache_folder(folder, identity), manifest, identity)
    assert cache.header["tokenizer"]["file"] == "tiny.ckpt"
    command = shlex.split(cache.header["command"])
    assert {"stage=tokens", "ckpt=tiny.ckpt", "image_size=32", *DATA} <= set(command)

    again = run_module(*command[2:], cwd=place)  # the command that errors name does what they say
    assert again.returncode == 0, again.stderr
    assert "0 now" in again.stdout

    # another tokenizer gets a folder of its own, in this process too
    tokens = write_tokens(config("stage=tokens", f"ckpt={place / 'other.ckpt'}", "image_size=32"))
    assert tokens.parent == cache.folder.parent
    assert tokens != cache.folder
    assert "60 now" in capsys.readouterr().out

    wrong = run_module("lfvar.prepare", "stage=tokens", "ckpt=tiny.ckpt", *DATA, "image_size=64", cwd=place)
    assert wrong.returncode == 1
    assert "takes 32 pixels" in wrong.stderr
    assert "Traceback" not in wrong.stderr


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["stage=tokens"], "ckpt is not set"),
        (["stage=tokens", "ckpt=a.ckpt", "weights=best"], "weights=best"),
        (["stage=tokens", "ckpt=a.ckpt", "figures=true"], "figures=true"),
        (["stage=tokens", "ckpt=a.ckpt", "batch_size=0"], "batch_size=0"),
        (["stage=token", "ckpt=a.ckpt"], "stage=token "),
        (["ckpt=a.ckpt"], "stage=prepare needs no tokenizer"),
        (["figures=true", "~measure"], "figures=true draws"),
    ],
)
def test_nonsense_is_refused(config, overrides, words):
    with pytest.raises(ConfigError, match=words):
        check_stage(config(*overrides))


def test_the_rebuild_command_holds_what_decides(config):
    cfg = config("image_size=32")
    full = tokens_command(cfg, "a b.pth", weights="last", patch_nums=[1, 2], folder="elsewhere")
    assert shlex.split(full)[-5:] == [
        "stage=tokens",
        "ckpt=a b.pth",
        "weights=last",
        "patch_nums=[1,2]",
        "tokens=elsewhere",
    ]
    assert shlex.split(tokens_command(cfg, "a.ckpt"))[-3:] == ["image_size=32", "stage=tokens", "ckpt=a.ckpt"]
