"""Models as folders that can be handed on: `save_pretrained`, `from_pretrained`, `push_to_hub`.

The layout is that of the Hugging Face Hub:

| file | holds |
| --- | --- |
| `model.safetensors` | the weights |
| `config.json` | what they are: sizes of the net; of a transformer also types, measurements and their scales |
| `README.md` | the model card |
| `tokenizer/` | of a transformer: the tokenizer whose tokens it learned, as such a folder |
| `profiles.parquet` | of a transformer, where its training data are at hand: what words such as "dark" mean per type |

Such a folder is as good as a checkpoint: `ckpt=FOLDER`, `tokenizer=FOLDER`. Nothing uses the network but `push_to_hub`,
and `from_pretrained` of something that is no folder here (both need the extra `hub`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lfvar.data.files import replace_file
from lfvar.errors import ConfigError
from lfvar.interop.hub import download, upload
from lfvar.interop.model_card import MODEL_CARD_FILE, render_model_card
from lfvar.interop.pairs import LoadedPair, load_pair
from lfvar.interop.pretrained_files import is_pretrained, read_config, write_net
from lfvar.interop.tokenizers import LoadedTokenizer, load_tokenizer
from lfvar.measure.profiles import PROFILES_FILE, Profiles

TOKENIZER_FOLDER = "tokenizer"


def save_pretrained(
    model: LoadedTokenizer | LoadedPair,
    folder: str | Path,
    *,
    profiles: Profiles | None = None,
    run_card: Mapping[str, Any] | None = None,
    tokenizer_card: Mapping[str, Any] | None = None,
    license: str | None = None,
) -> dict[str, Path]:
    """Write a model as a folder.

    Args:
        model: Of `lfvar.interop.tokenizers.load_tokenizer` or `lfvar.interop.pairs.load_pair`.
        folder: Where to; made if missing, files in it are replaced.
        profiles: What types measure; goes along with a transformer.
        run_card: Of the training (`lfvar.config.read_card`), which the model card tells of.
        tokenizer_card: The same of a transformer's tokenizer.
        license: Of the weights, as the Hub names licences ("mit"); None: what the training data ask for where that is
            known, else "other".

    Returns:
        The files by what they are.
    """
    folder = Path(folder)
    if isinstance(model, LoadedTokenizer):
        made_from: dict[str, Any] = {name: value for name, value in model.about.items() if name != "file"}
        files = write_net(folder, model.net, {"kind": "vqvae", "made_from": made_from})
    else:
        stored = dict(model.transformer.about)
        stored["tokenizer"] = {**stored["tokenizer"], "file": TOKENIZER_FOLDER}
        kept: dict[str, Any] = {name: stored[name] for name in ("tokenizer", "condition", "loss") if name in stored}
        made_from = {"sha256": model.hashes["transformer"], "lfvar_version": stored.get("lfvar_version")}
        facts: dict[str, Any] = {"kind": "var", **kept, **model.transformer.meaning.to_dict(), "made_from": made_from}
        files = write_net(folder, model.transformer.net, facts)
        inner = save_pretrained(model.tokenizer, folder / TOKENIZER_FOLDER, run_card=tokenizer_card, license=license)
        files["tokenizer"] = inner["weights"].parent
        (folder / PROFILES_FILE).unlink(missing_ok=True)  # of an earlier export, perhaps of other data
        if profiles is not None:
            profiles.write(folder / PROFILES_FILE)
            files["profiles"] = folder / PROFILES_FILE
    text = render_model_card(read_config(folder), files["weights"], run_card=run_card, license=license)
    replace_file(folder / MODEL_CARD_FILE, text.encode())
    return files | {"model card": folder / MODEL_CARD_FILE}


def from_pretrained(
    source: str | Path, *, revision: str | None = None, token: str | None = None
) -> LoadedTokenizer | LoadedPair:
    """Load a model from a folder that `save_pretrained` wrote, or from the Hugging Face Hub.

    Args:
        source: A folder; what is none is taken for a repository on the Hub ("owner/name"), which is downloaded.
        revision: Of the repository: a branch, tag or commit. Name a commit where a result must be repeatable.
        token: For private repositories; None: the one that `hf auth login` stored, if any.

    Raises:
        ArtefactError: What is there is damaged or no model of ours, or the repository cannot be reached.
        ConfigError: The extra `hub` is not installed.
    """
    folder = locate_pretrained(source, revision=revision, token=token)
    return load_pair(folder) if read_config(folder).get("kind") == "var" else load_tokenizer(folder)


def locate_pretrained(source: str | Path, *, revision: str | None = None, token: str | None = None) -> Path:
    """The folder of a model, downloaded where `source` is none; arguments and errors as of `from_pretrained`."""
    return Path(source) if Path(source).is_dir() else download(str(source), revision=revision, token=token)


def push_to_hub(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = True,
    revision: str | None = None,
    token: str | None = None,
    message: str = "Upload a model of lfvar",
) -> str:
    """Upload a folder that `save_pretrained` wrote to the Hugging Face Hub. This sends the weights to a server.

    Args:
        folder: Of the model.
        repo_id: "owner/name"; made if it does not exist.
        private: Whether a repository that is made now is seen by its owner alone. Data licences often forbid more.
        revision: Branch; None: the main one.
        token: With the right to write; None: the one that `hf auth login` stored.
        message: Of the commit.

    Returns:
        The address of the commit.

    Raises:
        ConfigError: The folder holds no model, or the extra `hub` is not installed.
        ArtefactError: The Hub refused, or cannot be reached.
    """
    folder = Path(folder)
    if not is_pretrained(folder):
        raise ConfigError(
            f"'{folder}' holds no exported model",
            cure="make one: python -m lfvar.export ckpt=RUN output=FOLDER",
        )
    read_config(folder)
    return upload(folder, repo_id, private=private, revision=revision, token=token, message=message)
