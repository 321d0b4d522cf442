"""A net as two files: weights in `model.safetensors`, and in `config.json` what they are. Nothing is ever unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save

import lfvar
from lfvar.data.files import replace_file
from lfvar.errors import ArtefactError
from lfvar.interop.checkpoints import UNKNOWN, unknown_model
from lfvar.nn.var import VAR, VARConfig
from lfvar.nn.vqvae import VQVAE, VQVAEConfig

FORMAT_VERSION = 1
"""Raised with every change of what `config.json` holds or means."""
LIBRARY = "lfvar"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"

_NETS: Mapping[str, tuple[Any, Any]] = {"vqvae": (VQVAE, VQVAEConfig), "var": (VAR, VARConfig)}
_CURE = "copy the folder again, or export it again: python -m lfvar.export ckpt=RUN output=FOLDER"


def is_pretrained(path: Path) -> bool:
    """Whether there is a folder with a `config.json` (whose, `read_config` says)."""
    return (path / CONFIG_FILE).is_file()


def write_net(folder: Path, net: VQVAE | VAR, about: Mapping[str, Any]) -> dict[str, Path]:
    """Write weights and config; the same net gives the same bytes.

    Args:
        folder: Made if missing.
        net: In float32.
        about: Plain data to store beside the sizes; `kind` names the net (vqvae or var).

    Returns:
        The files by what they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "library": LIBRARY,
        "format_version": FORMAT_VERSION,
        "lfvar_version": lfvar.__version__,
        **about,
        "model": asdict(net.config),
    }
    # Clones: tensors that share memory with others are refused.
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in net.state_dict().items()}
    replace_file(folder / WEIGHTS_FILE, save(state, metadata={"format": "pt"}), sync=True)
    text = json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    replace_file(folder / CONFIG_FILE, text.encode(), sync=True)
    return {"weights": folder / WEIGHTS_FILE, "config": folder / CONFIG_FILE}


def read_config(folder: Path) -> dict[str, Any]:
    """Read `config.json`.

    Raises:
        ArtefactError: It is missing, damaged, somebody else's, or of another version.
    """
    path = folder / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtefactError(f"no {CONFIG_FILE} in '{folder}'", cure=_CURE) from None
    except (ValueError, OSError) as error:
        raise ArtefactError(f"'{path}' is damaged: {error}", cure=_CURE) from error
    if not isinstance(config, dict) or config.get("library") != LIBRARY:
        raise ArtefactError(f"'{path}' was not written by lfvar", cure="give a folder that lfvar.export wrote")
    if config.get("format_version") != FORMAT_VERSION:
        raise ArtefactError(
            f"'{path}' has format {config.get('format_version')}; this lfvar reads format {FORMAT_VERSION}",
            cure=f"use lfvar {config.get('lfvar_version', 'of its time')}",
        )
    return config


def read_net(folder: Path, kind: str, what: str) -> tuple[Any, dict[str, Any]]:
    """Read a net, on the CPU and in evaluation mode, and its config.

    Args:
        folder: Of the two files.
        kind: vqvae or var.
        what: The same for people.

    Raises:
        ArtefactError: As `read_config`; or the weights are missing, damaged, or those of another net.
    """
    config = read_config(folder)
    if config.get("kind") != kind:
        raise ArtefactError(f"'{folder}' holds a {config.get('kind')}, not a {what}", cure=f"give a {what}'s folder")
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise ArtefactError(f"no {WEIGHTS_FILE} in '{folder}'", cure=_CURE)
    make_net, make_config = _NETS[kind]
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ArtefactError(f"'{path}' is damaged: {error}", cure=_CURE) from error
    try:
        sizes = {name: _tuples(value) for name, value in config["model"].items()}
        net = make_net(make_config(**sizes))
        net.load_state_dict(state)
    except UNKNOWN as error:
        raise unknown_model(folder, what, config, error) from error
    return net.eval(), config


def _tuples(value: Any) -> Any:
    """JSON has lists where our settings have tuples."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
