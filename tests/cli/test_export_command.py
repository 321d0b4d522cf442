"""`lfvar.export`: a folder to hand on, as good as the checkpoint it was made from."""

import pytest
from tests.generation_examples import save_models
from tests.unit.data.measured_phantom import measure_copy
from tiny_settings import run_module

from lfvar.config import compose
from lfvar.errors import ArtefactError, ConfigError
from lfvar.export import export
from lfvar.synthesizer import Synthesizer


@pytest.fixture(scope="module")
def models(phantom_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save_models(folder, measure_copy(phantom_folder, folder / "prepared"))
    return folder


def test_the_command_as_it_is_typed(models, tmp_path):
    words = [f"ckpt={models / 'tokenizer.ckpt'}", "output=out", "license=mit"]
    done = run_module("lfvar.export", *words, cwd=tmp_path, fresh=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_a_transformer_goes_with_its_tokenizer_and_its_words(models, tmp_path, capsys):
    words = [f"ckpt={models / 'transformer.ckpt'}", f"output={tmp_path / 'out'}", f"profiles={models / 'prepared'}"]
    assert export(compose("export", words)) == tmp_path / "out"
    said = capsys.readouterr().out
    assert "model card" in said
    assert f"ckpt={tmp_path / 'out'}" in said
    synthesizer = Synthesizer.from_run(tmp_path / "out")
    assert synthesizer.profiles is not None
    assert synthesizer.classes == Synthesizer.from_run(models / "transformer.ckpt").classes


def test_a_tokenizer(models, tmp_path):
    export(compose("export", [f"ckpt={models / 'tokenizer.ckpt'}", f"output={tmp_path / 'out'}", "license=mit"]))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"README.md", "config.json", "model.safetensors"}
    assert "license: mit\n" in (tmp_path / "out" / "README.md").read_text()


def test_what_is_wrong_is_said_before_anything_is_written(models, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="output is not set"):
        export(compose("export", [f"ckpt={models / 'tokenizer.ckpt'}"]))
    with pytest.raises(ArtefactError, match="no checkpoint"):
        export(compose("export", [f"ckpt={tmp_path}", f"output={tmp_path / 'out'}"]))
    assert not (tmp_path / "out").exists()


def test_an_upload_happens_only_when_a_repository_is_named(models, tmp_path, monkeypatch):
    sent = []
    monkeypatch.setattr(
        "lfvar.interop.pretrained.upload", lambda folder, repo_id, **options: sent.append((repo_id, options)) or "url"
    )
    words = [f"ckpt={models / 'tokenizer.ckpt'}", f"output={tmp_path / 'out'}"]
    export(compose("export", words))
    assert sent == []
    export(compose("export", [*words, "repo=someone/tokenizer"]))
    assert [(repo, options["private"]) for repo, options in sent] == [("someone/tokenizer", True)]
