"""The Hugging Face Hub, through its own library; the only place that talks to it, and only when told to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lfvar.errors import ArtefactError, ConfigError

PATTERNS = ("*.json", "*.safetensors", "*.parquet", "README.md")
"""All that a model of ours consists of: nothing else is sent or fetched."""


def download(repo_id: str, *, revision: str | None, token: str | None) -> Path:
    """Fetch a repository into the Hub's cache (or find it there), and return its folder.

    Raises:
        ArtefactError: There is no such repository, or it cannot be reached.
        ConfigError: The extra `hub` is not installed.
    """
    if repo_id.count("/") != 1 or not all(repo_id.split("/")):
        raise ArtefactError(
            f"'{repo_id}' is no folder here, and no repository is named like that",
            cure="give a folder that lfvar.export wrote, or OWNER/NAME of the Hugging Face Hub",
        )
    hub = _library()
    try:
        folder = hub.snapshot_download(repo_id, revision=revision, token=token, allow_patterns=list(PATTERNS))
    except _errors(hub) as error:
        raise _refused(repo_id, error, "read") from error
    return Path(folder)


def upload(folder: Path, repo_id: str, *, private: bool, revision: str | None, token: str | None, message: str) -> str:
    """Make the repository if there is none, and send the folder's files in one commit; returns its address.

    Raises:
        ArtefactError: The Hub refused, or cannot be reached.
        ConfigError: The extra `hub` is not installed.
    """
    hub = _library()
    api = hub.HfApi(token=token, library_name="lfvar")
    try:
        api.create_repo(repo_id, repo_type="model", private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=str(folder),
            repo_type="model",
            revision=revision,
            commit_message=message,
            allow_patterns=list(PATTERNS),
        )
    except _errors(hub) as error:
        raise _refused(repo_id, error, "write") from error
    return str(commit.commit_url)


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ConfigError(
            "the Hugging Face Hub needs the package huggingface_hub", cure="pip install 'lfvar[hub]'"
        ) from error
    return huggingface_hub


def _errors(hub: Any) -> tuple[type[Exception], ...]:
    """What its calls raise: refused names, answers of the server, and no server (OSError, whichever HTTP library)."""
    return (hub.errors.HFValidationError, hub.errors.HfHubHTTPError, OSError, *_no_connection())


def _no_connection() -> tuple[type[Exception], ...]:
    """Whatever HTTP library it uses: requests (whose errors are OSErrors), then httpx, from 2.4 on httpx2."""
    return tuple(sys.modules[name].HTTPError for name in ("httpx", "httpx2") if name in sys.modules)


def _refused(repo_id: str, error: Exception, right: str) -> ArtefactError:
    detail = str(error).strip().splitlines()
    return ArtefactError(
        f"'{repo_id}' on the Hugging Face Hub: {detail[0] if detail else type(error).__name__}",
        cure=f"check the name, the network, and that your token may {right} it (hf auth login)",
    )
