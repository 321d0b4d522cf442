"""Models as folders: the same net comes back, damage is told, and nobody talks to the Hub unasked."""

import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.generation_examples import save_models
from tests.unit.data.measured_phantom import measure_copy

from lfvar.data.token_cache import TokenizerIdentity
from lfvar.errors import ArtefactError, ConfigError
from lfvar.interop.model_card import DATA_LICENSES
from lfvar.interop.pairs import load_pair
from lfvar.interop.pretrained import from_pretrained, push_to_hub, save_pretrained
from lfvar.interop.tokenizers import load_tokenizer
from lfvar.measure.profiles import Profiles
from lfvar.synthesizer import Synthesizer

SOURCE = "lfvar.data.sources.ham10000.HAM10000"
CARD = {
    "config": {"data": {"name": "mine", "source": {"_target_": SOURCE}}, "image_size": 16},
    "overrides": ["experiment=var", "seed=1"],
    "data": {"manifest": "c" * 64},
    "seed": 1,
    "started": "2026-01-01",
    "versions": {"torch": "2.6"},
    "git": None,
    "result": {"metrics": {"val/loss": 1.25}},
}


@pytest.fixture(scope="module")
def measured_folder(phantom_folder, tmp_path_factory):
    return measure_copy(phantom_folder, tmp_path_factory.mktemp("measured") / "phantom")


@pytest.fixture(scope="module")
def models(measured_folder, tmp_path_factory):
    """Checkpoints of a transformer and its tokenizer, and both exported."""
    folder = tmp_path_factory.mktemp("models")
    checkpoint = save_models(folder, measured_folder)
    profiles = Profiles.read(measured_folder / "profiles.parquet")
    save_pretrained(load_pair(checkpoint), folder / "exported", profiles=profiles, run_card=CARD)
    return folder


def same_weights(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_tokenizer_comes_back(models, tmp_path):
    saved = load_tokenizer(models / "tokenizer.ckpt")
    save_pretrained(saved, tmp_path / "tokenizer")
    loaded = from_pretrained(tmp_path / "tokenizer")
    assert same_weights(loaded.net, saved.net)
    assert loaded.net.config == saved.net.config
    assert not loaded.net.training
    assert TokenizerIdentity.of(loaded.net) == TokenizerIdentity.of(saved.net)
    assert loaded.about["step"] == saved.about["step"] == 1
    assert load_tokenizer(tmp_path / "tokenizer").about["sha256"] == loaded.about["sha256"]


def test_a_transformer_comes_back_with_all_that_it_means(models):
    saved, loaded = load_pair(models / "transformer.ckpt"), from_pretrained(models / "exported")
    assert same_weights(loaded.transformer.net, saved.transformer.net)
    assert same_weights(loaded.tokenizer.net, saved.tokenizer.net)
    assert loaded.transformer.net.config == saved.transformer.net.config
    assert loaded.transformer.meaning.classes == saved.transformer.meaning.classes
    assert loaded.transformer.meaning.feature_names == saved.transformer.meaning.feature_names
    assert loaded.standardiser == saved.standardiser
    assert loaded.transformer.about["tokenizer"]["hash"] == saved.transformer.about["tokenizer"]["hash"]


def test_an_exported_folder_makes_the_images_of_its_checkpoint_wherever_it_lies(models, tmp_path):
    shutil.move(shutil.copytree(models / "exported", tmp_path / "copy"), tmp_path / "moved")
    ours = Synthesizer.from_run(models / "transformer.ckpt").synthesize("mel", seeds=(3,))
    exported = Synthesizer.from_pretrained(tmp_path / "moved")
    assert np.array_equal(exported.synthesize("mel", seeds=(3,)), ours)
    assert exported.profiles is not None
    exported.synthesize("mel", measurements={"clinical_colour_lightness": "low"})


def test_the_same_model_gives_the_same_bytes(models, tmp_path, measured_folder):
    profiles = Profiles.read(measured_folder / "profiles.parquet")
    save_pretrained(load_pair(models / "transformer.ckpt"), tmp_path, profiles=profiles, run_card=CARD)
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert [str(file) for file in files] == [
        *("README.md", "config.json", "model.safetensors", "profiles.parquet"),
        *("tokenizer/README.md", "tokenizer/config.json", "tokenizer/model.safetensors"),
    ]
    for file in files:
        assert (tmp_path / file).read_bytes() == (models / "exported" / file).read_bytes()


def test_the_model_card_says_what_must_be_known(models, tmp_path):
    text = (models / "exported" / "README.md").read_text()
    assert text.startswith("---\nlicense: cc-by-nc-4.0\n")
    for words in ("Not for diagnosis", "HAM10000", "experiment=var seed=1", "val/loss | 1.25", "from_pretrained"):
        assert words in text
    assert "$" not in text
    save_pretrained(load_tokenizer(models / "tokenizer.ckpt"), tmp_path)
    unknown = (tmp_path / "README.md").read_text()
    assert "license: other" in unknown
    assert "State them here" in unknown
    save_pretrained(load_tokenizer(models / "tokenizer.ckpt"), tmp_path, license="mit")
    assert "license: mit\n" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "config.json").write_text("{"), "damaged"),
        (lambda folder: (folder / "config.json").write_text("{}"), "not written by lfvar"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{"), "damaged"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no model.safetensors"),
        (lambda folder: edit(folder, format_version=99), "format 99"),
        (lambda folder: edit(folder, kind="classifier"), "not a tokenizer"),
        (lambda folder: edit(folder, model={"channels": 16, "unheard_of": 1}), "does not know"),
    ],
)
def test_damage_is_told(models, tmp_path, damage, words):
    folder = shutil.copytree(models / "exported" / "tokenizer", tmp_path / "tokenizer")
    damage(folder)
    with pytest.raises(ArtefactError, match=words):
        from_pretrained(folder)


def edit(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_another_tokenizer_is_refused(models, tmp_path):
    folder = shutil.copytree(models / "exported", tmp_path / "model")
    net = load_tokenizer(models / "tokenizer.ckpt")
    with torch.no_grad():
        next(net.net.parameters()).add_(1)
    save_pretrained(net, folder / "tokenizer")
    with pytest.raises(ArtefactError, match="other tokens"):
        from_pretrained(folder)


def test_licences_are_those_of_sources_that_ship():
    from lfvar.config.targets import find_target

    for target in DATA_LICENSES:
        find_target(target, "")


@pytest.fixture
def hub(monkeypatch):
    """huggingface_hub with a stand-in for everything that would talk to a server."""
    library = pytest.importorskip("huggingface_hub")
    calls = []

    class Api:
        def __init__(self, **options):
            calls.append(("login", options))

        def create_repo(self, repo_id, **options):
            calls.append(("create", repo_id, options))

        def upload_folder(self, **options):
            calls.append(("upload", options))
            return SimpleNamespace(commit_url="https://hub/commit/1")

    monkeypatch.setattr(library, "HfApi", Api)
    monkeypatch.setattr(library, "snapshot_download", lambda *a, **k: pytest.fail("nobody asked for a download"))
    return SimpleNamespace(calls=calls, library=library, api=Api)


def test_a_push_sends_the_folder_once_and_privately(models, hub):
    address = push_to_hub(models / "exported", "someone/model", token="secret")
    assert address == "https://hub/commit/1"
    login, create, upload = hub.calls
    assert login[1]["token"] == "secret"
    assert create == ("create", "someone/model", {"repo_type": "model", "private": True, "exist_ok": True})
    assert upload[1]["folder_path"] == str(models / "exported")
    assert "*.ckpt" not in upload[1]["allow_patterns"]


def test_the_library_has_what_is_called():
    """The stand-in above takes anything; the real functions must take the same arguments."""
    import inspect

    library = pytest.importorskip("huggingface_hub")
    upload = inspect.signature(library.HfApi.upload_folder).parameters
    assert {"repo_id", "folder_path", "repo_type", "revision", "commit_message", "allow_patterns"} <= set(upload)
    assert {"repo_id", "repo_type", "private", "exist_ok"} <= set(
        inspect.signature(library.HfApi.create_repo).parameters
    )
    assert {"revision", "token", "allow_patterns"} <= set(inspect.signature(library.snapshot_download).parameters)
    assert {"token", "library_name"} <= set(inspect.signature(library.HfApi).parameters)


def http_error():
    """What the HTTP library of this version of huggingface_hub raises without a network."""
    library = next((sys.modules[name] for name in ("httpx2", "httpx") if name in sys.modules), None)
    return OSError("no network\nmore") if library is None else library.ConnectError("no network\nmore")


@pytest.mark.parametrize("make_error", [lambda: OSError("no network\nmore"), http_error])
def test_a_refusal_is_one_clear_error(models, hub, monkeypatch, make_error):
    def refuse(self, repo_id, **options):
        raise make_error()

    monkeypatch.setattr(hub.api, "create_repo", refuse)
    with pytest.raises(ArtefactError, match="no network"):
        push_to_hub(models / "exported", "someone/model")


def test_only_an_exported_folder_is_pushed(tmp_path, hub):
    with pytest.raises(ConfigError, match="no exported model"):
        push_to_hub(tmp_path, "someone/model")
    assert hub.calls == []


def test_a_download_is_asked_for_by_name(models, hub, monkeypatch):
    asked = []

    def fetch(repo_id, **options):
        asked.append((repo_id, options))
        return str(models / "exported")

    monkeypatch.setattr(hub.library, "snapshot_download", fetch)
    synthesizer = Synthesizer.from_pretrained("someone/model", revision="v1")
    assert synthesizer.classes == load_pair(models / "transformer.ckpt").transformer.meaning.classes
    ((repo_id, options),) = asked
    assert (repo_id, options["revision"]) == ("someone/model", "v1")


def test_a_path_that_is_not_there_starts_no_download(hub, tmp_path):
    with pytest.raises(ArtefactError, match="no folder here"):
        from_pretrained(tmp_path / "nowhere")


def test_without_the_extra_the_cure_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=r"lfvar\[hub\]"):
        from_pretrained("someone/model")
