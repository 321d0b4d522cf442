"""A trained model as a folder to hand on: `python -m lfvar.export ckpt=RUN output=FOLDER`.

Safetensors, JSON and a model card (`lfvar.interop.pretrained`). Nothing leaves the machine unless `repo=OWNER/NAME`
says where to on the Hugging Face Hub.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lfvar.config import command, make_card, print_card, read_card
from lfvar.ending import show_ending
from lfvar.errors import ArtefactError, ConfigError


def export(cfg: DictConfig) -> Path | None:
    """Export what a config names, and upload it if it says so; callable from tests and notebooks.

    Args:
        cfg: The composed root config of `conf/export.yaml`.

    Returns:
        The folder; None with `check=true`.

    Raises:
        ConfigError: A setting is missing, or the extra `hub` is.
        ArtefactError: The checkpoint is missing, damaged or of another kind; or the Hub refused.
    """
    from lfvar.interop.checkpoints import read_checkpoint
    from lfvar.interop.pairs import find_checkpoint, load_pair
    from lfvar.interop.pretrained import push_to_hub, save_pretrained
    from lfvar.interop.tokenizers import load_tokenizer
    from lfvar.synthesizer import find_profiles

    start = time.monotonic()
    for key, cure in (("ckpt", "set ckpt to a run folder or a .ckpt file"), ("output", "set output=FOLDER")):
        if cfg[key] is None:
            raise ConfigError(f"{key} is not set", cure=cure)
    if cfg.weights not in ("ema", "last"):
        raise ConfigError(f"weights={cfg.weights} is unknown", cure="use weights=ema or weights=last")
    checkpoint = find_checkpoint(cfg.ckpt)
    kind = read_checkpoint(checkpoint)["lfvar"]["kind"]
    if kind not in ("vqvae", "var"):
        raise ArtefactError(f"{checkpoint} holds a {kind}", cure="give the run of a tokenizer or of a transformer")
    if cfg.check:
        print_card(make_card(cfg))
        return None
    folder = Path(cfg.output)
    if kind == "var":
        pair = load_pair(checkpoint, tokenizer=cfg.tokenizer, weights=cfg.weights)
        profiles = find_profiles(checkpoint, cfg.profiles)
        files = save_pretrained(
            pair,
            folder,
            profiles=profiles,
            run_card=_card_of(checkpoint),
            tokenizer_card=_card_of(Path(pair.tokenizer.about["file"])),
            license=cfg.license,
        )
        if profiles is None:
            print("no profiles are at hand: words such as 'dark' will mean nothing; give profiles=PREPARED_FOLDER")
    else:
        loaded = load_tokenizer(checkpoint, weights=cfg.weights)
        files = save_pretrained(loaded, folder, run_card=_card_of(checkpoint), license=cfg.license)
    if cfg.repo is not None:
        address = push_to_hub(folder, cfg.repo, private=cfg.private)
        print(f"uploaded: {address}")
    follow = f"ckpt={folder}"
    what = f"generate mode=matrix {follow}" if kind == "var" else f"evaluate target=tokenizer {follow}"
    show_ending(files, time.monotonic() - start, next_command=f"python -m lfvar.{what}")
    return folder


def _card_of(checkpoint: Path) -> dict[str, Any] | None:
    """The run card of a training; None where the checkpoint was taken out of its run folder."""
    try:
        return read_card(checkpoint.parent.parent)
    except ArtefactError:
        return None


@command("export")
def main(cfg: DictConfig) -> Any:
    """The command."""
    return export(cfg)


if __name__ == "__main__":
    sys.exit(main())
